"""Verdicts on the expectations of a program.

A row that could not be read or judged must never help a claim. A reply that the oracle cannot read counts against it,
whichever way the claim goes; so does a row that was asked about and found no answer, and where such rows alone keep a
claim from being met, it is undecided.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

from cai_jax.evals.figures import Figure, resolved
from cai_jax.lang.plan import Expect, Side

Row = Mapping[str, Any]
Interval = tuple[float, float, float]
LEAST, MOST = 1e-6, 0.5  # error rates outside are not told apart: levels begin at 50 %
LEVEL = 0.95  # of the interval that a metric brings along (`evals.figures`)
_HOLDS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class Statistics(Protocol):
    """`cai_jax.evals.intervals`."""

    def interval(self, rows: Sequence[Row], level: float) -> Interval: ...

    def difference(self, rows_a: Sequence[Row], rows_b: Sequence[Row], level: float) -> Interval: ...

    def unpaired(self, rows_a: Sequence[Row], rows_b: Sequence[Row], level: float) -> Interval: ...

    def matched(self, rows_a: Sequence[Row], rows_b: Sequence[Row]) -> bool: ...


@dataclass(frozen=True)
class Together:
    """An `expect all`: its line in the program, its number of claims, and the level that holds for all of them."""

    line: int
    claims: int
    level: float


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
      pairing: "paired" if the sides were compared prompt by prompt, "unpaired" if they were measured on different
        prompts; "" where there are no two sides with rows.
      shared: number of prompts on which both sides were measured, of two sides with rows.
      p: the least error rate (1 - level) at which it holds (`smallest`); None without a level, or without rows.
      together: the `expect all` that it belongs to; None if it stands alone. `level` is the adjusted one then.
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
    pairing: str = ""
    shared: int | None = None
    p: float | None = None
    together: Together | None = None

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return {**asdict(self), "figures": [figure and figure.as_json() for figure in self.figures]}


@dataclass(eq=False)
class _Claim:
    """A claim with all that decides it."""

    expect: Expect
    figures: Callable[[str], Figure]
    rows: Callable[[str], Sequence[Row]]
    statistics: Statistics
    level: float | None

    @property
    def keys(self) -> list[str]:
        return [side.key for side in (self.expect.left, self.expect.right) if side.key is not None]

    @functools.cached_property
    def pairing(self) -> str:
        """Whether the sides' rows are "paired" or "unpaired"; "" where there are no two sides with rows."""
        sides = [self.rows(key) for key in self.keys]
        if len(sides) < 2 or not all(sides):
            return ""
        return "paired" if self.statistics.matched(*(resolved(rows, 0.0, 0.0) for rows in sides)) else "unpaired"

    @property
    def shared(self) -> int | None:
        """Number of prompts on which both sides were measured, of two sides with rows."""
        if not self.pairing:
            return None
        left, right = ({row["id"] for row in self.rows(key)} for key in self.keys)
        return len(left & right)

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

    def smallest(self) -> float | None:
        """The least error rate 1 - level, from `LEAST` to `MOST`, at which it is met; 1 if at none; None without rows.

        It is to the claim what a two-sided p-value is to the test that the interval inverts, found by bisection of the
        level; a thousandth of it is left open.
        """
        if not all(self.rows(key) for key in self.keys):
            return None
        low, high = LEAST, MOST
        if not self._met_at(high):
            return 1.0
        if self._met_at(low):
            return LEAST
        while high / low > 1.001:
            middle = (low * high) ** 0.5
            low, high = (low, middle) if self._met_at(middle) else (middle, high)
        return high

    def _met_at(self, error: float) -> bool:
        return replace(self, level=1.0 - error).met(charitable=False)[0]

    def _difference(self, worst: float, charitable: bool) -> Interval:
        """left - right; the constants shift it."""
        a, b = self.expect.left.key, self.expect.right.key
        shift = self.expect.left.constant - self.expect.right.constant
        if a is not None and b is not None and self.level is not None:
            left, right = self._resolved(a, worst, charitable), self._resolved(b, 1.0 - worst, charitable)
            of_both = self.statistics.difference if self.pairing == "paired" else self.statistics.unpaired
            center, low, high = of_both(left, right, self.level)
            return center + shift, low + shift, high + shift
        of_a = (0.0, 0.0, 0.0) if a is None else self._interval(a, worst, charitable)
        of_b = (0.0, 0.0, 0.0) if b is None else self._interval(b, 1.0 - worst, charitable)
        return of_a[0] - of_b[0] + shift, of_a[1] - of_b[2] + shift, of_a[2] - of_b[1] + shift

    def _resolved(self, key: str, worst: float, charitable: bool) -> list[Row]:
        return resolved(self.rows(key), worst, 1.0 - worst if charitable else worst)

    def _interval(self, key: str, worst: float, charitable: bool) -> Interval:
        """A side's value and interval; without a level, its value alone."""
        rows, level = self._resolved(key, worst, charitable), self.level
        if not rows:
            return self._own(key, charitable)
        if level is None:
            mean = sum(row["value"] for row in rows) / len(rows)
            return mean, mean, mean
        return self.statistics.interval(rows, level)

    def _own(self, key: str, charitable: bool) -> Interval:
        """The interval that a metric which is not a mean over rows has found itself.

        A share u of rows without an answer moves a weighted mean of errors in 0..1 by u upwards at most, and by 2 u
        downwards.
        """
        figure = self.figures(key)
        share = 0.0 if charitable else figure.undecided / max(1, figure.asked)
        value = figure.value
        low, high = (value, value) if self.level is None else (figure.low, figure.high)
        assert value is not None and low is not None and high is not None  # else `undecidable` says so
        return value, low - 2 * share, high + share

    def undecidable(self) -> str:
        """The reason why the claim is undecided, whatever the rows show; "" if there is none."""
        for key in self.keys:
            figure = self.figures(key)
            if figure.value is None:
                return _too_few(figure)
        return self._no_interval()

    def _no_interval(self) -> str:
        """The reason why a claim with a level has no interval; "" if there is none."""
        if self.level is None or all(self.rows(key) for key in self.keys):
            return ""
        if len(self.keys) > 1:
            return "one side is no mean over prompts, so that the difference has no interval; leave `at` out"
        if self.level == LEVEL:
            return ""
        return f"this metric is no mean over prompts: it has an interval at {LEVEL:.0%} only"


