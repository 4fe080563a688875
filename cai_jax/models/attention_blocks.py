"""Blocks of queries in attention, so that none reads keys outside of its window or in its future. Imports no JAX."""

from __future__ import annotations

from collections.abc import Iterator

# Query rows that share one static range of keys; smaller blocks skip more of the causal triangle's empty
# half, larger ones make fewer, wider products. Both numbers are chosen, not measured.
_BLOCK = 128
_BLOCKS = 8

LANES = 128  # the blocks and the head width of the TPU's kernel are multiples of it
_KERNEL = 512  # largest block of the kernel; chosen, not measured


def plain(size: int, window: int | None = None) -> Iterator[tuple[int, int, int]]:
    """Yield the blocks of plain JAX in a row: (first query, end of the queries and of the keys, first key).

    Args:
      size: T, tokens of the row, which attend causally to one another.
      window: positions that a query sees, its own included; None: all.
    """
    block = max(_BLOCK, -(-size // _BLOCKS))
    for start in range(0, size, block):
        yield start, min(start + block, size), 0 if window is None else max(0, start - window + 1)


def kernel(size: int) -> int:
    """The block of the TPU's kernel, in queries and in keys, for rows of `size` tokens, a multiple of `LANES`."""
    return next(block for block in (_KERNEL, _KERNEL // 2, LANES) if size % block == 0)


def pairs(size: int, window: int | None = None, on_kernel: bool = False) -> int:
    """Count the products of a query and a key that a row of `size` tokens takes in each head.

    Of the kernel's blocks those wholly in the future are skipped; what a window skips in addition is counted.
    """
    if on_kernel:
        blocks = size // kernel(size)
        return size * size * (blocks + 1) // (2 * blocks)
    return sum((end - start) * (end - first) for start, end, first in plain(size, window))
