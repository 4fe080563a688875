"""Intervals of metrics, clustered by prompt."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cai_jax.evals.intervals import difference, interval


def rows(values, *, ids=None):
    ids = ids or [str(i) for i in range(len(values))]
    return [{"id": i, "value": float(v)} for i, v in zip(ids, values, strict=True)]


VALUES = np.random.default_rng(0).random(80) < 0.3


def test_agrees_with_the_bootstrap_of_scipy():
    value, low, high = interval(rows(VALUES))
    rng = np.random.default_rng(1)
    theirs = stats.bootstrap((VALUES.astype(float),), np.mean, method="percentile", n_resamples=10_000, rng=rng)
    assert value == VALUES.mean()
    np.testing.assert_allclose((low, high), theirs.confidence_interval, atol=0.0126)  # one row of 80


def test_level():
    _, low, high = interval(rows(VALUES))
    _, narrow, wide = interval(rows(VALUES), level=0.5)
    assert low < narrow < wide < high
    expected = stats.norm.interval(0.5, VALUES.mean(), VALUES.std() / math.sqrt(80))
    np.testing.assert_allclose((narrow, wide), expected, atol=0.0126)


def test_repetition_within_a_prompt_adds_nothing():
    ids = [str(i) for i in range(80)]
    assert interval(rows([*VALUES, *VALUES], ids=ids * 2)) == interval(rows(VALUES))


def test_rows_of_one_prompt_are_drawn_together():
    values = np.repeat(VALUES, 5)
    apart = interval(rows(values))
    together = interval(rows(values, ids=[str(i // 5) for i in range(400)]))
    assert apart[0] == together[0]
    ratio = (together[2] - together[1]) / (apart[2] - apart[1])
    assert ratio == pytest.approx(math.sqrt(5), rel=0.1)


def test_one_prompt_says_next_to_nothing():
    # 0.975 = 1 - 0.025 of what the metric may be is left open, on both sides.
    assert interval(rows([0, 1, 1, 0], ids=["x"] * 4)) == pytest.approx((0.5, 0.0125, 0.9875))
    assert interval(rows([0.3])) == pytest.approx((0.3, 0.3 - 0.975 * 0.3, 0.3 + 0.975 * 0.7))
    assert difference(rows([0]), rows([1])) == pytest.approx((-1.0, -1.0, -1.0 + 0.975 * 2))


def test_equal_values_of_any_size_are_no_certainty():
    value, low, high = interval(rows([0.3] * 40))
    unseen = stats.binomtest(0, 40).proportion_ci(0.95, method="exact").high
    assert (value, low, high) == pytest.approx((0.3, 0.3 - unseen * 0.3, 0.3 + unseen * 0.7))


@pytest.mark.parametrize("count", range(1, 12))
def test_all_prompts_alike_show_a_difference_where_a_sign_test_does(count):
    _, low, high = difference(rows([0] * count), rows([1] * count))
    assert low == -1.0
    assert (high < 0) == (stats.binomtest(0, count).pvalue < 0.05) == (count >= 6)


def test_a_handful_of_prompts_shows_no_difference():
    for count in range(1, 6):
        _, low, high = difference(rows([0] * count), rows([1 - i / 100 for i in range(count)]))
        assert low < 0 < high


@pytest.mark.parametrize("count", [1, 10, 300])
def test_nothing_but_zeros_or_ones_takes_the_exact_binomial_bound(count):
    zero, one = stats.binomtest(0, count), stats.binomtest(count, count)
    expected = zero.proportion_ci(0.95, method="exact")
    np.testing.assert_allclose(interval(rows([0] * count)), (0.0, *expected), atol=1e-12)
    expected = one.proportion_ci(0.95, method="exact")
    np.testing.assert_allclose(interval(rows([1] * count)), (1.0, *expected), atol=1e-12)


def test_the_trials_of_that_bound_are_prompts():
    assert interval(rows([0] * 20, ids=[str(i // 2) for i in range(20)])) == interval(rows([0] * 10))


def test_no_rows():
    assert all(math.isnan(each) for each in interval([]))
    assert all(math.isnan(each) for each in difference([], []))


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(12)))
def test_the_order_of_rows_does_not_matter(order):
    some = rows(VALUES[:12])
    assert interval([some[i] for i in order]) == pytest.approx(interval(some), abs=1e-12)


def test_the_same_interval_every_time():
    assert interval(rows(VALUES)) == interval(rows(VALUES))


def test_difference_is_paired():
    rng = np.random.default_rng(3)
    left = rng.random(60)
    right = left - 0.1 + 0.02 * rng.standard_normal(60)
    value, low, high = difference(rows(left), rows(right))
    assert value == pytest.approx((left - right).mean())
    theirs = stats.bootstrap((left - right,), np.mean, method="percentile", n_resamples=10_000, rng=rng)
    np.testing.assert_allclose((low, high), theirs.confidence_interval, atol=5e-4)
    assert high - low < 0.1 * (interval(rows(left))[2] - interval(rows(left))[1])


def test_difference_of_a_thing_and_itself():
    unseen = stats.binomtest(0, 80).proportion_ci(0.95, method="exact").high
    assert difference(rows(VALUES), rows(VALUES)) == pytest.approx((0.0, -unseen, unseen))


def test_difference_changes_sign():
    other = 1 - VALUES
    value, low, high = difference(rows(VALUES), rows(other))
    assert difference(rows(other), rows(VALUES)) == pytest.approx((-value, -high, -low))


def test_sides_may_have_different_numbers_of_rows_for_a_prompt():
    left = rows([1, 0, 1, 1], ids=["x", "x", "y", "y"])
    right = rows([1, 0], ids=["y", "x"])
    assert difference(left, right)[0] == 0.25


def test_different_prompts_cannot_be_compared():
    with pytest.raises(ValueError, match="different prompts"):
        difference(rows([1, 0]), rows([1, 0], ids=["0", "2"]))


def test_intervals_hold_what_they_promise():
    rng = np.random.default_rng(4)
    held = 0
    for _ in range(20):
        drawn = rng.random(60) < 0.4
        _, low, high = interval(rows(drawn), level=0.9)
        held += low <= 0.4 <= high
    assert held >= 15  # of binomial(20, 0.9), with probability 0.99
