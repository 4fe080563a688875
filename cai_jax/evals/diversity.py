"""Similarity of replies to one another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


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
