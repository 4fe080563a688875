"""Estimates for `plan`: what a decoder costs per token. Imports no JAX."""

from __future__ import annotations

from typing import Any

from cai_jax.lang.types import Cost, Type

# Where the data is unknown until it is read: a prompt's length, and rows of a source without a limit.
PROMPT_TOKENS = 64
ROWS = 1000


def rows_of(kind: Type) -> int:
    """Rows of an artefact of this type; as many as ROWS prompts make where its type does not tell."""
    return (ROWS if kind.rows is None else sum(kind.rows.values())) * (kind.replies or 1)


def forward(model: Type, tokens: float) -> Cost:
    """Reading `tokens` tokens: 2 operations a weight and token, weights read once (arXiv 2001.08361, §2.1)."""
    size = model.size or 0
    return Cost(tokens, 2.0 * size * tokens, 4.0 * size)


def decode(model: Type, rows: float, prompt: float, new: float) -> Cost:
    """Writing `new` tokens after prompts: the forward of all of them; bytes count the weights once a step."""
    size = model.size or 0
    tokens = rows * (prompt + new)
    return Cost(tokens, 2.0 * size * tokens, 4.0 * size * new * max(1.0, rows / 64))


def train(model: Type, tokens: float, adapter: Any = "full") -> Cost:
    """Forward and backward of `tokens` tokens; weights, gradients and two moments in float32.

    Below an adapter, weights have neither gradients nor moments, and what it has itself is small beside them.
    """
    size = model.size or 0
    if adapter != "full":
        return Cost(tokens, 4.0 * size * tokens, 4.0 * size)
    return Cost(tokens, 6.0 * size * tokens, 16.0 * size)
