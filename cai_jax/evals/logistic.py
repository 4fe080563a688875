"""Logistic regression on soft outcomes, its errors clustered by prompt.

Elo ratings (`evals.elo`) and win rates at equal length (`evals.length_control`) are both figures of such a regression:
of a contrast c'θ, whose logistic function is a probability p between 0 and 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cai_jax.evals.intervals import clopper_pearson, effective, unseen

RIDGE = 1e-5  # keeps the Hessian invertible where θ has a direction that no comparison bears on
_STEPS = 200  # where the outcomes are separable, each Newton step moves θ by about one until the ridge holds it
_CLOSE = 1e-10  # of the gradient of the mean loss


@dataclass(frozen=True)
class Fit:
    """A fitted regression.

    Attributes:
      theta: coefficients, float64 [K].
      inverse: H⁻¹, of the Hessian of the loss, float64 [K, K].
      covariances: of theta, by every grouping of the rows, float64 [groupings, K, K].
      rows: N.
      clusters: effective number of groups of the coarsest grouping (`intervals.effective`).
    """

    theta: np.ndarray
    inverse: np.ndarray
    covariances: np.ndarray
    rows: int
    clusters: float

    def variance(self, contrast: np.ndarray) -> float:
        """Variance of contrast'θ: the largest by any grouping, since that by few groups may be too small by chance."""
        return float(max(contrast @ each @ contrast for each in self.covariances))


def fit(design: np.ndarray, outcomes: np.ndarray, groupings: Sequence[Sequence[str]]) -> Fit:
    """Fit P(outcome) = σ(x'θ) by Newton's method.

    The loss is Σ -(y log p + (1 - y) log(1 - p)) + RIDGE/2 |θ|². The covariance is the sandwich H⁻¹ G H⁻¹ with
    H = Σ p (1 - p) x x' + RIDGE I and G = C / (C - 1) Σ_c s_c s_c', s_c the sum of (y - p) x over the rows of one group
    (Liang and Zeger, 1986).

    Args:
      design: x of every row, float [N, K]; outcomes: y in 0..1, float [N].
      groupings: from the finest to the coarsest, N names each; rows of one name may depend on one another.
    """
    theta = _newton(design, outcomes)
    p = _sigmoid(design @ theta)
    inverse = np.linalg.inv(_hessian(design, p))
    scores = (outcomes - p)[:, None] * design
    covariances = []
    for names in groupings:
        _, member = np.unique(np.asarray(names), return_inverse=True)
        summed = np.zeros((member.max() + 1, design.shape[1]))
        np.add.at(summed, member, scores)
        correction = len(summed) / max(1, len(summed) - 1)
        covariances.append(inverse @ (correction * summed.T @ summed) @ inverse)
    return Fit(theta, inverse, np.array(covariances), len(design), effective(np.bincount(member).astype(float)))


def probability(found: Fit, contrast: np.ndarray, seen: np.ndarray, level: float) -> tuple[float, float, float]:
    """p = σ(contrast'θ) with its two-sided interval.

    Clopper and Pearson's interval at the number of independent trials that would tell p as well, p (1 - p) / Var(p),
    which is 1 / (p (1 - p) Var(contrast'θ)) (as `intervals` does for means, after Korn and Graubard, 1998).

    Args:
      found: its outcomes must not be separable along the contrast.
      seen: outcomes that bear on the contrast, 1 in its favour: where none is near 0 or 1, such may still come.
    """
    from scipy.special import stdtrit

    p, rows = float(_sigmoid(np.asarray(contrast @ found.theta))), found.rows
    trials = 1.0
    if found.clusters - 1 > 1e-9:
        known = stdtrit([rows - 1, found.clusters - 1], (1.0 + level) / 2)
        # The covariance's correction for a small sample is left out where rows are independent: Clopper and Pearson's
        # interval is exact there.
        variance = found.variance(contrast) * (rows - 1) / rows
        informed = 1.0 / (p * (1.0 - p) * variance) if variance > 1e-12 else float("inf")
        trials = max(1.0, informed * float(known[0] / known[1]) ** 2)
    low, high = clopper_pearson(p * trials, trials, level) if np.isfinite(trials) else (p, p)
    missed = unseen(found.clusters, level)
    low = min(low, p - missed * float(seen.min())) if len(seen) else low
    high = max(high, p + missed * (1.0 - float(seen.max()))) if len(seen) else high
    return p, max(0.0, low), min(1.0, high)


def logit(p: float) -> float:
    """log(p / (1 - p)); infinite at 0 and 1."""
    if p <= 0.0 or p >= 1.0:
        return float("inf") if p >= 1.0 else float("-inf")
    return math.log(p) - math.log1p(-p)


def _newton(design: np.ndarray, outcomes: np.ndarray) -> np.ndarray:
    theta = np.zeros(design.shape[1])
    at = _loss(design, outcomes, theta)
    for _ in range(_STEPS):
        p = _sigmoid(design @ theta)
        gradient = design.T @ (p - outcomes) + RIDGE * theta
        if np.abs(gradient).max() < _CLOSE * len(design):
            break
        step = np.linalg.solve(_hessian(design, p), gradient)
        size = 1.0
        while (loss := _loss(design, outcomes, theta - size * step)) > at and size > 1e-6:
            size /= 2
        theta, at = theta - size * step, loss
    return theta


def _hessian(design: np.ndarray, p: np.ndarray) -> np.ndarray:
    return (design * (p * (1.0 - p))[:, None]).T @ design + RIDGE * np.eye(design.shape[1])


def _loss(design: np.ndarray, outcomes: np.ndarray, theta: np.ndarray) -> float:
    logits = design @ theta
    return float((np.logaddexp(0.0, logits) - outcomes * logits).sum() + RIDGE / 2 * theta @ theta)


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    from scipy.special import expit

    return expit(logits)
