"""Prompts and preferences out of datasets as people have them: which column is what, splits, labels."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cai_jax.data.readers import Record, files, records
from cai_jax.data.rows import (
    RESERVED,
    DataError,
    Row,
    Turn,
    first,
    hash_split,
    is_transcript,
    messages,
    numbered,
    transcript,
)

# Columns that hold a prompt in public datasets, best first; compared in lower case.
PROMPT_COLUMNS = (
    "turns messages prompt question instruction query text input goal behavior "
    "forbidden_prompt prompts_final question_text chosen"
).split()
_BESIDE_REPLIES = tuple(name for name in PROMPT_COLUMNS if name != "chosen")
_LOOK = 1000  # rows of a file that are enough to see how it names its splits


def read_prompts(
    path: str, *, column: str = "", split: str = "split", test: float = 0.2, limit: int | None = None
) -> list[Row]:
    """Prompt rows `{"id", "turns", "split", ...the source's other fields}`.

    A prompt's column may hold a string, a transcript ("\\n\\nHuman: … \\n\\nAssistant: …", of which the last
    reply is left off), a list of messages with roles, or a list of strings (a user's successive turns, of
    which the first is the prompt). An Alpaca-style "input" beside "instruction" is appended to it.

    Args:
      path: as for `readers.records`.
      column: the column that holds the prompt; "" finds one of `PROMPT_COLUMNS`.
      split: the column that holds the split, where there is one. Without it, files in a folder that are
        named after a split decide, and else a hash of the text, which puts a fraction `test` into "test".
      limit: rows of each split to keep.

    Raises:
      DataError: nothing there, no such column, a malformed row; names file, line, field and cure.
    """
    rows = []
    for record in _records(path):
        turns, used = _prompt(record, column or _find(record, PROMPT_COLUMNS, "column"), "column")
        rows.append({"turns": turns, "split": _split(record, split, turns, test), **_others(record, used | {split})})
    return numbered(first(rows, limit))


def read_prefs(
    path: str,
    *,
    chosen: str = "",
    rejected: str = "",
    a: str = "",
    b: str = "",
    label: str = "",
    prompt: str = "",
    split: str = "split",
    test: float = 0.2,
    limit: int | None = None,
) -> list[Row]:
    """Preference rows `{"id", "turns", "split", "a", "b", "p", "weight", "source", ...}`; p = P(a is better).

    Two shapes are understood. Chosen and rejected: two columns, either replies beside a prompt column, or
    whole transcripts or message lists, whose shared turns are the prompt. A pair with a label: columns `a`,
    `b` and `label`, a number in 0..1 that is P(a is better), or 1 and 2 for the better one's number (0 then
    is a tie), or "a", "b", "tie", or the better column's name. Without column names, the columns "a", "b" and
    "p" are taken where they stand, and else "chosen" and "rejected".

    Args and errors as for `read_prompts`; `prompt` names the prompt's column.
    """
    if bool(chosen) != bool(rejected):
        raise DataError("`chosen` and `rejected` name a pair of columns, and only one is given", "give both")
    if any((a, b, label)) and not all((a, b, label)):
        raise DataError("`a`, `b` and `label` go together, and not all are given", "name all three columns")
    found = _records(path)
    have = set(found[0].fields)
    if not (a or chosen or {"a", "b", "p"} <= have or {"chosen", "rejected"} <= have):
        raise DataError(
            f"{found[0].where}: neither `chosen` and `rejected` nor `a`, `b` and `p` are among the columns "
            f"{_listed(found[0])}",
            "name them: chosen= and rejected=, or a=, b= and label=",
        )
    if a or (not chosen and {"a", "b", "p"} <= have):
        pairs = _labelled_pairs(found, a or "a", b or "b", label or "p", prompt)
    else:
        pairs = [_chosen_pair(record, chosen or "chosen", rejected or "rejected", prompt) for record in found]
    rows = []
    for record, (turns, reply_a, reply_b, p, used) in zip(found, pairs, strict=True):
        row = {
            "turns": turns,
            "split": _split(record, split, turns, test),
            "a": reply_a,
            "b": reply_b,
            "p": p,
        }
        weight = _weight(record)
        rows.append({**row, "weight": weight, "source": Path(path).name, **_others(record, used | {split, "weight"})})
    return numbered(first(rows, limit))


def splits(path: str, *, split: str = "split", test: float = 0.2) -> frozenset[str] | None:
    """The splits that reading `path` would give, from a look at the first rows of each of its files.

    Returns:
      None where that look does not tell: rows of a longer file name their splits, or it is a TFDS dataset.
    """
    if path.startswith("tfds:"):
        return None
    names: set[str] = set()
    hashed = {name for name, share in (("train", 1 - test), ("test", test)) if share > 0}
    for file, named in files(path):
        rows = list(itertools.islice(records(str(file)), _LOOK + 1))
        found = [row.fields.get(split) for row in rows]
        if len(rows) > _LOOK and any(found):
            return None
        names.update(str(name) for name in found if name is not None)
        if None in found:
            names |= {named} if named else hashed
    return frozenset(names) or None


def _records(path: str) -> list[Record]:
    found = list(records(path))
    if not found:
        raise DataError(f"{path}: holds no rows", "give a dataset with at least one row")
    return found


def _prompt(record: Record, name: str, option: str) -> tuple[list[Turn], set[str]]:
    """The turns that column `name` holds, with Alpaca's "input" appended, and the columns used."""
    turns = _prompt_turns(record, name, _get(record, name, option))
    extra = record.fields.get("input")
    if name.lower() != "instruction" or not isinstance(extra, str):
        return turns, {name}
    if extra.strip():
        turns[-1] = {"role": "human", "text": f"{turns[-1]['text']}\n\n{extra.strip()}"}
    return turns, {name, "input"}


