"""Masked attention: one function, and the implementation that suits the machine.

Scaled dot-product attention (arXiv 1706.03762, eq. 1) with grouped key/value heads (arXiv 2305.13245).
"""

from __future__ import annotations

from typing import NamedTuple

from jax import Array

from cai_jax.models.attention import cudnn, splash, xla
from cai_jax.models.attention.cases import KV, Case, Kernel
from cai_jax.parallel import target

__all__ = ["KV", "Prefix", "attention", "implementation"]

# Which kernel reads a row's own keys on which platform; everywhere else, and in every case that the kernel cannot do
# (its `can`), it is plain JAX.
KERNELS: dict[str, Kernel] = {"cudnn": cudnn, "splash": splash}
PLATFORMS = {"gpu": "cudnn", "tpu": "splash"}


class Prefix(NamedTuple):
    """Keys and values of a text that precedes the rows, computed once.

    A prefix of all rows holds k and v `[K, P, H]` per layer, of whose P positions the first `length` (int32 scalar)
    are real, so that prefixes of one bucket share a compiled function. One for each row holds `[B, K, P, H]` and
    `length` `[B]`. `before` is the prefix that precedes this one, if any; `long` is the same text as rows beyond
    the original context see it, where they see another (models/rope_scaling.py, LongRope).
    """

    layers: tuple[KV, ...]
    length: Array
    before: Prefix | None = None
    long: Prefix | None = None

    def parts(self, layer: int) -> tuple[tuple[KV, Array], ...]:
        """Return one layer's keys and values with their lengths, in the order of the text: `prefix` of `attention`."""
        earlier = () if self.before is None else self.before.parts(layer)
        return (*earlier, (self.layers[layer], self.length))

    def end(self) -> Array:
        """Return the number of tokens, which is the position of a row's first token.

        int32 `[]`, or `[B, 1]` to add to positions `[B, T]`.
        """
        own = self.length[:, None] if self.length.ndim else self.length
        return own if self.before is None else self.before.end() + own


def implementation() -> str:
    """The implementation for the devices that steps are made for: "splash" on TPUs, "cudnn" on GPUs, else "xla"."""
    return PLATFORMS.get(target.platform(), "xla")


def attention(
    q: Array,
    kv: KV,
    *,
    scale: float,
    starts: Array | None = None,
    segments: Array | None = None,
    groups: Array | None = None,
    positions: Array | None = None,
    window: int | None = None,
    softcap: float | None = None,
    prefix: tuple[tuple[KV, Array], ...] = (),
    impl: str | None = None,
) -> Array:
    """Compute softmax(scale · q kᵀ + mask) v (arXiv 1706.03762, eq. 1), the softmax in float32.

    Every query sees itself, earlier keys of its row, and the prefix. N query heads share K key/value heads
    (arXiv 2305.13245).

    Args:
      q: rotated queries `[B, T, N, H]`.
      kv: rotated keys and values `[B, K, S, H]`; N is a multiple of K, and N / K neighbouring heads share one of K.
      scale: factor of the scores.
      starts: int32 `[B]`: query t of row b is at key `starts[b] + t`, and does not see later keys. None:
        query t is at key t, and S is T.
      segments: int32 `[B, S]`: a key is seen by its own segment only (several texts packed into a row).
      groups: int32 `[B, S]`: a key of group 0 is seen by all later queries, any other by its own group only
        (alternatives after one trunk).
      positions: int32 `[B, S]`, of the keys, counted from the end of the prefix; needed where groups repeat positions
        and there is a window. By default the indices of the keys.
      window: number of last positions that a query sees, its own included (sliding window); None: all.
      softcap: scores become `softcap * tanh(score / softcap)` (Gemma 2, arXiv 2408.00118); None: no cap.
      prefix: one layer of what precedes the row (`Prefix.parts`): keys and values `[K, P, H]` or `[B, K, P, H]`
        with the number of the P that are real (int32 `[]` or `[B]`); those `[B, …]` come after those of all rows.
      impl: "xla", "splash" or "cudnn"; by default `implementation()`. What a kernel cannot do is done by "xla".

    Returns:
      `[B, T, N, H]`, in the dtype of the values.
    """
    case = Case(scale, starts, segments, groups, positions, window, softcap, prefix)
    kernel = KERNELS.get(impl or implementation())
    if kernel is None or not kernel.can(q, kv, case):
        return xla.attention(q, kv, case)
    seen, log_total = kernel.attention(q, kv, case)
    if not prefix:
        return seen
    assert log_total is not None  # a kernel gives it where there is a prefix (`Kernel`)
    return xla.behind_prefix(q, seen, log_total, case)
