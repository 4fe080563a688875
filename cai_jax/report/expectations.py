"""Verdicts on the expectations of a program.

A row that could not be read or judged must never help a claim. A reply that the oracle cannot read counts against it,
whichever way the claim goes; so does a row that was asked about and found no answer, and where such rows alone keep a
claim from being met, it is undecided.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from cai_jax.evals.figures import Figure, resolved
from cai_jax.evals.sample_size import rows_needed
from cai_jax.lang.plan import Expect, Side

Row = Mapping[str, Any]
Interval = tuple[float, float, float]
LEVEL = 0.95  # of the interval that a metric brings along (`evals.figures`)
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
    """The verdict on an expectation.

    Attributes:
      text, why: as in the program, with the sweep's values where they differ.
      holds: the claim is met.
      left, right: the two sides' values; None where nothing could be measured.
      difference: left - right with its interval (value, low, high) where a level was given, else None; rows that
        could not be read or judged count against the claim in it.
      level: of the interval, 0..1.
      undecided: the reason why the claim is neither met nor failed, which does not count as met; "" otherwise.
      figures: those that the two sides are based on; None for a number.
      op: as in the program.
      shares: True if the sides are shares, which are shown as percentages.
      needed: where the interval contains zero, so that the claim is neither shown nor refuted, the number of rows that
        would decide it if the estimate stays (`evals.sample_size`); None where it is decided, or there is no telling.
    """

    text: str
    why: str
    holds: bool
    left: float | None
    right: float | None
    difference: Interval | None = None
    level: float | None = None
    undecided: str = ""
    figures: tuple[Figure | None, Figure | None] = (None, None)
    op: str = ""
    shares: bool = False
    needed: int | None = None

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON values; null for a bound that there is none of."""
        bounds = self.difference and [each if math.isfinite(each) else None for each in self.difference]
        figures = [figure and figure.as_json() for figure in self.figures]
        return {**asdict(self), "difference": bounds, "figures": figures}


@dataclass(frozen=True)
class _Claim:
    """A claim with all that decides it."""

    expect: Expect
    figures: Callable[[str], Figure]
    rows: Callable[[str], Sequence[Row]]
    statistics: Statistics

    @property
    def keys(self) -> list[str]:
        return [side.key for side in (self.expect.left, self.expect.right) if side.key is not None]

    def met(self, charitable: bool) -> tuple[bool, Interval]:
        """True if it is met, and left - right; with `charitable`, rows without an answer count for it.

        Without a level the interval is a point.
        """
        less = self.expect.op.startswith("<")
        # What a row of the left side that nobody could read shows at worst; of the right side it is the opposite.
        worst = 1.0 if less else 0.0
        center, low, high = self._difference(worst, charitable)
        bound = high if less else low  # the one that is nearest to breaking the claim
        return _HOLDS[self.expect.op](bound, 0.0), (center, low, high)

    def _difference(self, worst: float, charitable: bool) -> Interval:
        """left - right; the constants shift it."""
        a, b = self.expect.left.key, self.expect.right.key
        shift = self.expect.left.constant - self.expect.right.constant
        if a is not None and b is not None and self.expect.level is not None:
            left, right = self._resolved(a, worst, charitable), self._resolved(b, 1.0 - worst, charitable)
            center, low, high = self.statistics.difference(left, right, self.expect.level)
            return center + shift, low + shift, high + shift
        of_a = (0.0, 0.0, 0.0) if a is None else self._interval(a, worst, charitable)
        of_b = (0.0, 0.0, 0.0) if b is None else self._interval(b, 1.0 - worst, charitable)
        return of_a[0] - of_b[0] + shift, of_a[1] - of_b[2] + shift, of_a[2] - of_b[1] + shift

    def _resolved(self, key: str, worst: float, charitable: bool) -> list[Row]:
        return resolved(self.rows(key), worst, 1.0 - worst if charitable else worst)

    def _interval(self, key: str, worst: float, charitable: bool) -> Interval:
        """A side's value and interval; without a level, its value alone."""
        rows, level = self._resolved(key, worst, charitable), self.expect.level
        if not rows:
            return self._own(key, charitable)
        if level is None:
            mean = sum(row["value"] for row in rows) / len(rows)
            return mean, mean, mean
        return self.statistics.interval(rows, level)

    def _own(self, key: str, charitable: bool) -> Interval:
        """The interval that a metric which is not a mean over rows has found itself."""
        return self.figures(key).bounds(self.expect.level is not None, charitable)

    def undecidable(self) -> str:
        """The reason why the claim is undecided, whatever the rows show; "" if there is none."""
        for key in self.keys:
            figure = self.figures(key)
            if figure.value is None:
                return _too_few(figure)
        return self._different_prompts() or self._no_interval()

    def _no_interval(self) -> str:
        """The reason why a claim with a level has no interval; "" if there is none."""
        if self.expect.level is None or all(self.rows(key) for key in self.keys):
            return ""
        if len(self.keys) > 1:
            return "one side is no mean over prompts, so that no paired difference has an interval; leave `at` out"
        if self.expect.level == LEVEL:
            return ""
        return f"this metric is no mean over prompts: it has an interval at {LEVEL:.0%} only"

    def _different_prompts(self) -> str:
        """The reason why the two sides' rows cannot be compared prompt by prompt; "" if there is none."""
        if len(self.keys) < 2:
            return ""
        left, right = ({row["id"] for row in self.rows(key)} for key in self.keys)
        if left == right or not (left and right):
            return ""
        return (
            f"the sides were measured on different prompts ({len(left)} and {len(right)}, of which "
            f"{len(left & right)} are the same)"
        )


