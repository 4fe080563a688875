"""Expected calibration error, worked by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from cai_jax.evals.calibration import auroc, reliability


def expected_error(confidence, right, bins):
    """The formula's value and its curve, of labels that are right as `right` says."""
    found = reliability(confidence, right, [str(i) for i in range(len(right))], bins)
    return found.plain, found.curve


def test_by_hand():
    # Two bins, [0.5, 0.75) and [0.75, 1]: mean confidences 0.6 and 0.9, accuracies 1/2 and 2/3.
    confidence = np.array([0.55, 0.65, 0.8, 0.9, 1.0])
    right = np.array([1.0, 0.0, 1.0, 1.0, 0.0])
    error, curve = expected_error(confidence, right, bins=2)
    assert curve == [pytest.approx([0.6, 0.5, 2]), pytest.approx([0.9, 2 / 3, 3])]
    assert error == pytest.approx(2 / 5 * 0.1 + 3 / 5 * (0.9 - 2 / 3))


def test_empty_bins_are_left_out():
    error, curve = expected_error(np.array([0.625, 1.0]), np.array([0.0, 1.0]), bins=10)
    assert curve == [[0.625, 0.0, 1.0], [1.0, 1.0, 1.0]]
    assert error == pytest.approx(0.625 / 2)


def test_certain_and_right_has_no_error():
    assert expected_error(np.ones(4), np.ones(4), bins=10)[0] == 0.0
    assert expected_error(np.ones(4), np.zeros(4), bins=10)[0] == 1.0


def test_one_bin_is_the_difference_of_the_means():
    confidence, right = np.array([0.6, 0.8, 0.9, 0.7]), np.array([1.0, 1.0, 1.0, 0.0])
    assert expected_error(confidence, right, bins=1)[0] == pytest.approx(0.0)


def labels(confidence, chance, rng):
    """Probabilities of these confidences, and labels on whose side they are with `chance`; no cluster is shared."""
    right = rng.random(len(confidence)) < chance
    first = rng.random(len(confidence)) < 0.5
    p = np.where(first, confidence, 1 - confidence)
    return p, np.where(right, p > 0.5, p < 0.5).astype(float), [str(i) for i in range(len(p))]


def test_calibrated_labels_are_found_calibrated():
    """Where the formula alone finds 10 % of error: chance is taken off, and the interval holds the truth."""
    rng = np.random.default_rng(1)
    found = [reliability(*labels(c, c, rng), bins=10) for c in (rng.uniform(0.5, 1.0, 100) for _ in range(20))]
    assert np.mean([each.chance for each in found]) > 0.08
    assert np.mean([each.error for each in found]) < 0.04
    assert np.mean([each.low == 0.0 for each in found]) >= 0.9
    assert np.mean([each.low > 0.02 for each in found]) <= 0.1


@pytest.mark.parametrize("gap", [0.1, 0.3])
def test_an_error_beyond_chance_is_found_whole(gap):
    rng = np.random.default_rng(2)
    found = [reliability(*labels(c, c - gap, rng), bins=10) for c in (rng.uniform(0.5, 1.0, 300) for _ in range(8))]
    assert np.mean([each.error for each in found]) == pytest.approx(gap, abs=0.025)
    assert np.mean([each.low <= gap <= each.high for each in found]) >= 0.9
    assert np.mean([each.low > 0 for each in found]) >= (0.5 if gap == 0.1 else 1.0)


def test_errors_that_are_too_rare_to_have_happened_are_not_excluded():
    # 60 labels at 98 %, all of them right: one wrong in 60 is as likely as not.
    found = reliability(np.full(60, 0.98), np.ones(60), [str(i) for i in range(60)], bins=10)
    assert found.low == 0.0 and found.high > 0.03


