"""Rows: the plain dicts that every dataset is made of, their ids, and conversation transcripts.

A prompt row is `{"id", "turns", "split", ...}`; `turns` is a list of
`{"role": "human" | "assistant", "text": str}` that ends with a human turn; a turn of role "system" may stand
before all others. Replies add `sample`, `reply`,
`logprob`, `tokens`, `ended`; preferences add `a`, `b`, `p` = P(a is better) and `weight`. Rows are JSON
values and live in .jsonl files.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cai_jax.errors import UserError

Row = dict[str, Any]
Turn = dict[str, str]

# Fields with a meaning of their own; a source's column of that name is kept as "source_<name>".
RESERVED = frozenset(
    "id turns split sample prompt reply logprob tokens ended model seed original round rounds principle critique "
    "unfit cut flag was_flagged unanswered refused score a b p weight source soft compared judgements value".split()
)
_ROLES = {"system": "system", "human": "human", "user": "human", "assistant": "assistant", "gpt": "assistant"}
_MARKER = re.compile(r"(?:^|\n\n)(Human|Assistant):")


class DataError(UserError):
    """A dataset that cannot be read; the message names file, line and field, and the cure."""


def text_hash(turns: Sequence[Mapping[str, str]]) -> str:
    """16 hexadecimal digits that stand for the text of a conversation."""
    canonical = json.dumps([[turn["role"], turn["text"]] for turn in turns], ensure_ascii=False)
    return hashlib.blake2b(canonical.encode(), digest_size=8).hexdigest()


def numbered(rows: Iterable[Row]) -> list[Row]:
    """The rows with `id` = text hash + "-" + how many rows before it have the same conversation."""
    seen: Counter[str] = Counter()
    out = []
    for row in rows:
        digest = text_hash(row["turns"])
        out.append({"id": f"{digest}-{seen[digest]}", **{k: v for k, v in row.items() if k != "id"}})
        seen[digest] += 1
    return out


def hash_split(turns: Sequence[Mapping[str, str]], test: float) -> str:
    """ "test" for a fraction `test` of all conversations, else "train"; equal texts never part."""
    draw = int(hashlib.blake2b(b"split" + text_hash(turns).encode(), digest_size=8).hexdigest(), 16)
    return "test" if draw < test * 2**64 else "train"


def first(rows: Iterable[Row], limit: int | None) -> list[Row]:
    """The first `limit` rows of each split, in order; all of them if `limit` is None."""
    if limit is None:
        return list(rows)
    taken: Counter[str] = Counter()
    out = []
    for row in rows:
        if taken[row.get("split", "")] < limit:
            taken[row.get("split", "")] += 1
            out.append(row)
    return out


def transcript(text: str) -> list[Turn]:
    r"""The turns of "\n\nHuman: … \n\nAssistant: …"; neighbours of one role become one turn.

    Raises:
      ValueError: it does not begin with a Human turn.
    """
    pieces = _MARKER.split(text.strip())
    if len(pieces) < 3 or pieces[0].strip() or pieces[1] != "Human":
        raise ValueError("is not a transcript that begins with 'Human:'")
    said = zip(pieces[1::2], pieces[2::2], strict=True)
    return merged({"role": _ROLES[role.lower()], "text": text.strip()} for role, text in said)


def is_transcript(value: Any) -> bool:
    return isinstance(value, str) and value.lstrip().startswith("Human:")


def messages(value: Any) -> list[Turn]:
    """Turns from messages `{"role" | "from", "content" | "text" | "value"}`; a system's stands before all others.

    Raises:
      ValueError: something in it is not a message.
    """
    turns: list[Turn] = []
    for message in value:
        if not isinstance(message, Mapping):
            raise ValueError(f"holds {type(message).__name__} where a message with role and text is expected")
        role = message.get("role", message.get("from"))
        said = message.get("text", message.get("content", message.get("value")))
        if role == "system" and turns and turns[-1]["role"] != "system":
            raise ValueError("holds a system's message behind others; it can only stand before them")
        if not isinstance(role, str) or role not in _ROLES or not isinstance(said, str):
            raise ValueError(
                f"holds a message of role {role!r}; only the text of a system, a human and an assistant can be read"
            )
        turns.append({"role": _ROLES[role], "text": said})
    return merged(turns)


def merged(turns: Iterable[Turn]) -> list[Turn]:
    """The turns with neighbours of one role joined by an empty line."""
    out: list[Turn] = []
    for turn in turns:
        if out and out[-1]["role"] == turn["role"]:
            out[-1] = {"role": turn["role"], "text": out[-1]["text"] + "\n\n" + turn["text"]}
        else:
            out.append(turn)
    return out
