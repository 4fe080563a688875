"""Decides whether what a program expects is so (DESIGN.md §1, `expect`)."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from cai_jax.runs.errors import ProgramError

Row = Mapping[str, Any]
Interval = tuple[float, float, float]
_HOLDS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class Side(Protocol):
    """One side of an `expect`: the metric under `key` (None: none) plus a constant."""

    key: str | None
    constant: float


class Expect(Protocol):
    """A claim of the program; `level` is None where point estimates decide, `arm` its place in a sweep."""

    text: str
    left: Side
    op: str
    right: Side
    level: float | None
    why: str
    arm: str


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
      left, right: the two sides' values.
      difference: left - right with its interval (value, low, high) where a level was given, else None.
      level: of the interval, 0..1.
    """

    text: str
    why: str
    holds: bool
    left: float
    right: float
    difference: Interval | None = None
    level: float | None = None


def judge(
    expect: Expect,
    rows: Callable[[str], Sequence[Row]],
    value: Callable[[str], float],
    statistics: Statistics,
) -> Verdict:
    """The verdict on one claim.

    With a level, the two-sided interval of left - right has to lie wholly on the claimed side of zero: of the
    paired difference where both sides are metrics, of the metric against a constant. Without one, the point
    estimates decide.

    Args:
      expect: the claim.
      rows: per-prompt rows {"id", "value"} of the metric under a key.
      value: point estimate of the metric under a key.
      statistics: `cai_jax.evals.intervals`.

    Raises:
      ProgramError: the two sides were measured on different prompts.
    """
    left, right = (
        side.constant + (value(side.key) if side.key is not None else 0.0) for side in (expect.left, expect.right)
    )
    _refuse_different_prompts(expect, rows)
    text = f"{expect.text} [{expect.arm}]" if expect.arm else expect.text
    compare = _HOLDS[expect.op]
    if expect.level is None:
        return Verdict(text, expect.why, compare(left, right), left, right)
    center, low, high = _difference(expect, rows, statistics)
    # The bound that is nearest to breaking the claim decides.
    bound = high if expect.op.startswith("<") else low
    return Verdict(text, expect.why, compare(bound, 0.0), left, right, (center, low, high), expect.level)


def _difference(expect: Expect, rows: Callable[[str], Sequence[Row]], statistics: Statistics) -> Interval:
    """left - right with its interval; the constants shift it."""
    a, b, level = expect.left.key, expect.right.key, expect.level
    if a is not None and b is not None:
        found = statistics.difference(rows(a), rows(b), level)
    elif a is not None:
        found = statistics.interval(rows(a), level)
    elif b is not None:
        center, low, high = statistics.interval(rows(b), level)
        found = (-center, -high, -low)
    else:
        found = (0.0, 0.0, 0.0)
    shift = expect.left.constant - expect.right.constant
    return found[0] + shift, found[1] + shift, found[2] + shift


def _refuse_different_prompts(expect: Expect, rows: Callable[[str], Sequence[Row]]) -> None:
    if expect.left.key is None or expect.right.key is None:
        return
    left, right = ({row["id"] for row in rows(side.key)} for side in (expect.left, expect.right))
    if left != right:
        raise ProgramError(
            f"the two sides of `expect {expect.text}` were measured on different prompts "
            f"({len(left)} and {len(right)}, of which {len(left & right)} are the same)",
            "measure both on the same prompts",
        )
