"""Number of rows of an artefact, and of tokens of a text, before anything runs. Imports no JAX."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cai_jax.data.file_stamps import stamps
from cai_jax.lang.signature import Type

if TYPE_CHECKING:
    from cai_jax.models.tokenizer import Tokenizer
    from cai_jax.prompting.turns import Turns

# Guesses, which `plan` and `compile` name where they rest on them: rows of a source that is not here, and tokens of its
# longest prompt or of a document (`--limit` and `--prompt-tokens` say otherwise).
ROWS = 1000
PROMPT = 512
# Of the longest reply, the mean one: models end most replies before they must. A packed row holds the more of them.
MEAN = 0.5
# What cannot be known before a tokenizer has read it: an instruction with its template, an example of a constitution.
REQUEST_TOKENS = 64
SHOT_TOKENS = 256


def expected_rows(kind: Type) -> int:
    """Rows of an artefact of this type; where its type does not say, the number that ROWS prompts make."""
    return (ROWS if kind.rows is None else sum(kind.rows.values())) * (kind.replies or 1)


def rows_each(values: Mapping[str, Any]) -> int:
    """Rows that `revise` makes of one reply, from its parameters."""
    return values["rounds"] if values["keep"] == "all" and values["where"] == "all" else 1


def expected_tokens(texts: Iterable[str], reader: Type) -> list[int]:
    """Tokens of each text as a model reads it; its words, of which a token holds one at most, without a tokenizer."""
    tokenizer = _tokenizer(reader.tokenizer, stamps(Path(reader.tokenizer))) if reader.tokenizer else None
    return [len(text.split() if tokenizer is None else tokenizer.encode(text)) for text in texts]


def least(reader: Type, replied: bool, about: Iterable[str] = ()) -> int:
    """Tokens of the shortest prompt that a model may be given, or of fewer; with one word of a reply if `replied`.

    In whichever of its formats it is talked to; without a tokenizer, a token for each word.

    Args:
      about: lineage of the conversations; what people ask in data that is not built in is one word here.
    """
    folder = reader.tokenizer
    return _least(folder, stamps(Path(folder)), replied, frozenset(about)) if folder else 1 + replied


@functools.lru_cache(maxsize=16)
def _least(folder: str, files: tuple, replied: bool, about: frozenset[str]) -> int:
    from cai_jax.errors import UserError
    from cai_jax.prompting.chat_format import format_of
    from cai_jax.prompting.render import encode

    tokenizer = _tokenizer(folder, files)
    if tokenizer is None:
        return 1 + replied
    found: list[int] = []
    for name in ("paper", "auto"):
        try:
            form = format_of(tokenizer, name)
        except UserError:  # which `model` tells
            continue
        for text in _asked(about):
            turns: Turns = [{"role": "human", "text": text}]
            for word in _WORDS if replied else ("",):
                shown = form.replied(turns, word, ended=False) if replied else form.ask(turns)
                found.append(len(encode(tokenizer, shown)[0]))
    return min(found, default=1 + replied)


# Of which one or another becomes a token with what stands before it.
_WORDS = ("a", "A", "I", "1", ".")


def _asked(about: frozenset[str]) -> Sequence[str]:
    """The shortest texts that people ask in this data."""
    from cai_jax.world.prompts import PROMPT_SETS, prompts

    names = {source.removeprefix("builtin:").partition("/")[0] for source in about if source.startswith("builtin:")}
    if not names & set(PROMPT_SETS) or not all(source.startswith("builtin:") for source in about):
        return _WORDS
    texts = {row["turns"][-1]["text"] for name in names & set(PROMPT_SETS) for row in prompts(name)}
    fewest = min(len(text.split()) for text in texts)
    return [text for text in texts if len(text.split()) <= fewest + 1]


@functools.lru_cache(maxsize=4)
def _tokenizer(folder: str, files: tuple) -> Tokenizer | None:
    """The tokenizer in a folder that holds these files; None where it cannot be used, which `model` reports."""
    from cai_jax.models.errors import ModelError
    from cai_jax.models.tokenizer import Tokenizer

    try:
        return Tokenizer.load(folder)
    except ModelError:
        return None
