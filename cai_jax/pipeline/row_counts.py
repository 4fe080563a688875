"""How many rows an artefact has, and how many tokens a text, before anything runs. Imports no JAX."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cai_jax.data.file_stamps import stamps
from cai_jax.lang.signature import Type

if TYPE_CHECKING:
    from cai_jax.models.tokenizer import Tokenizer

# Guesses, which `plan` and `compile` name where they rest on them: rows of a source that is not here, and tokens of its
# longest prompt or of a document (`--limit` and `--prompt-tokens` say otherwise).
ROWS = 1000
PROMPT = 512


def expected_rows(kind: Type) -> int:
    """Rows of an artefact of this type; as many as ROWS prompts make where its type does not tell."""
    return (ROWS if kind.rows is None else sum(kind.rows.values())) * (kind.replies or 1)


def rows_each(values: Mapping[str, Any]) -> int:
    """Rows that `revise` makes of one reply, from its parameters."""
    return values["rounds"] if values["keep"] == "all" and values["where"] == "all" else 1


def expected_tokens(texts: Iterable[str], reader: Type) -> list[int]:
    """Tokens of each text as a model reads it; its words, of which a token holds one at most, without a tokenizer."""
    tokenizer = _tokenizer(reader.tokenizer, stamps(Path(reader.tokenizer))) if reader.tokenizer else None
    return [len(text.split() if tokenizer is None else tokenizer.encode(text)) for text in texts]


@functools.lru_cache(maxsize=4)
def _tokenizer(folder: str, files: tuple) -> Tokenizer | None:
    """The tokenizer in a folder that holds these files; None where it cannot be used, which `model` tells."""
    from cai_jax.models.errors import ModelError
    from cai_jax.models.tokenizer import Tokenizer

    try:
        return Tokenizer.load(folder)
    except ModelError:
        return None