def _prompt_turns(record: Record, name: str, value: Any) -> list[Turn]:
    """The turns of a prompt column's value, ending with a human turn."""
    try:
        if is_transcript(value):
            turns = transcript(value)
        elif isinstance(value, str):
            turns = [{"role": "human", "text": value.strip()}]
        elif isinstance(value, Sequence) and value and all(isinstance(item, str) for item in value):
            turns = [{"role": "human", "text": value[0].strip()}]
        elif isinstance(value, Sequence):
            turns = messages(value)
        else:
            raise ValueError(f"is {_what(value)} where text or a list of turns is expected")
    except ValueError as error:
        raise _bad(record, name, str(error), "repair the row, or name another column") from error
    while turns and turns[-1]["role"] == "assistant":
        turns.pop()
    if not turns or turns[-1]["role"] != "human" or not turns[-1]["text"].strip():
        raise _bad(record, name, "is empty", "remove the row, or name another column")
    return turns


def _chosen_pair(record: Record, chosen: str, rejected: str, prompt: str) -> tuple:
    """`(turns, chosen reply, rejected reply, 1.0, columns used)`."""
    values = {name: _get(record, name, "chosen= and rejected") for name in (chosen, rejected)}
    if all(isinstance(value, str) and not is_transcript(value) for value in values.values()):
        turns, used = _prompt(record, prompt or _find(record, _BESIDE_REPLIES, "prompt"), "prompt")
        return turns, values[chosen], values[rejected], 1.0, used | {chosen, rejected}
    whole = {}
    for name, value in values.items():
        try:
            whole[name] = transcript(value) if isinstance(value, str) else messages(value)
        except (ValueError, TypeError) as error:
            raise _bad(record, name, str(error), "both columns must be transcripts, or both replies") from error
    turns, replies = _shared(record, whole[chosen], whole[rejected], rejected)
    return turns, *replies, 1.0, {chosen, rejected, *({"prompt"} & set(record.fields))}


def _shared(record: Record, chosen: list[Turn], rejected: list[Turn], field: str) -> tuple[list[Turn], tuple[str, str]]:
    """The turns that both conversations begin with, up to a human one, and what each goes on with."""
    common = 0
    while common < min(len(chosen), len(rejected)) and chosen[common] == rejected[common]:
        common += 1
    while common and chosen[common - 1]["role"] != "human":
        common -= 1
    rest = [turns[common:] for turns in (chosen, rejected)]
    if not common or any(len(turns) != 1 for turns in rest):
        message = "does not share all turns but the last reply with the chosen conversation"
        raise _bad(record, field, message, "remove the row, or give replies and a prompt column")
    return chosen[:common], (rest[0][0]["text"], rest[1][0]["text"])


