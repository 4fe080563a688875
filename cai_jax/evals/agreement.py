"""Agreement of several judges beyond chance: Cohen's kappa of two, Krippendorff's alpha of more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cai_jax.evals.bootstrap import percentiles, totals
from cai_jax.evals.intervals import interval

KAPPA, ALPHA = "Cohen's kappa", "Krippendorff's alpha"


@dataclass(frozen=True)
class Agreement:
    """How far judges agree on which reply of a pair is better.

    Attributes:
      measure: `KAPPA` or `ALPHA`.
      value, low, high: of the measure, with its 95 % interval; None where it is not defined, since one side was chosen
        throughout, or nothing.
      same: share of two judges' answers on one pair that name the same side, over the same pairs.
      n: pairs on which two judges or more have a side; clusters: groups of these that are independent of each other.
      undecided: the other pairs.
    """

    measure: str
    value: float | None
    low: float | None
    high: float | None
    same: float | None
    n: int
    undecided: int
    clusters: int


def cohen_kappa(tables: np.ndarray) -> np.ndarray:
    """Agreement of two judges: (p_o - p_e) / (1 - p_e), with p_o observed and p_e expected by chance (Cohen, 1960).

    p_e = Σ_c p_1c p_2c, of the judges' own shares of every category.

    Args:
      tables: float [..., K, K], how often the first judge chose the row's category and the second the column's.

    Returns:
      float [...], 1 at most; NaN where p_e is 1.

    Example:
      Of 50 proposals both accept 20 and both refuse 15: p_o = 0.7, p_e = 0.5 · 0.6 + 0.5 · 0.4 = 0.5.

      >>> round(float(cohen_kappa(np.array([[20.0, 5.0], [10.0, 15.0]]))), 4)
      0.4
    """
    shares = tables / tables.sum((-2, -1), keepdims=True)
    observed = np.trace(shares, axis1=-2, axis2=-1)
    expected = (shares.sum(-1) * shares.sum(-2)).sum(-1)
    return _beyond(1.0 - observed, 1.0 - expected)


def krippendorff_alpha(disagreement: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Agreement of any number of judges, some of whom may lack: 1 - D_o / D_e of nominal data (Krippendorff, 2004).

    D_o / D_e = (n - 1) Σ_u Σ_{c<k} n_uc n_uk / (m_u - 1) / Σ_{c<k} n_c n_k ("Content Analysis", 2nd ed., §11.3), with
    m_u answers on unit u, n_uc of them for category c, and n in all; units with one answer or none do not count.

    Args:
      disagreement: float [...], the sum over units (`disagreements`).
      counts: float [..., K], n_c of every category in those units.

    Returns:
      float [...], 1 at most; NaN where there is one category only.
    """
    n = counts.sum(-1)
    chance = (n**2 - (counts**2).sum(-1)) / 2
    return _beyond(disagreement * (n - 1.0), chance)


def disagreements(counts: np.ndarray) -> np.ndarray:
    """Σ_{c<k} n_uc n_uk / (m_u - 1) of every unit.

    Args:
      counts: n_uc, float [N, K], of units with two answers or more.

    Returns:
      float64 [N].
    """
    answers = counts.sum(1)
    return (answers**2 - (counts**2).sum(1)) / 2 / (answers - 1.0)


def differing(counts: np.ndarray) -> np.ndarray:
    """The share of two answers on a unit that name different categories, float64 [N]; as `disagreements`."""
    return 2 * disagreements(counts) / counts.sum(1)


def agreement(sides: np.ndarray, clusters: Sequence[str], level: float = 0.95) -> Agreement:
    """Compare the sides that judges took.

    The interval joins two, as `intervals.interval` does: the bootstrap over clusters, and the interval of the share of
    answers that differ, with what chance would make of it held fixed, which also knows of what has not happened yet.

    Args:
      sides: float [N, J], of J judges: 1 where the first reply is better, 0 where the second is, NaN without a side.
      clusters: N names; pairs of one name may depend on one another.
      level: of the interval, such as 0.95.
    """
    two = sides.shape[1] == 2
    counts = tallies(sides)
    known = counts.sum(1) >= 2
    counts, sides = counts[known], sides[known]
    names = [name for name, each in zip(clusters, known, strict=True) if each]
    measure, about = KAPPA if two else ALPHA, (int(known.sum()), int((~known).sum()), len(set(names)))
    if not names:
        return Agreement(measure, None, None, None, None, *about)
    answers, apart = counts.sum(1), differing(counts)
    same = float(1.0 - (answers * apart).sum() / answers.sum())
    summed = _summed(sides, counts, names)
    value = float(_measured(summed.sum(0), two))
    if value != value:
        return Agreement(measure, None, None, None, same, *about)
    rows = [{"id": name, "value": share} for name, share in zip(names, apart, strict=True)]
    low, high = _interval(summed, interval(rows, level), level, two)
    return Agreement(measure, value, low, high, same, *about)


def tallies(sides: np.ndarray) -> np.ndarray:
    """How many judges chose either reply of each pair, float64 [N, 2], of sides as for `agreement`."""
    return np.stack([(sides == side).sum(1) for side in (1.0, 0.0)], axis=1).astype(float)


def _summed(sides: np.ndarray, counts: np.ndarray, clusters: Sequence[str]) -> np.ndarray:
    """Of every cluster, summed over its pairs, what `_measured` takes; float64 [clusters, columns]."""
    if sides.shape[1] == 2:
        first, second = sides.T
        each = np.stack([first * second, first * (1 - second), (1 - first) * second, (1 - first) * (1 - second)], 1)
    else:
        each = np.concatenate([disagreements(counts)[:, None], counts], axis=1)
    names, member = np.unique(np.asarray(clusters), return_inverse=True)
    summed = np.zeros((len(names), each.shape[1]))
    np.add.at(summed, member, each)
    return summed


def _measured(summed: np.ndarray, two: bool) -> np.ndarray:
    """The measure of sums over pairs: of the four choices of two judges, or Σ of disagreements and of both sides."""
    if two:
        return cohen_kappa(summed.reshape(*summed.shape[:-1], 2, 2))
    return krippendorff_alpha(summed[..., 0], summed[..., 1:])


def _interval(summed: np.ndarray, differ: tuple[float, float, float], level: float, two: bool) -> tuple[float, float]:
    """The interval, from `_summed` and the share of two answers that differ with its own interval."""
    drawn = _measured(totals(summed), two)
    # Draws of which it is not defined, with one side alone, may stand for anything.
    low, _ = percentiles(np.where(np.isnan(drawn), -1.0, drawn), level)
    _, high = percentiles(np.where(np.isnan(drawn), 1.0, drawn), level)
    _, least, most = differ
    chance = _chance(summed.sum(0), two)
    return max(-1.0, min(low, 1.0 - most / chance)), min(1.0, max(high, 1.0 - least / chance))


def _chance(summed: np.ndarray, two: bool) -> float:
    """The share of two answers that would differ by chance: D_e of either measure."""
    if two:
        table = summed.reshape(2, 2) / summed.sum()
        return float(1.0 - table.sum(1) @ table.sum(0))
    n = summed[1:].sum()
    return float(2 * summed[1] * summed[2] / (n * (n - 1)))


def _beyond(disagreement: np.ndarray, chance: np.ndarray) -> np.ndarray:
    """1 - disagreement / chance; NaN where chance makes none."""
    possible = chance > 1e-12
    return np.where(possible, 1.0 - disagreement / np.where(possible, chance, 1.0), np.nan)