def judge(
    expect: Expect,
    figures: Callable[[str], Figure],
    rows: Callable[[str], Sequence[Row]],
    statistics: Statistics,
    shares: bool = False,
    level: float | None = None,
) -> Verdict:
    """The verdict on one claim.

    With a level, the two-sided interval of left - right has to be wholly on the claimed side of zero: of the difference
    where both sides are metrics, paired if they were measured on the same prompts and unpaired else; of the metric
    against a constant. Without one, the point estimates decide. Either way, rows that could not be read or judged count
    against the claim.

    Args:
      expect: the claim.
      figures: the figure of the metric under a key.
      rows: its rows (`evals.figures`); none of a metric that is not a mean over them.
      statistics: `cai_jax.evals.intervals`.
      shares: True if the metrics are shares (`Signature.bounds` of 0 and 1).
      level: instead of the claim's own.
    """
    claim = _Claim(expect, figures, rows, statistics, expect.level if level is None else level)
    rests = tuple(None if side.key is None else figures(side.key) for side in (expect.left, expect.right))
    undecided, holds, difference = claim.undecidable(), False, None
    if not undecided:
        holds, difference = claim.met(charitable=False)
        lost = sum(figure.undecided for figure in rests if figure)
        if not holds and lost and claim.met(charitable=True)[0]:
            undecided = f"{lost} row{'s' * (lost > 1)} could not be judged, and it depends on them"
    has_level = difference is not None and claim.level is not None
    return Verdict(
        f"{expect.text} [{expect.arm}]" if expect.arm else expect.text,
        expect.why,
        holds,
        _estimate(expect.left, rests[0]),
        _estimate(expect.right, rests[1]),
        difference if has_level else None,
        claim.level,
        undecided,
        (rests[0], rests[1]),
        expect.op,
        shares,
        claim.pairing,
        claim.shared,
        claim.smallest() if has_level else None,
    )


def _estimate(side: Side, figure: Figure | None) -> float | None:
    """A side's value."""
    if figure is None:
        return side.constant
    return None if figure.value is None else side.constant + figure.value


def _too_few(figure: Figure) -> str:
    if figure.asked:
        return f"only {figure.known} of {figure.asked} rows could be judged"
    return f"no row counts: {figure.rest}" if figure.rows else "there were no rows to measure"
