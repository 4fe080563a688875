"""Scores of options, against a plain forward pass over every text on its own."""

import numpy as np
import pytest

from cai_jax.engine import score
from cai_jax.engine.prefix import make_prefix
from cai_jax.engine.score import score_options
from tests.support.forward import forward_logprobs

OPTIONS = [[4], [5, 6, 7], [5, 9], [4, 4, 4, 4]]
SHARED = list(range(1, 20))


def texts(lengths, seed=0):
    draw = np.random.default_rng(seed)
    return [draw.integers(1, 37, length).tolist() for length in lengths]


@pytest.fixture(scope="module")
def naive(params, config):
    """`naive(before, after)`: log-probabilities of the ids `after`, by one forward pass."""

    def logprobs(before, after):
        table = forward_logprobs(params, config, [*before, *after])
        return table[len(before) - 1 + np.arange(len(after)), after]

    return logprobs


@pytest.mark.parametrize("shared", [[], SHARED])
def test_options_equal_a_forward_pass_each(params, config, naive, shared):
    rows = texts([1, 6, 16, 22, 3])
    prefix = make_prefix(params, config, shared) if shared else None
    found = score_options(params, config, rows, OPTIONS, prefix=prefix, batch=4)
    assert found.shape == (5, 4) and found.dtype == np.float32
    wanted = [[naive([*shared, *row], option).sum() for option in OPTIONS] for row in rows]
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_options_do_not_depend_on_their_company(params, config):
    rows = texts([5, 9, 17, 4, 12, 8, 3])
    together = score_options(params, config, rows, OPTIONS, batch=4)
    np.testing.assert_array_equal(score_options(params, config, rows[2:], OPTIONS, batch=4), together[2:])
    np.testing.assert_array_equal(score_options(params, config, rows[::-1], OPTIONS, batch=4), together[::-1])


def test_nothing_compiles_within_the_buckets(params, config):
    score_options(params, config, texts([5]), OPTIONS, batch=4)
    compiled = score._branches._cache_size()
    score_options(params, config, texts([3, 1]), [[3], [2, 2, 2, 2], [1], [1]], batch=4)
    assert score._branches._cache_size() == compiled


def test_nothing_to_score(params, config):
    assert score_options(params, config, [], OPTIONS).shape == (0, 4)


def test_impossible_requests_are_refused(params, config):
    with pytest.raises(ValueError, match="row 1 is empty"):
        score_options(params, config, [[1], []], OPTIONS)
    with pytest.raises(ValueError, match="every option needs at least one token"):
        score_options(params, config, [[1]], [[1], []])
    with pytest.raises(ValueError, match="row 0 needs 129 tokens .* context is 128"):
        score_options(params, config, [[1] * 125], OPTIONS)


def test_prefix_must_hold_something_and_leave_room(params, config):
    with pytest.raises(ValueError, match="at least one token"):
        make_prefix(params, config, [])
    with pytest.raises(ValueError, match="has 128 tokens, but the model's context is 128"):
        make_prefix(params, config, [1] * 128)
