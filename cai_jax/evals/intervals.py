"""Bootstrap intervals, clustered by prompt: rows of one prompt are drawn together (Efron and Tibshirani, 1993).

Metric rows are `{"id": prompt id, "value": float in [0, 1]}`; the metric is their mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

DRAWS = 10_000
SEED = 20221215
Row = Mapping[str, Any]


def interval(rows: Iterable[Row], level: float = 0.95) -> tuple[float, float, float]:
    """The mean of a metric's rows and its percentile interval, widened by `supported`.

    Returns:
      `(value, low, high)`; all NaN without rows.
    """
    sums, sizes, ids = _clusters(rows)
    if not ids:
        return (float("nan"),) * 3
    low, high = _percentiles(_means(sums, sizes), level)
    return float(sums.sum() / sizes.sum()), *supported(low, high, len(ids), level)


def difference(left: Iterable[Row], right: Iterable[Row], level: float = 0.95) -> tuple[float, float, float]:
    """The mean of `left` less that of `right`, over the same prompts, and the interval of the paired difference.

    Raises:
      ValueError: the two sides were not measured on the same prompts.
    """
    first, first_sizes, ids = _clusters(left)
    second, second_sizes, other = _clusters(right)
    if ids != other:
        raise ValueError("the two sides were measured on different prompts")
    if not ids:
        return (float("nan"),) * 3
    value = first.sum() / first_sizes.sum() - second.sum() / second_sizes.sum()
    low, high = _percentiles(_means(first, first_sizes) - _means(second, second_sizes), level)
    return float(value), *supported(low, high, len(ids), level, least=-1.0)


def supported(
    low: float, high: float, prompts: int, level: float = 0.95, *, least: float = 0.0, greatest: float = 1.0
) -> tuple[float, float]:
    """A bootstrap interval, widened where so many prompts cannot support it.

    Resampling only repeats what was seen: prompts that all say the same would claim certainty, and a handful nearly
    so. What n prompts have not shown may still happen with a probability of up to 1 - (α/2)^(1/n) (Clopper and
    Pearson, 1934; about 3.7/n at 95 %), and then with the least or greatest value there is. This allows for it where
    the interval is a point, and where n prompts could not reach the level even in a sign test, 2^(1-n) > α: fewer
    than 6 at 95 %.

    Args:
      low, high: the bootstrap's interval; prompts: n; level: 1 - α.
      least, greatest: bounds of a prompt's value.
    """
    tail = (1.0 - level) / 2
    if high - low > 1e-12 and 0.5**prompts <= tail:
        return low, high
    unseen = 1.0 - tail ** (1.0 / prompts)
    return low - unseen * (low - least), high + unseen * (greatest - high)


def _clusters(rows: Iterable[Row]) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Sum and number of the values of every prompt, float64 [N] each, in the order of their ids."""
    values: dict[str, list[float]] = {}
    for row in rows:
        values.setdefault(row["id"], []).append(float(row["value"]))
    ids = sorted(values)
    return np.array([sum(values[i]) for i in ids]), np.array([float(len(values[i])) for i in ids]), ids


def _means(sums: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The mean of every bootstrap draw of prompts, float64 [DRAWS]; the draws depend on their number only."""
    count = len(sums)
    counts = np.random.default_rng(SEED).multinomial(count, np.full(count, 1.0 / count), size=DRAWS)
    return (counts @ sums) / (counts @ sizes)


def _percentiles(means: np.ndarray, level: float) -> tuple[float, float]:
    low, high = np.percentile(means, (50.0 * (1.0 - level), 50.0 * (1.0 + level)))
    return float(low), float(high)
