"""Win rates at equal length: what is left of a win rate when longer replies are not better for their length.

logit P(win) = θ + α tanh(Δ / s), with Δ the difference of the two replies' lengths and s its standard deviation; the
controlled win rate is σ(θ), the prediction at Δ = 0 (arXiv 2404.04475 §3, without the terms of the prompts' difficulty
and without regularisation).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cai_jax.evals.intervals import interval
from cai_jax.evals.logistic import by_logit, fit, probability


def controlled(
    wins: np.ndarray, longer: np.ndarray, ids: Sequence[str], clusters: Sequence[str], level: float = 0.95
) -> tuple[float, float, float]:
    """The controlled win rate and its interval.

    Where the outcomes can be told from the lengths alone, or all replies of one side are longer and always win, nothing
    is known of equal lengths, and the interval is all of 0..1. Where no length differs, or all comparisons are won by
    the same side whichever reply is longer, it is that of the plain win rate.

    Args:
      wins: 1 where the first is better, 0.5 for a tie, or P(the first is better), float [N].
      longer: length of the first reply less that of the second, in any unit, float [N].
      ids: of the prompts, N names; clusters: of what may depend on one another, N names.
      level: of the interval, two-sided.

    Returns:
      `(value, low, high)`; all NaN without comparisons.

    Example:
      The longer reply wins three of four times, whichever side it is on: at equal length both are as good.

      >>> names = [str(i) for i in range(8)]
      >>> value, low, high = controlled(np.array([1, 1, 1, 0, 0, 0, 0, 1]), np.array([1] * 4 + [-1] * 4), names, names)
      >>> round(value, 3)
      0.5
    """
    spread = float(np.std(longer)) if len(wins) else 0.0
    one_sided = bool(len(wins)) and (wins.min() == 1.0 or wins.max() == 0.0)
    if spread == 0.0 or (one_sided and longer.min() <= 0.0 <= longer.max()):
        rows = zip(ids, clusters, wins, strict=True)
        return interval([{"id": id_, "cluster": cluster, "value": float(win)} for id_, cluster, win in rows], level)
    found = fit(np.stack([np.ones(len(wins)), np.tanh(longer / spread)], axis=1), wins, (ids, clusters))
    equal = np.array([1.0, 0.0])
    value, low, high = probability(found, equal, wins, level)
    # Where no replies are of nearly equal length, the number of trials that would tell as much means little.
    least, most = by_logit(found, equal, level)
    return (value, 0.0, 1.0) if _separable(wins, longer) else (value, min(low, least), max(high, most))


def _separable(wins: np.ndarray, longer: np.ndarray) -> bool:
    """True if a threshold of the difference in length tells wins from losses; what is soft, or a tie, is both."""
    won, lost = longer[wins > 0.0], longer[wins < 1.0]
    return not len(won) or not len(lost) or lost.max() <= won.min() or won.max() <= lost.min()
