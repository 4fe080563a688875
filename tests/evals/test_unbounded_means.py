"""Intervals of means of values without bounds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from cai_jax.evals import bootstrap, figures, unbounded_means
from cai_jax.evals.unbounded_means import FEW, difference, extremes, interval


def rows(values, clusters=None):
    found = [{"id": str(i), "value": float(value)} for i, value in enumerate(values)]
    return (
        [row | {"cluster": str(c)} for row, c in zip(found, clusters, strict=True)] if clusters is not None else found
    )


VALUES = np.random.default_rng(0).normal(50, 10, FEW - 1)


def test_of_few_rows_it_is_students():
    value, low, high = interval(rows(VALUES))
    theirs = stats.ttest_1samp(VALUES, 0).confidence_interval(0.95)
    assert (value, low, high) == pytest.approx((VALUES.mean(), *theirs))
    _, low, high = interval(rows(VALUES), level=0.5)
    assert (low, high) == pytest.approx(tuple(stats.ttest_1samp(VALUES, 0).confidence_interval(0.5)))


def test_a_paired_difference_of_few_rows_is_students_of_the_differences():
    other = VALUES + np.arange(len(VALUES))
    found = difference(rows(other), rows(VALUES))
    assert found == pytest.approx((3.0, *stats.ttest_rel(other, VALUES).confidence_interval(0.95)))


def test_of_clusters_of_one_size_their_means_are_the_rows():
    values = np.random.default_rng(1).exponential(3, (6, 4))
    clustered = interval(rows(values.ravel(), np.repeat(np.arange(6), 4)))
    assert clustered == pytest.approx(interval(rows(values.mean(1))))


def test_the_error_of_clusters_of_other_sizes_by_hand():
    # Means 1 and 4 of clusters of 1 and 3 rows: mean 13/4; residuals 1 - 13/4 and 12 - 39/4, each 9/4 in size.
    # Error: sqrt(2 (9/4)² · 2 / 1) / 4 = 9/8. Effective clusters 16/10: at least one degree of freedom, t = 12.706.
    value, low, high = interval(rows([1, 4, 4, 4], [0, 1, 1, 1]))
    t = stats.t.ppf(0.975, 1)
    assert (value, low, high) == pytest.approx((13 / 4, 13 / 4 - t * 9 / 8, 13 / 4 + t * 9 / 8))


def test_skewed_values_reach_further_up_than_down():
    value, low, high = interval(rows(np.random.default_rng(2).lognormal(0, 1.2, 40)))
    assert high - value > 1.5 * (value - low)


def test_it_is_the_studentised_bootstrap_of_scipy_where_that_is_wider(monkeypatch):
    values = np.random.default_rng(3).exponential(1, 12)
    t = []
    rng = np.random.default_rng(4)
    for _ in range(10_000):
        drawn = rng.choice(values, 12)
        t.append((drawn.mean() - values.mean()) / (drawn.std(ddof=1) / math.sqrt(12)))
    low, high = np.percentile(t, [2.5, 97.5])
    error = values.std(ddof=1) / math.sqrt(12)
    plain = stats.t.ppf(0.975, 11) * error
    mean = values.mean()
    expected = min(mean - plain, mean - high * error), max(mean + plain, mean - low * error)
    assert interval(rows(values))[1:] == pytest.approx(expected, rel=0.05)


def test_what_cannot_be_known_is_not_told():
    assert interval(rows([3, 5], [0, 0])) == (4.0, -math.inf, math.inf)
    assert all(math.isnan(each) for each in interval([]))
    assert interval(rows([2.0] * 9)) == (2.0, 2.0, 2.0)
    figure = figures.measured(rows([3, 5], [0, 0]), bounded=False)
    assert (figure.value, figure.low, figure.high, str(figure)) == (4.0, None, None, "4")
    with pytest.raises(ValueError, match="different prompts"):
        difference(rows([1, 2]), rows([1]))
    with pytest.raises(ValueError, match="group them differently"):
        difference(rows([1, 2], [0, 1]), rows([1, 2], [0, 0]))


def test_what_a_row_without_an_answer_could_be_at_worst():
    assert extremes([*rows([3, -1, 2]), {"id": "9", "value": None}]) == (-1.0, 3.0)


@pytest.mark.parametrize(
    "draw, mean, n, least",
    [
        (lambda rng, n: rng.normal(0, 1, n), 0.0, 10, 0.94),
        (lambda rng, n: rng.exponential(1, n), 1.0, 10, 0.90),
        (lambda rng, n: rng.lognormal(0, 1, n), math.exp(0.5), 30, 0.915),
    ],
)
def test_how_often_it_contains_the_mean(draw, mean, n, least, monkeypatch):
    monkeypatch.setattr(bootstrap, "DRAWS", 1000)
    rng, runs = np.random.default_rng(5), 400
    found = [unbounded_means.interval(rows(draw(rng, n))) for _ in range(runs)]
    assert sum(low <= mean <= high for _, low, high in found) / runs >= least
