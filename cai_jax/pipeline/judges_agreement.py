"""How far several judges agree with one another about the same pairs. What is right does not come into it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cai_jax.data.row_columns import Row

if TYPE_CHECKING:
    import numpy as np

    from cai_jax.evals.agreement import Agreement


def sides_of(rows: Sequence[Row]) -> np.ndarray:
    """The side that each of several judges takes in each pair, float64 [N, J].

    1 where the first reply is better, 0 where the second is; NaN for a label of one half, or without an answer.
    """
    import numpy as np

    soft = np.array([[each["soft"] for each in row["judges"]] for row in rows], float)
    return np.where(np.isnan(soft) | (soft == 0.5), np.nan, (soft > 0.5).astype(float))


def agreement_of(rows: Sequence[Row]) -> Agreement:
    """How far several judges agree on which reply is better, beyond chance."""
    from cai_jax.evals.agreement import agreement

    return agreement(sides_of(rows), [row.get("cluster", row["id"]) for row in rows])
