"""Arguments of attention, and the interface of an implementation."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from jax import Array


class KV(NamedTuple):
    """Rotated keys and values of one layer, `[B, K, S, H]`."""

    k: Array
    v: Array


class Case(NamedTuple):
    """The arguments of `cai_jax.models.attention.attention` other than queries, keys and values."""

    scale: float
    starts: Array | None
    segments: Array | None
    groups: Array | None
    positions: Array | None
    window: int | None
    softcap: float | None
    prefix: tuple[tuple[KV, Array], ...]


class Kernel(Protocol):
    """A module that attends to a row's own keys."""

    def can(self, q: Array, kv: KV, case: Case) -> bool:
        """Return True if it can do this case."""
        ...

    def attention(self, q: Array, kv: KV, case: Case) -> tuple[Array, Array | None]:
        """Compute attention over each query's own row, `[B, T, N, H]`.

        Where a prefix has to be added, it also returns the logarithm of the sum of the exponentials of each query's
        scores, float32 `[B, T, N]`; else None.
        """
        ...
