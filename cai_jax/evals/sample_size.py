"""How many rows it would take to decide a claim."""

from __future__ import annotations

import math

MOST = 10_000_000  # rows beyond which a number says no more than that there is no telling


def rows_needed(difference: tuple[float, float, float], rows: int) -> int | None:
    """Number of rows with which an interval would end at zero, if the estimate stays as it is.

    An estimate: the interval's reach shrinks as 1/√n where rows come in clusters like those at hand. For shares near 0
    or 1 it shrinks faster, and fewer will do.

    Args:
      difference: value, low and high of what is claimed to be above or below zero.
      rows: n, on which that rests.

    Returns:
      None where the interval does not contain zero, so that nothing is missing; and where no number can be told: the
      value is zero or too near to it, or the interval has no end on that side.

    Example:
      0.1 ± 0.2 from 50 rows would be 0.1 ± 0.1 from four times as many.

      >>> rows_needed((0.1, -0.1, 0.3), 50)
      200
    """
    value, low, high = difference
    if not low <= 0.0 <= high or value == 0.0:
        return None
    reach = value - low if value > 0.0 else high - value
    if not math.isfinite(reach) or reach >= abs(value) * math.sqrt(MOST / max(1, rows)):
        return None
    return math.ceil(rows * (reach / value) ** 2 - 1e-9)
