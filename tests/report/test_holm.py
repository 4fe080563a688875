"""Claims that are made together: Holm's levels, and the least error rate of each, worked out by hand."""

from types import SimpleNamespace

import pytest

from cai_jax.evals import intervals
from cai_jax.evals.figures import Figure, measured
from cai_jax.lang.plan import Side
from cai_jax.report import holm, results
from cai_jax.report.expectations import LEAST, judge


def zeros(count):
    return [{"id": str(i), "value": 0.0} for i in range(count)]


ROWS = {"ten": zeros(10), "twenty": zeros(20), "forty": zeros(40), "whole": []}


def claim(key, bound, together=1, level=0.95, op="<"):
    left, right = Side(key), Side(None, bound)
    return SimpleNamespace(
        text=f"{key} {op} {bound}", left=left, op=op, right=right, level=level, why="", arm="", together=together
    )


def figure(key):
    return Figure(0.1, 0.0, 0.2, n=9) if key == "whole" else measured(ROWS[key])


def judged(expect, level):
    return judge(expect, figure, ROWS.__getitem__, intervals, True, level)


def made(*claims, every=()):
    return holm.verdicts(claims, judged, every)


@pytest.mark.parametrize(
    ("key", "bound", "p"),
    [
        # Of n rows none: the upper bound at a level of 1 - p is 1 - (p / 2)^(1 / n), below c from p = 2 (1 - c)^n on.
        ("ten", 0.3085, 2 * (1 - 0.3085) ** 10),  # 0.05
        ("ten", 0.4, 2 * 0.6**10),  # 0.012
        ("twenty", 0.2, 2 * 0.8**20),  # 0.023
        ("forty", 0.9, LEAST),  # 2e-40
        ("ten", 0.1, 1.0),  # 2 * 0.9^10 = 0.7
        ("whole", 0.5, None),
    ],
)
def test_the_least_error_rate_of_a_claim(key, bound, p):
    found = judged(claim(key, bound), None)
    assert found.p == (None if p is None else pytest.approx(p, rel=2e-3))
    if p not in (None, 1.0, LEAST):
        for level, holds in ((1 - 1.01 * p, True), (1 - 0.99 * p, False)):
            assert judged(claim(key, bound), level).holds is holds


def test_without_a_level_there_is_none():
    assert judged(claim("ten", 0.4, level=None), None).p is None


def test_holm_by_hand():
    # p = 2 * 0.6^10 = 0.0121, 2 * 0.8^20 = 0.0231, 2 * 0.905^40 = 0.0369: at 0.05 / 3, / 2 and / 1 all hold,
    three = made(claim("twenty", 0.2), claim("ten", 0.4), claim("forty", 0.095))
    assert [each.holds for each in three] == [True, True, True]
    assert [each.level for each in three] == pytest.approx([1 - 0.05 / 2, 1 - 0.05 / 3, 0.95])
    # and with p = 0.0282 = 2 * 0.808^20 in the place of the second that fails at 0.025, and so does the third.
    three = made(claim("twenty", 0.192), claim("ten", 0.4), claim("forty", 0.095))
    assert [each.holds for each in three] == [False, True, False]
    assert [each.level for each in three] == pytest.approx([0.975, 1 - 0.05 / 3, 0.975])
    assert all(each.holds for each in made(claim("twenty", 0.192, 0), claim("ten", 0.4, 0), claim("forty", 0.095, 0)))
    assert [(each.together.line, each.together.claims, each.together.level) for each in three] == [(1, 3, 0.95)] * 3


def test_each_all_is_adjusted_by_itself_and_the_others_not():
    found = made(claim("ten", 0.32, 1), claim("ten", 0.32, 2), claim("ten", 0.32, 0), claim("ten", 0.4, 2))
    assert [each.level for each in found] == pytest.approx([0.95, 0.95, 0.95, 0.975])
    assert [each.together and each.together.claims for each in found] == [1, 2, None, 2]


def test_what_has_no_p_comes_last_and_does_not_hold():
    found = made(claim("whole", 0.5), claim("ten", 0.4))
    assert [each.holds for each in found] == [True, True]  # at 95%, which is left for the last
    found = made(claim("whole", 0.5), claim("ten", 0.32))
    assert [each.holds for each in found] == [False, False] and "95% only" in found[0].undecided


def test_of_a_part_of_the_program_the_levels_are_those_of_the_whole():
    every = [claim("ten", 0.4), claim("ten", 0.3), claim("ten", 0.2)]
    (found,) = made(every[0], every=every)
    assert found.level == pytest.approx(1 - 0.05 / 3) and found.together.claims == 3


def test_a_run_says_how_many_claims_were_made():
    found = made(claim("ten", 0.4), claim("ten", 0.5), claim("ten", 0.4, 0), claim("ten", 0.4, 0, level=None))
    assert results.claims(found) == {"made": 4, "at_level": 3, "adjusted": 2}
    assert results.counted(found) == "4 claims, 3 of them at a level, 2 of these adjusted for being made together."
    assert results.counted(found[2:3]) == "1 claim, 1 of them at a level."
    line = results.verdicts_table(found[1:2])
    assert "at 97.5% (95% for all 2 claims; p 0.002)" in line and found[1].as_json()["together"]["claims"] == 2
