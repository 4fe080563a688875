"""Padding to few sizes, so that few functions are compiled. Imports no JAX."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_SMALLEST = 16


def power(size: int) -> int:
    """The smallest power of two that holds `size`, at least 16."""
    return max(_SMALLEST, 1 << (size - 1).bit_length())


def pad(rows: Sequence[Sequence[int]], height: int, width: int) -> np.ndarray:
    """Rows as int32 `[height, width]`, padded with 0 on the right and below."""
    table = np.zeros((height, width), np.int32)
    for number, row in enumerate(rows):
        table[number, : len(row)] = row
    return table
