"""What the machine can do at most: a side measures what its libraries reach, and the best of all sides counts.

Imports nothing, so that every side's process can read it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

ROWS = (8, 32, 64, 128, 256, 512, 2048)  # of the products that are measured
LARGE = (2048, 2048)  # a matrix on which libraries do well, beside the model's own
STREAM = 1 << 25  # numbers in the array that is copied and summed: beyond any cache
SECONDS = 0.1  # of each measurement

Call = Callable[[], object]


def measure(
    makers: Sequence[Callable[[int, int, int], Call]],
    own: tuple[int, int],
    streams: Sequence[tuple[int, Call]],
    nbytes: int,
) -> dict:
    """Best FLOP/s by rows, and best bytes a second.

    Args:
      makers: for rows, width and inner, a product of a matrix `[rows, width]` with one `[width, inner]`.
      own: width and inner of the model's widest matrix.
      streams: how often a call passes over `nbytes`, and the call.
    """

    def flops(rows: int, shape: tuple[int, int]) -> float:
        return 2 * rows * shape[0] * shape[1] / min(_best(make(rows, *shape)) for make in makers)

    gemm = {rows: max(flops(rows, shape) for shape in (own, LARGE)) for rows in ROWS}
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
