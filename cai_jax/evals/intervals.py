"""Bootstrap intervals, clustered by prompt: rows of one prompt are drawn together (Efron and Tibshirani, 1993).

Metric rows are `{"id": prompt id, "value": float}`, with an optional "weight"; the metric is their weighted mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

DRAWS = 10_000
SEED = 20221215
Row = Mapping[str, Any]


def interval(rows: Iterable[Row], level: float = 0.95) -> tuple[float, float, float]:
    """The mean of a metric's rows and its percentile interval.

    Where every row has the same value in {0, 1}, resampling would claim certainty; then the bound away from it
    is the exact binomial one (Clopper and Pearson, 1934), with prompts as trials.

    Returns:
      `(value, low, high)`; all NaN without rows.
    """
    sums, weights, _ = _clusters(rows)
    if not len(sums):
        return (float("nan"),) * 3
    value = sums.sum() / weights.sum()
    if value in (0.0, 1.0):
        bound = 1.0 - ((1.0 - level) / 2) ** (1.0 / len(sums))
        return (0.0, 0.0, bound) if value == 0.0 else (1.0, 1.0 - bound, 1.0)
    low, high = _percentiles(sums, weights, level)
    return float(value), low, high


def difference(left: Iterable[Row], right: Iterable[Row], level: float = 0.95) -> tuple[float, float, float]:
    """The mean of `left` less that of `right`, over the same prompts, and the interval of the paired difference.

    Raises:
      ValueError: the two sides were not measured on the same prompts.
    """
    first, first_weights, ids = _clusters(left)
    second, second_weights, other = _clusters(right)
    if ids != other:
        raise ValueError("the two sides were measured on different prompts")
    if not ids:
        return (float("nan"),) * 3
    value = first.sum() / first_weights.sum() - second.sum() / second_weights.sum()
    low, high = np.percentile(_means(first, first_weights) - _means(second, second_weights), _tails(level))
    return float(value), float(low), float(high)


def _clusters(rows: Iterable[Row]) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Sum of weighted values and sum of weights of every prompt, in the order of their ids."""
    totals: dict[str, list[float]] = {}
    for row in rows:
        weight = float(row.get("weight", 1.0))
        total = totals.setdefault(row["id"], [0.0, 0.0])
        total[0] += weight * float(row["value"])
        total[1] += weight
    ids = sorted(totals)
    table = np.array([totals[each] for each in ids]).reshape(-1, 2)
    return table[:, 0], table[:, 1], ids


def _means(sums: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The weighted mean of every bootstrap draw of prompts, float64 [DRAWS]; the draws depend on their number only."""
    count = len(sums)
    counts = np.random.default_rng(SEED).multinomial(count, np.full(count, 1.0 / count), size=DRAWS)
    return (counts @ sums) / np.maximum(counts @ weights, 1e-12)


def _percentiles(sums: np.ndarray, weights: np.ndarray, level: float) -> tuple[float, float]:
    low, high = np.percentile(_means(sums, weights), _tails(level))
    return float(low), float(high)


def _tails(level: float) -> tuple[float, float]:
    return 50.0 * (1.0 - level), 50.0 * (1.0 + level)
