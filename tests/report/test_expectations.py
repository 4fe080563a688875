"""What claims hold, on intervals worked out by hand, and how what nobody could read or judge bears on them."""

import json
from types import SimpleNamespace

import pytest

from cai_jax.evals import intervals
from cai_jax.evals.figures import Figure
from cai_jax.report.expectations import judge


def rows(*values, **marks):
    """Metric rows of the prompts a, b, …; a value of "broken" marks a reply that nobody could read."""
    return [
        {"id": id_, "value": 0.0, "broken": True} if value == "broken" else {"id": id_, "value": value}
        for id_, value in zip("abcdefghij", values, strict=False)
    ]


ROWS = {
    "low": rows(0.1, 0.3),
    "high": rows(0.5, 0.9),
    "other": [{"id": "c", "value": 0.5}],
    "whole": [],  # a metric that is no mean over rows
    "silent": rows(0.0, 0.0, 0.0, None),
    "broken": rows(0.0, 0.0, 0.0, "broken"),
    "zero": rows(0.0, 0.0, 0.0, 0.0),
    "one": rows(1.0, 1.0, 1.0, None),
    "full": rows(1.0, 1.0, 1.0, 1.0),
    "mute": rows(0.0, None, None, None),
    "nothing": rows(0.0, 0.0),
    "soft": rows(0.25, 0.25),
    "all": rows(1.0, 1.0),
}


def figure(key):
    if key == "whole":
        return Figure(0.2, 0.1, 0.4, n=90)
    if key == "partial":
        return Figure(0.2, 0.1, 0.4, n=90, undecided=10)
    found = ROWS.get(key, [])
    known = [row["value"] for row in found if row["value"] is not None]
    lost = len(found) - len(known)
    value = mean(ROWS[key]) if len(known) >= max(1, lost) else None
    return Figure(value, value, value, len(known), lost, sum("broken" in row for row in found), left_out={"ties": 2})


def mean(rows):
    known = [row["value"] for row in rows if row["value"] is not None]
    return sum(known) / len(known)


class PlusMinus:
    """Intervals of half a width that grows with the level, so that each verdict can be worked out by hand."""

    def interval(self, rows, level):
        return mean(rows), mean(rows) - level / 10, mean(rows) + level / 10

    def difference(self, a, b, level):
        center = mean(a) - mean(b)
        return center, center - level / 2, center + level / 2


def side(key=None, constant=0.0):
    return SimpleNamespace(key=key, constant=constant)


def verdict(left, op, right, level=None, statistics=None):
    claim = SimpleNamespace(text="claim", left=left, op=op, right=right, level=level, why="because", arm="")
    return judge(claim, figure, lambda key: ROWS.get(key, []), statistics or PlusMinus())


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
    assert [each.n for each in found.figures] == [2, 2]
    against = verdict(side(constant=0.3), ">", side("low"), 0.5)
    assert against.difference == pytest.approx((0.1, 0.05, 0.15)) and against.figures[0] is None
    told = found.as_json()
    assert told["figures"][1]["n"] == 2 and told["figures"][1]["rows"] == 4 and told["holds"] is True


@pytest.mark.parametrize("right", [side("low"), side(constant=0.8)])
@pytest.mark.parametrize("op", ["<", ">"])
@pytest.mark.parametrize("key", ["nothing", "soft", "all", "low"])
def test_a_verdict_on_any_rate_is_plain_json(key, op, right):
    """The real intervals: where all rows are alike, their bounds are found in another way."""
    found = verdict(side(key), op, right, 0.95, intervals).as_json()
    assert json.loads(json.dumps(found))["difference"] == list(found["difference"]) and type(found["holds"]) is bool


@pytest.mark.parametrize("level", [None, 0.95])
@pytest.mark.parametrize(
    ("key", "op", "bound", "holds"),
    [
        # One of four replies could not be read: it shows at worst 1 where the claim is low, 0 where it is high.
        ("broken", "<", 0.3, False),  # 0.25 at worst, 0.25 + 0.095 with the interval; see the next row
        ("broken", "<", 0.4, True),
        ("broken", ">=", 0.1, False),
        # One of four rows was not judged: neither may it help.
        ("silent", "<", 0.4, True),
        ("one", ">", 0.6, True),
        ("one", ">", 0.7, None),
        ("silent", "<", 0.2, None),
    ],
)
def test_what_could_not_be_read_or_judged_never_helps_a_claim(key, op, bound, holds, level):
    found = verdict(side(key), op, side(constant=bound), level)
    if (key, bound, level) == ("broken", 0.3, None):
        assert found.holds  # without an interval 0.25 is below 0.3
    elif (key, bound, level) == ("one", 0.7, None):
        assert found.holds  # and 0.75 above 0.7
    elif holds is None:
        assert not found.holds and found.undecided == "1 row could not be judged, and it depends on them"
    else:
        assert found.holds is holds and not found.undecided


