"""What the machine can do at most: a side measures what its libraries reach, and the best of all sides counts.

Imports nothing, so that every side's process can read it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

ROWS = (8, 32, 64, 128, 256, 512, 2048)  # of the products that are measured
STREAM = 1 << 25  # numbers in the array that is copied and summed: beyond any cache
SECONDS = 0.1  # of each measurement

Call = Callable[[], object]


def measure(
    makers: Sequence[Callable[[int], Call]], weights: int, streams: Sequence[tuple[int, Call]], nbytes: int
) -> dict:
    """Best FLOP/s by rows, and best bytes a second.

    Args:
      makers: for a number of rows, a product of that many rows with a matrix of `weights` numbers.
      streams: how often a call passes over `nbytes`, and the call.
    """
    gemm = {rows: max(2 * rows * weights / _best(make(rows)) for make in makers) for rows in ROWS}
    return {"gemm": gemm, "bandwidth": max(passes * nbytes / _best(call) for passes, call in streams)}


def _best(call: Call) -> float:
    """Seconds of the fastest of several calls."""
    call()
    best, end = float("inf"), time.perf_counter() + SECONDS
    while best == float("inf") or time.perf_counter() < end:
        begun = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - begun)
    return best