def judge(
    expect: Expect,
    figures: Callable[[str], Figure],
    rows: Callable[[str], Sequence[Row]],
    statistics: Statistics,
    shares: bool = False,
) -> Verdict:
    """The verdict on one claim.

    With a level, the two-sided interval of left - right has to be wholly on the claimed side of zero: of the
    paired difference where both sides are metrics, of the metric against a constant. Without one, the point
    estimates decide. Either way, rows that could not be read or judged count against the claim.

    Args:
      expect: the claim.
      figures: the figure of the metric under a key.
      rows: its rows (`evals.figures`); none of a metric that is not a mean over them.
      statistics: `cai_jax.evals.intervals`.
      shares: True if the metrics are shares (`Signature.bounds` of 0 and 1).
    """
    verdict = functools.partial(Verdict, op=expect.op, shares=shares)
    claim = _Claim(expect, figures, rows, statistics)
    sides = (expect.left, expect.right)
    of_left, of_right = (None if side.key is None else figures(side.key) for side in sides)
    rests = (of_left, of_right)
    left, right = (_estimate(*each) for each in zip(sides, rests, strict=True))
    text = f"{expect.text} [{expect.arm}]" if expect.arm else expect.text
    undecided = claim.undecidable()
    if undecided:
        return verdict(text, expect.why, False, left, right, undecided=undecided, figures=rests)
    holds, difference = claim.met(charitable=False)
    lost = sum(figure.undecided for figure in rests if figure)
    if not holds and lost and claim.met(charitable=True)[0]:
        undecided = f"{lost} row{'s' * (lost > 1)} could not be judged, and it depends on them"
    if expect.level is None:
        return verdict(text, expect.why, holds, left, right, undecided=undecided, figures=rests)
    needed = None if undecided else rows_needed(difference, min(figure.asked for figure in rests if figure))
    return verdict(text, expect.why, holds, left, right, difference, expect.level, undecided, rests, needed=needed)


def _estimate(side: Side, figure: Figure | None) -> float | None:
    """A side's value."""
    if figure is None:
        return side.constant
    return None if figure.value is None else side.constant + figure.value


def _too_few(figure: Figure) -> str:
    if figure.enough:
        return "what could be judged allows no figure: see the notes"
    if figure.asked:
        return f"only {figure.known} of {figure.asked} rows could be judged"
    return f"no row counts: {figure.rest}" if figure.rows else "there were no rows to measure"