@pytest.mark.parametrize(("count", "said", "true"), [(30, 0.9, 0.8), (100, 0.99, 0.95), (30, 0.6, 0.9)])
def test_the_error_is_covered_where_few_labels_are_wrong(count, said, true):
    """Enumerated: each number of right labels has its interval and its binomial probability."""
    chance, above, below = stats.binom.pmf(range(count + 1), count, true), 0.0, 0.0
    for right in np.flatnonzero(chance > 1e-4):
        truth = (np.arange(count) < right).astype(float)
        found = reliability(np.full(count, said), truth, [str(i) for i in range(count)], bins=10)
        above += chance[right] * (found.low > abs(true - said) + 1e-9)
        below += chance[right] * (found.high < abs(true - said) - 1e-9)
    assert above <= 0.025 and below <= 0.025


def test_labels_of_one_cluster_are_one_piece_of_evidence():
    rng = np.random.default_rng(3)
    p, truth, _ = labels(rng.uniform(0.6, 1.0, 50), 0.7, rng)
    once = reliability(p, truth, [str(i) for i in range(50)], 2)
    clusters = [str(i // 4) for i in range(200)]
    repeated = reliability(np.repeat(p, 4), np.repeat(truth, 4), clusters, 2)
    apart = reliability(np.repeat(p, 4), np.repeat(truth, 4), [str(i) for i in range(200)], 2)
    assert repeated.high - repeated.low == pytest.approx(once.high - once.low, rel=0.1)
    assert apart.high - apart.low < 0.75 * (once.high - once.low)


def test_one_cluster_says_next_to_nothing():
    found = reliability(np.array([0.6, 0.9]), np.array([1.0, 0.0]), ["x", "x"], 10)
    assert found.low == 0.0 and found.high > 0.97


def test_the_other_figures_by_hand():
    # By mass: confidences 0.6, 0.7 | 0.8, 0.9 with 1/2 and 1 right: chance aside, (0.3 + 0.3) / 4 = 0.15.
    p, truth = np.array([0.6, 0.3, 0.8, 0.1]), np.array([1.0, 1.0, 1.0, 0.0])
    found = reliability(p, truth, list("abcd"), 2)
    assert found.brier == pytest.approx((0.4**2 + 0.7**2 + 0.2**2 + 0.1**2) / 4)
    # With their opposites 0.6, 0.3, 0.8, 0.9 are labelled 1, and 0.4, 0.7, 0.2, 0.1 are 0: 3 + 2 + 4 + 4 in order.
    assert found.auroc == 13 / 16
    assert found.log_loss == pytest.approx(-(math.log(0.6) + math.log(0.3) + math.log(0.8) + math.log(0.9)) / 4)
    assert reliability(1 - p, 1 - truth, list("abcd"), 2).auroc == found.auroc  # whichever reply is named first
    assert 0.0 <= found.by_mass <= 0.15
    assert found.curve == [pytest.approx([0.65, 0.5, 2]), pytest.approx([0.85, 1.0, 2])]


def test_the_area_under_the_curve_is_that_of_the_rank_sum_test():
    rng = np.random.default_rng(4)
    p, truth = rng.integers(0, 8, 60) / 8, (rng.random(60) < 0.4).astype(float)
    u = stats.mannwhitneyu(p[truth > 0.5], p[truth < 0.5]).statistic
    assert auroc(p, truth) == pytest.approx(u / (truth.sum() * (1 - truth).sum()))
    assert auroc(p, np.ones(60)) is None


def test_a_tie_counts_half():
    assert expected_error(np.array([0.5, 0.5]), np.array([0.5, 0.5]), bins=10)[0] == 0.0


def test_the_lower_bound_leaves_all_that_chance_may_have_added():
    """Labels in clusters of five, all alike: chance adds as much as it does to a fifth of as many labels alone."""
    rng = np.random.default_rng(11)
    confidence = np.repeat(rng.choice([0.55, 0.65, 0.75, 0.85, 0.95], 20), 5)
    right = np.repeat(rng.random(20), 5) < confidence - 0.3
    found = reliability(confidence, right.astype(float), [str(i // 5) for i in range(100)], 10)
    alone, bins = confidence[::5], np.unique(confidence[::5])
    calibrated = (rng.random((4_000, 20)) < alone) - alone
    added = sum(np.abs(calibrated[:, alone == each].sum(axis=1)) for each in bins) / 20
    assert 0 < found.low <= found.plain - np.quantile(added, 0.975) + 0.02