def _labelled_pairs(found: Sequence[Record], a: str, b: str, label: str, prompt: str) -> list[tuple]:
    """As `_chosen_pair`, for pairs with a label; the whole column decides what its numbers mean."""
    values = [_get(record, label, "label") for record in found]
    numbered_choice = any(_number(value) == 2.0 for value in values)
    out = []
    for record, value in zip(found, values, strict=True):
        p = _probability(value, a, b, numbered_choice)
        if p is None:
            cure = "use a number in 0..1, 1 or 2 for the better one, or a, b, tie"
            raise _bad(record, label, f"{value!r} does not say which of `{a}` and `{b}` is better", cure)
        replies = []
        for name in (a, b):
            reply = _get(record, name, name)
            if not isinstance(reply, str):
                raise _bad(record, name, f"is {_what(reply)} where a reply is expected", "name a text column")
            replies.append(reply)
        turns, used = _prompt(record, prompt or _find(record, _BESIDE_REPLIES, "prompt"), "prompt")
        out.append((turns, replies[0], replies[1], p, used | {a, b, label}))
    return out


def _probability(value: Any, a: str, b: str, numbered_choice: bool) -> float | None:
    """P(a is better) that a label says; None if it says nothing."""
    words = {"a": 1.0, "b": 0.0, "tie": 0.5, a.lower(): 1.0, b.lower(): 0.0}
    if isinstance(value, str) and value.strip().lower() in words:
        return words[value.strip().lower()]
    number = _number(value)
    if numbered_choice:
        return {0.0: 0.5, 1.0: 1.0, 2.0: 0.0}.get(number)
    return number if number is not None and 0.0 <= number <= 1.0 else None


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _weight(record: Record) -> float:
    """The weight that a record gives its pair; 1 without one."""
    value = record.fields.get("weight", 1.0)
    number = None if isinstance(value, (bool, str)) else _number(value)
    if number is None or not 0.0 <= number < math.inf:
        shown = "null, or a number that is not finite," if value is None else repr(value)
        raise _bad(record, "weight", f"{shown} is not a weight", "use a finite number that is not negative")
    return number


def _find(record: Record, names: Sequence[str], option: str) -> str:
    """The record's column that comes first in `names`."""
    lower: Mapping[str, str] = {name.lower(): name for name in reversed(list(record.fields))}
    for name in names:
        if name in lower and record.fields[lower[name]] is not None:
            return lower[name]
    raise DataError(
        f"{record.where}: none of the columns {_listed(record)} is known to hold a prompt",
        f'name it: {option}="…"',
    )


def _get(record: Record, name: str, option: str) -> Any:
    if record.fields.get(name) is None:
        missing = "has no value that can be read" if name in record.fields else f"is not among {_listed(record)}"
        raise _bad(record, name, missing, f"repair the row, or name another column with {option}=")
    return record.fields[name]


def _split(record: Record, column: str, turns: Sequence[Turn], test: float) -> str:
    named = record.fields.get(column)
    if named is not None:
        if not isinstance(named, str) or not named:
            raise _bad(record, column, f"is {_what(named)} where a split's name is expected", "write train or test")
        return named
    return record.split or hash_split(turns, test)


def _others(record: Record, used: set[str]) -> Row:
    """The source's remaining fields, kept for provenance."""
    kept = {name: value for name, value in record.fields.items() if name not in used}
    return {f"source_{name}" if name in RESERVED else name: value for name, value in kept.items()}


def _bad(record: Record, field: str, what: str, cure: str) -> DataError:
    return DataError(f"{record.where}: field `{field}`: {what}", cure)


def _what(value: Any) -> str:
    return "null" if value is None else f"of type {type(value).__name__}"


def _listed(record: Record) -> str:
    return ", ".join(f"`{name}`" for name in record.fields)
