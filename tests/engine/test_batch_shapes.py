"""What is worth compiling: by hand, and against trying every choice."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cai_jax.engine import batch_shapes, buckets, prefix_plan
from cai_jax.models.config import Config

CONFIG = Config(37, 16, 2, 4, 2, 4, 24)


def test_a_width_of_its_own_has_to_save_what_it_costs():
    sizes = [30] * 10 + [60] * 10  # 30 stands on the grid
    assert batch_shapes.widths(sizes, 100) == ((30, 60), 10 * 30 + 10 * 60 + 2 * 100)
    assert batch_shapes.widths(sizes, 400) == ((60,), 20 * 60 + 400)
    assert batch_shapes.widths([], 100) == ((), 0.0)


@given(st.lists(st.integers(1, 100), min_size=1, max_size=8), st.integers(0, 200))
def test_no_choice_is_cheaper(sizes, shape):
    def cost(some):
        return sum(min(w for w in some if w >= size) for size in sizes) + shape * len(some)

    grid = sorted({buckets.next_eighth_octave(size) for size in sizes})
    choices = [c for n in range(len(grid)) for c in itertools.combinations(grid[:-1], n)]
    assert batch_shapes.widths(sizes, shape)[1] == min(cost([*choice, grid[-1]]) for choice in choices)


def questions(talks):
    """Conversations of 40 tokens, each under 4 principles of 30, in two orders of 5 tokens."""
    return [
        [*[n] * 40, *[1000 + p] * 30, 2000 + order, 1, 1, 1, 1]
        for n in range(talks)
        for p in range(4)
        for order in range(2)
    ]


@pytest.mark.parametrize(
    "tokens, depth, read",
    [
        (0, 3, 16 * 40 + 64 * 30 + 128 * 16),
        (2000, 3, 16 * 40 + 64 * 30 + 128 * 16),
        (2100, 2, 64 * 72 + 128 * 16),  # conversation and principle together
        (3600, 1, 128 * 80),
    ],
)
def test_sharing_has_to_save_what_its_levels_cost(tokens, depth, read, monkeypatch):
    monkeypatch.setattr(batch_shapes, "compile_cost", lambda: tokens * batch_shapes.cost_per_token(CONFIG))
    found = prefix_plan.plan_prefixes(CONFIG, questions(16), behind=[1] * 128)
    assert len(found.leaves) == depth
    assert found.cost == pytest.approx(read + tokens * depth)


def test_a_large_model_shares_and_a_small_one_reads_whole():
    large = Config(8192, 512, 8, 8, 8, 64, 1408)
    assert len(prefix_plan.plan_prefixes(large, questions(64), behind=[1] * 512).leaves) == 3
    assert len(prefix_plan.plan_prefixes(CONFIG, questions(64), behind=[1] * 512).leaves) == 1
