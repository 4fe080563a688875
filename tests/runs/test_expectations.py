from types import SimpleNamespace

import pytest

from cai_jax.runs.expectations import judge

ROWS = {
    "low": [{"id": "a", "value": 0.1}, {"id": "b", "value": 0.3}],
    "high": [{"id": "a", "value": 0.5}, {"id": "b", "value": 0.9}],
    "other": [{"id": "c", "value": 0.5}],
    "whole": [],  # a metric that is no mean over prompts
}
OWN = {"whole": (0.2, 0.1, 0.4)}


def mean(rows):
    return sum(row["value"] for row in rows) / len(rows)


class PlusMinus:
    """Intervals of half a width that grows with the level, so that each verdict can be worked out by hand."""

    def interval(self, rows, level):
        return mean(rows), mean(rows) - level / 10, mean(rows) + level / 10

    def difference(self, a, b, level):
        center = mean(a) - mean(b)
        return center, center - level / 2, center + level / 2


def side(key=None, constant=0.0):
    return SimpleNamespace(key=key, constant=constant)


def verdict(left, op, right, level=None):
    claim = SimpleNamespace(text="claim", left=left, op=op, right=right, level=level, why="because", arm="")

    def value(key):
        return OWN[key][0] if key in OWN else mean(ROWS[key]) if key in ROWS else None

    return judge(claim, ROWS.__getitem__, value, PlusMinus(), OWN.__getitem__)


@pytest.mark.parametrize(
    ("left", "op", "right", "holds"),
    [
        (side("low"), "<", side("high"), True),
        (side("high"), "<", side("low"), False),
        (side("low"), ">", side(constant=0.1), True),
        (side("low"), "<", side("low"), False),
        (side("low"), "<=", side("low"), True),
        (side("low", 0.5), "<", side("high"), False),
        (side("low", 0.4), "<", side("high"), True),
        (side(constant=0.3), ">=", side("low"), True),
    ],
)
def test_point_estimates(left, op, right, holds):
    assert verdict(left, op, right).holds is holds


@pytest.mark.parametrize(
    ("left", "op", "right", "level", "holds"),
    [
        # low - high = 0.2 - 0.7 = -0.5, plus or minus level / 2
        (side("low"), "<", side("high"), 0.95, True),
        (side("low"), "<", side("high"), 1.01, False),
        (side("low"), "<=", side("high"), 0.99, True),
        (side("high"), ">", side("low"), 0.95, True),
        (side("low"), ">", side("high"), 0.95, False),
        # shifted by a constant: -0.5 + 0.1 = -0.4, so 0.95 / 2 reaches beyond zero
        (side("low", 0.1), "<", side("high"), 0.95, False),
        # low = 0.2 plus or minus level / 10
        (side("low"), "<", side(constant=0.3), 0.95, True),
        (side("low"), "<", side(constant=0.29), 0.95, False),
        (side(constant=0.3), ">", side("low"), 0.95, True),
        (side(constant=0.11), "<", side("low"), 0.95, False),
    ],
)
def test_intervals(left, op, right, level, holds):
    assert verdict(left, op, right, level).holds is holds


def test_what_a_verdict_tells():
    found = verdict(side("low"), "<", side("high"), 0.5)
    assert (found.left, found.right) == (pytest.approx(0.2), pytest.approx(0.7))
    assert found.difference == pytest.approx((-0.5, -0.75, -0.25))
    assert (found.text, found.why, found.level) == ("claim", "because", 0.5)
    assert verdict(side(constant=0.3), ">", side("low"), 0.5).difference == pytest.approx((0.1, 0.05, 0.15))


@pytest.mark.parametrize("level", [None, 0.95])
def test_on_different_prompts_nothing_can_be_said(level):
    found = verdict(side("low"), "<", side("other"), level)
    assert not found.holds and "different prompts (2 and 1, of which 0" in found.undecided
    assert (found.left, found.right, found.difference) == (pytest.approx(0.2), 0.5, None)


@pytest.mark.parametrize("level", [None, 0.95])
def test_without_rows_nothing_can_be_said(level):
    found = verdict(side("none"), "<", side(constant=0.5), level)
    assert not found.holds and "no rows to measure" in found.undecided
    assert (found.left, found.right) == (None, 0.5)


def test_a_metric_that_is_no_mean_over_prompts_is_judged_by_its_own_interval():
    assert verdict(side("whole"), "<", side(constant=0.41), 0.95).holds
    assert not verdict(side("whole"), "<", side(constant=0.39), 0.95).holds
    assert verdict(side(constant=0.09), "<", side("whole"), 0.95).difference == pytest.approx((-0.11, -0.31, -0.01))
    assert "95% only" in verdict(side("whole"), "<", side(constant=0.5), 0.9).undecided
    assert "paired" in verdict(side("whole"), "<", side("low"), 0.95).undecided
    assert verdict(side("whole"), "<", side("high")).holds  # the point estimates need no interval
