"""Expected calibration error."""

from __future__ import annotations

import numpy as np

from cai_jax.evals.intervals import SEED, supported

DRAWS = 1000


def expected_error(confidence: np.ndarray, right: np.ndarray, bins: int) -> tuple[float, list[list[float]]]:
    """Σ (n_b / n) |accuracy_b - confidence_b| over equal-width bins of [0.5, 1] (arXiv 1706.04599, eq. 3).

    Args:
      confidence: float [N] in [0.5, 1]; right: float [N], 0 or 1, or 0.5 for a tie.

    Returns:
      The error, and for every filled bin its mean confidence, accuracy and size.
    """
    place = np.minimum(((confidence - 0.5) * 2 * bins).astype(int), bins - 1)
    curve = [
        [float(confidence[place == b].mean()), float(right[place == b].mean()), float((place == b).sum())]
        for b in range(bins)
        if (place == b).any()
    ]
    return sum(n * abs(accuracy - mean) for mean, accuracy, n in curve) / len(confidence), curve


def interval(ids: np.ndarray, confidence: np.ndarray, right: np.ndarray, bins: int) -> tuple[float, float]:
    """95 % percentile interval over bootstrap draws of whole prompts, widened by `intervals.supported`."""
    rng = np.random.default_rng(SEED)
    names, place = np.unique(ids, return_inverse=True)
    members = [np.flatnonzero(place == number) for number in range(len(names))]
    found = []
    for _ in range(DRAWS):
        chosen = np.concatenate([members[i] for i in rng.integers(0, len(names), len(names))])
        found.append(expected_error(confidence[chosen], right[chosen], bins)[0])
    low, high = np.percentile(found, (2.5, 97.5))
    return supported(float(low), float(high), len(names))
