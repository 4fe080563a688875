"""What shallow rules would score in the place of a judge: a figure means little that they reach as well."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def baselines(better: Sequence[float], longer: Sequence[float]) -> dict[str, float]:
    """How often always choosing one side, or the longer reply, is right; a tie of either counts half.

    Args:
      better: of every pair, positive where the first reply is better, negative where the second is, 0 for a tie.
      longer: how much longer the first reply is.

    Returns:
      `constant`, of the side that is right more often; `longest`; and `length_correlation`, Pearson's between the two
      arguments, 0 where either does not vary.
    """
    truth, lengths = np.asarray(better, float), np.asarray(longer, float)
    first = np.where(truth == 0, 0.5, truth > 0)
    longest = np.where((truth == 0) | (lengths == 0), 0.5, (truth > 0) == (lengths > 0))
    varies = truth.std() > 0 and lengths.std() > 0
    return {
        "constant": float(max(first.mean(), 1 - first.mean())),
        "longest": float(longest.mean()),
        "length_correlation": float(np.corrcoef(truth, lengths)[0, 1]) if varies else 0.0,
    }
