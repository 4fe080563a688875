"""How many rows would decide a claim, by hand, and against what an interval of that many rows says."""

import math

import numpy as np
import pytest

from cai_jax.evals.intervals import interval
from cai_jax.evals.sample_size import rows_needed


@pytest.mark.parametrize(
    ("difference", "rows", "needed"),
    [
        ((0.1, -0.1, 0.3), 50, 200),  # twice too wide: four times as many
        ((-0.1, -0.3, 0.05), 50, 113),  # the upper bound reaches 1.5 times as far as it may: (0.15 / 0.1)² of 50
        ((0.1, 0.01, 0.3), 50, None),  # shown already
        ((-0.1, -0.3, -0.01), 50, None),  # refuted already
        ((0.0, -0.1, 0.1), 50, None),  # no number would
        ((1e-9, -0.1, 0.1), 50, None),
        ((200.0, -math.inf, math.inf), 50, None),
        ((200.0, -100.0, math.inf), 50, 113),  # (300 / 200)² of 50
    ],
)
def test_by_hand(difference, rows, needed):
    assert rows_needed(difference, rows) == needed


def test_so_many_rows_decide_it_nearly():
    few = np.repeat([0.0, 1.0], [24, 36])  # 60 % against one half
    value, low, high = interval([{"id": str(i), "value": v} for i, v in enumerate(few)])
    needed = rows_needed((value - 0.5, low - 0.5, high - 0.5), 60)
    many = np.repeat([0.0, 1.0], [round(0.4 * needed), round(0.6 * needed)])
    _, low, _ = interval([{"id": str(i), "value": v} for i, v in enumerate(many)])
    assert low == pytest.approx(0.5, abs=0.02) and needed > 60
