"""Similarity of replies to one another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def boilerplate(texts: Sequence[str], words: int = 5) -> float:
    """Share of the texts that contain the commonest run of `words` words; 0 if none is that long.

    It rises when a policy learns to use one phrase everywhere (arXiv 2212.08073 §4.3: "you are valid, valued, and
    cared for"), and unlike the share of distinct runs it does not fall just because texts become longer.

    Example:
      "you are valid" is in two of three texts.

      >>> round(boilerplate(["You are valid.", "Yes, you are valid. ", "No."], words=3), 4)
      0.6667
    """
    counts: Counter[tuple[str, ...]] = Counter()
    for text in texts:
        said = text.lower().split()
        counts.update({tuple(said[at : at + words]) for at in range(len(said) - words + 1)})
    return max(counts.values(), default=0) / max(len(texts), 1)


def distance(texts: Sequence[str], clusters: Sequence[str], words: int = 2) -> tuple[float, float, float]:
    """Mean Dice distance of two texts of different clusters, and its 95 % interval.

    1 - 2 |A ∩ B| / (|A| + |B|) for the sets A and B of their runs of `words` words, in lower case; a text with fewer
    words is one run. The interval is Student's with the error by the jackknife over clusters (Efron and Tibshirani,
    1993, ch. 11): every text is in many pairs, so that these are not independent.

    Args:
      texts: with a word each.
      clusters: of each, of which there are two or more.

    Example:
      {"a b", "b c"} and {"b c", "c d"} have one run in common: 1 - 2 · 1 / 4.

      >>> distance(["a b c", "B c d"], ["x", "y"])[0]
      0.5
    """
    import numpy as np
    from scipy.special import stdtrit

    groups = {name: number for number, name in enumerate(dict.fromkeys(clusters))}
    group, k = np.array([groups[name] for name in clusters]), len(groups)
    sums, sizes = np.zeros((k, 2)), np.bincount(group)
    for start, near in _dice([_runs(text, words) for text in texts]):
        here = group[start : start + len(near)]
        far = np.where(here[:, None] == group[None, :], 0.0, 1.0 - near).sum(1)
        np.add.at(sums, here, np.stack([far, len(texts) - sizes[here]], axis=1))
    total, count = sums.sum(0)
    value = float(total / count)
    if k == 2:
        return value, 0.0, 1.0
    # Without a cluster: its pairs are in its own sum, and in those of the others.
    left = (total - 2 * sums[:, 0]) / (count - 2 * sums[:, 1])
    wide = float(stdtrit(k - 1, 0.975) * np.sqrt((k - 1) / k * ((left - left.mean()) ** 2).sum()))
    return value, max(0.0, value - wide), min(1.0, value + wide)


_ROWS = 512  # texts compared with all others at a time


def _runs(text: str, words: int) -> frozenset[tuple[str, ...]]:
    said = text.lower().split()
    return frozenset(tuple(said[at : at + words]) for at in range(max(1, len(said) - words + 1)))


def _dice(sets: Sequence[frozenset[tuple[str, ...]]]) -> Iterator[tuple[int, np.ndarray]]:
    """2 |A ∩ B| / (|A| + |B|) of some sets with all, float64 [some, all], behind the number of the first of them."""
    import numpy as np

    holders: dict[tuple[str, ...], list[int]] = {}
    for number, runs in enumerate(sets):
        for run in runs:
            holders.setdefault(run, []).append(number)
    places = {run: np.array(numbers) for run, numbers in holders.items()}
    sizes = np.array([len(runs) for runs in sets], float)
    for start in range(0, len(sets), _ROWS):
        some = sets[start : start + _ROWS]
        common = np.zeros((len(some), len(sets)))
        for number, runs in enumerate(some):
            for run in runs:
                common[number, places[run]] += 1
        yield start, 2 * common / (sizes[start : start + len(some), None] + sizes[None, :])