def test_of_two_sides_each_counts_against_the_claim():
    # At worst 0.25 against 0 and 0 against 0.25: no order of the two can be claimed, whichever way.
    for left, right in (("silent", "zero"), ("zero", "silent"), ("broken", "zero"), ("zero", "broken")):
        for op in ("<=", ">="):
            met = verdict(side(left), op, side(right)).holds
            assert met is ((left, op) in {("zero", "<="), ("silent", ">="), ("broken", ">=")}), (left, op, right)
    assert verdict(side("broken"), "<", side("full"), 0.95).difference == pytest.approx((-0.75, -1.225, -0.275))
    assert verdict(side("broken"), "<", side("one"), 0.5).difference[0] == pytest.approx(0.25 - 0.75)


@pytest.mark.parametrize("level", [None, 0.95])
def test_with_fewer_than_half_judged_nothing_can_be_said(level):
    for op in "<>":
        found = verdict(side("mute"), op, side(constant=0.5), level)
        assert not found.holds and found.undecided == "only 1 of 4 rows could be judged" and found.left is None


@pytest.mark.parametrize("level", [None, 0.95])
def test_on_different_prompts_nothing_can_be_said(level):
    found = verdict(side("low"), "<", side("other"), level)
    assert not found.holds and "different prompts (2 and 1, of which 0" in found.undecided
    assert (found.left, found.right, found.difference) == (pytest.approx(0.2), 0.5, None)


@pytest.mark.parametrize("level", [None, 0.95])
def test_without_rows_nothing_can_be_said(level):
    found = verdict(side("none"), "<", side(constant=0.5), level)
    assert not found.holds and found.undecided == "no row counts: 2 ties (100%)"
    assert (found.left, found.right) == (None, 0.5)


def test_a_metric_that_is_no_mean_over_prompts_is_judged_by_its_own_interval():
    assert verdict(side("whole"), "<", side(constant=0.41), 0.95).holds
    assert not verdict(side("whole"), "<", side(constant=0.39), 0.95).holds
    assert verdict(side(constant=0.09), "<", side("whole"), 0.95).difference == pytest.approx((-0.11, -0.31, -0.01))
    assert "95% only" in verdict(side("whole"), "<", side(constant=0.5), 0.9).undecided
    assert "paired" in verdict(side("whole"), "<", side("low"), 0.95).undecided
    assert verdict(side("whole"), "<", side("high")).holds  # the point estimates need no interval
    # A tenth without an answer may raise such a mean by a tenth.
    assert verdict(side("partial"), "<", side(constant=0.51), 0.95).holds
    assert "10 rows could not be judged" in verdict(side("partial"), "<", side(constant=0.49), 0.95).undecided
    assert not verdict(side("partial"), "<", side(constant=0.39), 0.95).undecided


def test_a_claim_that_too_few_rows_leave_open_says_how_many_would_decide_it():
    """0.2 ± 0.095 against 0.15: (0.095 / 0.05)² of 2 rows; nothing is missing where the interval is on one side."""
    found = verdict(side("low"), ">", side(constant=0.15), level=0.95)
    assert not found.holds and found.needed == 8 and found.as_json()["needed"] == 8
    assert verdict(side("low"), ">", side(constant=0.1), level=0.95).needed is None
    assert verdict(side("low"), ">", side(constant=0.5), level=0.95).needed is None
    assert verdict(side("low"), ">", side(constant=0.15)).needed is None


def test_a_bound_that_there_is_none_of_decides_nothing():
    figures = {"up": Figure(200.0, 50.0, None, n=30), "open": Figure(200.0, None, None, n=30)}

    def of(left, op, constant):
        claim = SimpleNamespace(
            text="claim", left=side(left), op=op, right=side(constant=constant), level=0.95, why="", arm=""
        )
        return judge(claim, figures.__getitem__, lambda key: [], PlusMinus())

    assert of("up", ">", 20).holds and not of("up", "<", 1e6).holds and not of("open", ">", 0).holds
    assert json.loads(json.dumps(of("up", ">", 20).as_json(), allow_nan=False))["difference"] == [180.0, 30.0, None]


def test_rows_that_nobody_could_judge_widen_a_figure_that_is_no_mean_as_far_as_they_may():
    """Counted against it the lower bound is -10, so that what was judged alone, 50, is not enough."""
    figure = Figure(200.0, 50.0, 400.0, n=25, undecided=5, extremes=((150.0, -10.0, 350.0), (260.0, 90.0, None)))

    def of(op, constant, level=0.95):
        claim = SimpleNamespace(
            text="claim", left=side("key"), op=op, right=side(constant=constant), level=level, why="", arm=""
        )
        return judge(claim, lambda key: figure, lambda key: [], PlusMinus())

    assert not of(">", 0).holds and "5 rows could not be judged" in of(">", 0).undecided
    assert of(">", -20).holds and not of("<", 450).holds and "5 rows" in of("<", 450).undecided
    assert of(">", 140, level=None).holds and not of(">", 160, level=None).holds
