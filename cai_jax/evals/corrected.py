"""Rates measured by a judge, corrected for the judge's own errors, which labelled rows tell.

A judge counts a share q of rows. Of rows that are so it counts a share s, its sensitivity, and of those that are not a
share f, its false alarms. With the true rate p

    q = p s + (1 - p) f,    so    p = (q - f) / (s - f)

(Rogan and Gladen, 1978, "Estimating prevalence from the results of a screening test"), held within 0..1. All that the
labelled rows have to share with the others is how the judge errs: they may show what is measured far more often, as
collections made for the purpose do. Prediction-powered inference (arXiv 2301.09633) has narrower intervals, but only
where labels were drawn from the very rows that are measured.

The interval melds those of the three shares (arXiv 2205.13494 §3; Fay, Proschan and Brittain, 2015, "Combining
one-sample confidence procedures for inference in the two-sample case"). Each has a lower and an upper distribution,
Beta(k, n - k + 1) and Beta(k + 1, n - k), whose quantiles are Clopper and Pearson's bounds, with n the effective number
of trials where rows lie in clusters (`intervals.trials`). p rises with q and falls with s and f, so that

    low = quantile (1 - level) / 2 of p(q lower, s upper, f upper)
    high = quantile (1 + level) / 2 of p(q upper, s lower, f lower).

It covers at least what it says in simulations: the published ones, and those of `tests/evals/test_corrected.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cai_jax.evals.intervals import Row, trials

DRAWS = 4096
SEED = 19780101  # any number; the year of Rogan and Gladen's estimate


class Corrected(NamedTuple):
    """A corrected rate.

    Attributes:
      value: the estimate; NaN where the judge is not known to be better than chance.
      low, high: its interval; 0 and 1 there.
    """

    value: float
    low: float
    high: float


def corrected(
    judged: Sequence[Row], positive: Sequence[Row], negative: Sequence[Row], level: float = 0.95, draws: int = DRAWS
) -> Corrected:
    """The rate of what is measured among rows without labels.

    Rows with and without labels count as independent, and so do the labelled rows of either kind: clusters that lie in
    several of them are not seen as such.

    Args:
      judged: rows without labels, as `intervals` takes them; the value is 1 where the judge counts it, else 0.
      positive: the labelled rows that are what is measured, with the judge's value.
      negative: those that are not.
      level: of the interval, two-sided.
      draws: points of each share's distribution, of equal weight, which are put together at random with a fixed seed
        (a Latin hypercube). So a row more that the judge counts never lowers a bound by chance.

    Returns:
      The rate. It has no value, and the interval is all of 0..1, without rows of either label, and where chance alone
      might count as many of one as of the other: where the quantile (1 - level) / 2 of s - f is not above 0.

    Raises:
      ValueError: there are no rows without labels.

    Example:
      A judge that counts 9 of 10 and 1 of 10, and half of the rows: p = (0.5 - 0.1) / (0.9 - 0.1).

      >>> def said(ones, zeros):
      ...     return [{"id": str(n), "value": float(n < ones)} for n in range(ones + zeros)]
      >>> round(corrected(said(50, 50), said(9, 1), said(1, 9)).value, 3)
      0.5
    """
    if not judged:
        raise ValueError("there are no rows to measure")
    if not positive or not negative:
        return Corrected(float("nan"), 0.0, 1.0)
    rng, tail = np.random.default_rng(SEED), (1.0 - level) / 2
    points = (0.5 + np.arange(draws)) / draws
    (q, q_low, q_high), (s, s_low, s_high), (f, f_low, f_high) = (
        _distributions(rows, level, rng.permutation(points)) for rows in (judged, positive, negative)
    )
    if s <= f or np.quantile(s_low - f_high, tail) <= 0.0:
        return Corrected(float("nan"), 0.0, 1.0)
    value = float(np.clip((q - f) / (s - f), 0.0, 1.0))
    low = float(np.quantile(_rate(q_low, s_high, f_high, unknown=0.0), tail))
    high = float(np.quantile(_rate(q_high, s_low, f_low, unknown=1.0), 1.0 - tail))
    return Corrected(value, min(low, value), max(high, value))


def _distributions(rows: Sequence[Row], level: float, points: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """A share, and the quantiles of its lower and of its upper distribution at `points`; float64 [draws] each."""
    from scipy.special import betaincinv

    share, count = trials(rows, level)
    ones, zeros = share * count, (1.0 - share) * count
    lower = betaincinv(ones, zeros + 1.0, points) if ones > 0 else np.zeros(len(points))
    upper = betaincinv(ones + 1.0, zeros, points) if zeros > 0 else np.ones(len(points))
    return share, lower, upper


def _rate(q: np.ndarray, s: np.ndarray, f: np.ndarray, unknown: float) -> np.ndarray:
    """p of every draw, within 0..1; `unknown` where the judge is no better than chance. float64 [draws]."""
    better = s > f
    rate = (q - f) / np.where(better, s - f, 1.0)
    return np.where(better, np.clip(rate, 0.0, 1.0), unknown)
