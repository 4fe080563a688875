"""Masked attention: one function, and the implementation that suits the machine (DESIGN.md §2)."""

from __future__ import annotations

from typing import NamedTuple

from jax import Array

from cai_jax.models.attention import xla
from cai_jax.models.attention.keys import KV

__all__ = ["KV", "Prefix", "attention"]


class Prefix(NamedTuple):
    """Keys and values of a text that every row sees before its own, stored once.

    layers holds k and v `[K, P, H]` per layer; of the P positions the first `length` (int32 scalar) are
    real, so that prefixes of one bucket share a compiled function.
    """

    layers: tuple[KV, ...]
    length: Array


def attention(
    q: Array,
    kv: KV,
    *,
    scale: float,
    starts: Array | None = None,
    groups: Array | None = None,
    positions: Array | None = None,
    window: int | None = None,
    softcap: float | None = None,
    prefix: tuple[KV, Array] | None = None,
) -> Array:
    """Softmax attention with a float32 softmax; every query sees itself, earlier keys of its row, and the prefix.

    Args:
      q: rotated queries `[B, T, N, H]`.
      kv: rotated keys and values `[B, K, S, H]`; N is a multiple of K, whose heads are shared by neighbours.
      scale: of the scores.
      starts: int32 `[B]`: query t of row b stands at key `starts[b] + t`, and keys behind it are not seen. None:
        query t stands at key t, and S is T.
      groups: int32 `[B, S]`. A key of group 0 is seen by all queries behind it, any other by its own group only:
        several texts packed into a row, or alternatives behind one trunk.
      positions: int32 `[B, S]`, of the keys, counted from the end of the prefix; where groups repeat positions and
        there is a window. By default their places.
      window: a query sees the last so many positions only, its own included (sliding window); None: all.
      softcap: scores become `softcap * tanh(score / softcap)` (Gemma 2); None: as they are.
      prefix: one layer's keys and values `[K, P, H]`, with how many of the P are real (int32 scalar).

    Returns:
      `[B, T, N, H]`, in the dtype of the values.
    """
    return xla.attention(q, kv, scale, starts, groups, positions, window, softcap, prefix)
