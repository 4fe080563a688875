"""Keys and values."""

from __future__ import annotations

from typing import NamedTuple

from jax import Array


class KV(NamedTuple):
    """Rotated keys and values of one layer, `[B, K, S, H]`."""

    k: Array
    v: Array
