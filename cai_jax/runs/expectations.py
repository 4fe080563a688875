"""Decides whether what a program expects is so (DESIGN.md §1, `expect`)."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from cai_jax.lang.plan import Expect, Side

Row = Mapping[str, Any]
Interval = tuple[float, float, float]
LEVEL = 0.95
_HOLDS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class Statistics(Protocol):
    """`cai_jax.evals.intervals`: each returns (value, low, high)."""

    def interval(self, rows: Sequence[Row], level: float) -> Interval: ...

    def difference(self, rows_a: Sequence[Row], rows_b: Sequence[Row], level: float) -> Interval: ...


@dataclass(frozen=True)
class Verdict:
    """What became of an expectation.

    Attributes:
      text, why: as in the program, with the sweep's values where they differ.
      holds: the claim is met.
      left, right: the two sides' values; None where nothing could be measured.
      difference: left - right with its interval (value, low, high) where a level was given, else None.
      level: of the interval, 0..1.
      undecided: why nothing can be said, which is no way of being met; "" otherwise.
    """

    text: str
    why: str
    holds: bool
    left: float | None
    right: float | None
    difference: Interval | None = None
    level: float | None = None
    undecided: str = ""


def judge(
    expect: Expect,
    rows: Callable[[str], Sequence[Row]],
    value: Callable[[str], float | None],
    statistics: Statistics,
    own: Callable[[str], Interval],
) -> Verdict:
    """The verdict on one claim.

    With a level, the two-sided interval of left - right has to lie wholly on the claimed side of zero: of the
    paired difference where both sides are metrics, of the metric against a constant. Without one, the point
    estimates decide.

    Args:
      expect: the claim.
      rows: per-prompt rows {"id", "value"} of the metric under a key; none of a metric that is no mean over prompts.
      value: point estimate of the metric under a key; None if there was nothing to measure.
      statistics: `cai_jax.evals.intervals`.
      own: the interval at `LEVEL` that a metric without rows found for itself.
    """
    left, right = (_estimate(side, value) for side in (expect.left, expect.right))
    text = f"{expect.text} [{expect.arm}]" if expect.arm else expect.text
    if left is None or right is None:
        undecided = "one side had no rows to measure; see the notes"
    else:
        undecided = _different_prompts(expect, rows) or _no_interval(expect, rows)
    if undecided:
        return Verdict(text, expect.why, False, left, right, undecided=undecided)
    compare = _HOLDS[expect.op]
    if expect.level is None:
        return Verdict(text, expect.why, compare(left, right), left, right)

    def interval(key: str) -> Interval:
        found = rows(key)
        return statistics.interval(found, expect.level) if found else own(key)

    center, low, high = _difference(expect, rows, interval, statistics)
    # The bound that is nearest to breaking the claim decides.
    bound = high if expect.op.startswith("<") else low
    return Verdict(text, expect.why, compare(bound, 0.0), left, right, (center, low, high), expect.level)


def _estimate(side: Side, value: Callable[[str], float | None]) -> float | None:
    """A side's value."""
    if side.key is None:
        return side.constant
    found = value(side.key)
    return None if found is None else side.constant + found


def _difference(
    expect: Expect,
    rows: Callable[[str], Sequence[Row]],
    interval: Callable[[str], Interval],
    statistics: Statistics,
) -> Interval:
    """left - right with its interval; the constants shift it."""
    a, b = expect.left.key, expect.right.key
    if a is not None and b is not None:
        found = statistics.difference(rows(a), rows(b), expect.level)
    elif a is not None:
        found = interval(a)
    elif b is not None:
        center, low, high = interval(b)
        found = (-center, -high, -low)
    else:
        found = (0.0, 0.0, 0.0)
    shift = expect.left.constant - expect.right.constant
    return found[0] + shift, found[1] + shift, found[2] + shift


def _no_interval(expect: Expect, rows: Callable[[str], Sequence[Row]]) -> str:
    """What keeps a claim with a level from having an interval; "" if nothing does."""
    keys = [side.key for side in (expect.left, expect.right) if side.key is not None]
    if expect.level is None or all(rows(key) for key in keys):
        return ""
    if len(keys) > 1:
        return "one side is no mean over prompts, so that no paired difference has an interval; leave `at` out"
    return (
        "" if expect.level == LEVEL else f"this metric is no mean over prompts: it has an interval at {LEVEL:.0%} only"
    )


def _different_prompts(expect: Expect, rows: Callable[[str], Sequence[Row]]) -> str:
    """What keeps the two sides' rows from being compared prompt by prompt; "" if nothing does."""
    if expect.left.key is None or expect.right.key is None:
        return ""
    left, right = ({row["id"] for row in rows(side.key)} for side in (expect.left, expect.right))
    if left == right or not (left and right):
        return ""
    return (
        f"the sides were measured on different prompts ({len(left)} and {len(right)}, of which "
        f"{len(left & right)} are the same)"
    )
