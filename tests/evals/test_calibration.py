"""Expected calibration error, worked by hand."""

import numpy as np
import pytest

from cai_jax.evals.calibration import expected_error, interval


def test_by_hand():
    # Two bins, [0.5, 0.75) and [0.75, 1]: mean confidences 0.6 and 0.9, accuracies 1/2 and 2/3.
    confidence = np.array([0.55, 0.65, 0.8, 0.9, 1.0])
    right = np.array([1.0, 0.0, 1.0, 1.0, 0.0])
    error, curve = expected_error(confidence, right, bins=2)
    assert curve == [pytest.approx([0.6, 0.5, 2]), pytest.approx([0.9, 2 / 3, 3])]
    assert error == pytest.approx(2 / 5 * 0.1 + 3 / 5 * (0.9 - 2 / 3))


def test_empty_bins_are_left_out():
    error, curve = expected_error(np.array([0.5, 1.0]), np.array([0.0, 1.0]), bins=10)
    assert curve == [[0.5, 0.0, 1.0], [1.0, 1.0, 1.0]]
    assert error == pytest.approx(0.25)


def test_certain_and_right_has_no_error():
    assert expected_error(np.ones(4), np.ones(4), bins=10)[0] == 0.0
    assert expected_error(np.ones(4), np.zeros(4), bins=10)[0] == 1.0


def test_one_bin_is_the_difference_of_the_means():
    confidence, right = np.array([0.6, 0.8, 0.9, 0.7]), np.array([1.0, 1.0, 1.0, 0.0])
    assert expected_error(confidence, right, bins=1)[0] == pytest.approx(0.0)


def test_calibrated_draws_have_little_error():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1.0, 20_000)
    right = (rng.random(20_000) < confidence).astype(float)
    assert expected_error(confidence, right, bins=10)[0] < 0.02
    assert expected_error(confidence, right**0 * (rng.random(20_000) < 0.75), bins=10)[0] > 0.1


def test_interval_draws_whole_prompts():
    rng = np.random.default_rng(0)
    confidence = np.repeat(rng.uniform(0.5, 1.0, 50), 4)
    right = np.repeat((rng.random(50) < 0.7).astype(float), 4)
    each, prompt = np.arange(200).astype(str), np.repeat(np.arange(50), 4).astype(str)
    apart, together = interval(each, confidence, right, 2), interval(prompt, confidence, right, 2)
    value = expected_error(confidence, right, 2)[0]
    assert apart[0] <= value <= apart[1]
    assert together[0] <= value <= together[1]
    assert together[1] - together[0] > 1.3 * (apart[1] - apart[0])


def test_one_prompt_says_next_to_nothing():
    confidence, right = np.array([0.6, 0.9]), np.array([1.0, 0.0])
    low, high = interval(np.array(["x", "x"]), confidence, right, 10)
    value = expected_error(confidence, right, 10)[0]  # (0.4 + 0.9) / 2
    assert (low, high) == pytest.approx((value - 0.975 * value, value + 0.975 * (1 - value)))


def test_a_tie_counts_half():
    assert expected_error(np.array([0.5, 0.5]), np.array([0.5, 0.5]), bins=10)[0] == 0.0
