"""Padding to few sizes, so that few functions are compiled. Imports no JAX."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# Sizes below it cost as much: 16 rows are one tile of bfloat16 on a TPU, and a prompt of fewer tokens is rare.
_SMALLEST = 16


def next_power_of_two(size: int) -> int:
    """The smallest power of two that is at least `size`, and at least 16."""
    return max(_SMALLEST, 1 << (size - 1).bit_length())


def next_eighth_octave(size: int) -> int:
    """The smallest of 16, 18, …, 32, 36, … (eight to an octave) that is at least `size`: at most a ninth is padding."""
    step = next_power_of_two(size) // 16
    return max(_SMALLEST, -(-size // step) * step)


def batches(
    lengths: Sequence[int], size: int, limit: int | None = None, least: int = _SMALLEST
) -> list[tuple[int, list[int]]]:
    """Split numbers of rows into batches of at most `size`, each with the width to which its rows are padded.

    A row's width is the power of two that holds it and `least`, or `limit` where that is less. It follows from the
    row's own length alone, so that its neighbours cannot change its bits.

    Args:
      lengths: tokens of each row.
      size: rows of a batch.
      limit: widest width, in tokens; None: no limit.
      least: narrowest width, in tokens.

    Returns:
      (width, indices into `lengths`) of each batch, by width.
    """
    by_width: dict[int, list[int]] = {}
    for number, length in enumerate(lengths):
        width = next_power_of_two(max(length, least))
        by_width.setdefault(width if limit is None else min(width, limit), []).append(number)
    return [
        (width, numbers[start : start + size])
        for width, numbers in sorted(by_width.items())
        for start in range(0, len(numbers), size)
    ]


def pad(rows: Sequence[Sequence[int]], height: int, width: int) -> np.ndarray:
    """Return rows as int32 `[height, width]`, padded with 0 on the right and below."""
    table = np.zeros((height, width), np.int32)
    for number, row in enumerate(rows):
        table[number, : len(row)] = row
    return table
