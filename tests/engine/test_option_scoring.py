"""Scores of options, against a plain forward pass over every text on its own."""

import numpy as np
import pytest

from cai_jax.engine import batch_shapes, buckets, option_scoring
from cai_jax.engine.option_scoring import score_options, score_own_options
from cai_jax.engine.prefix_cache import make_prefix
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
    found = score_options(params, config, rows, OPTIONS, prefix=prefix, tokens=64)
    assert found.shape == (5, 4) and found.dtype == np.float32
    wanted = [[naive([*shared, *row], option).sum() for option in OPTIONS] for row in rows]
    np.testing.assert_allclose(found, wanted, atol=1e-4)


@pytest.mark.parametrize("options", [[[4, 5, 6], [4, 7, 6]], [[4], [4, 4]], [[8, 9], [8, 9]], [[3]]])
def test_options_that_begin_alike(params, config, naive, options):
    rows = texts([3, 9, 14])
    wanted = [[naive(row, option).sum() for option in options] for row in rows]
    np.testing.assert_allclose(score_options(params, config, rows, options), wanted, atol=1e-5)


@pytest.fixture(scope="module")
def comparisons():
    """Questions about 3 conversations under 3 principles in 2 orders, one of them twice."""
    conversations, principles, (first, second) = texts([20, 17, 19]), texts([14, 16, 13], seed=1), texts([9, 12], 2)
    head = list(range(20, 33))
    orders = ([*first, *second], [*second, *first])
    rows = [[*head, *talk, *p, *order] for talk in conversations for p in principles for order in orders]
    return [*rows, rows[5]]


@pytest.fixture
def free(monkeypatch):
    """Compiling costs nothing, so that a small model on few rows shares what it can."""
    monkeypatch.setattr(batch_shapes, "compile_cost", lambda: 0.0)


@pytest.mark.parametrize("tokens", [1, 2048])
def test_shared_beginnings_change_no_score(params, config, naive, comparisons, tokens, free):
    prefix = make_prefix(params, config, SHARED)
    found = score_options(params, config, comparisons, OPTIONS, prefix=prefix, tokens=tokens)
    wanted = [[naive([*SHARED, *row], option).sum() for option in OPTIONS] for row in comparisons]
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_shared_beginnings_are_read_once(params, config, comparisons, monkeypatch, free):
    read = []
    pad = buckets.pad
    monkeypatch.setattr(buckets, "pad", lambda rows, *size: read.append(sum(map(len, rows))) or pad(rows, *size))
    score_options(params, config, comparisons, OPTIONS)
    # The head, 3 conversations, 9 principles behind them, 18 orders of the two replies.
    assert sum(read) == 13 + (20 + 17 + 19) + 3 * (14 + 16 + 13) + 18 * 21


def test_the_same_questions_give_the_same_bits(params, config, comparisons, free):
    found = [score_options(params, config, comparisons, OPTIONS) for _ in range(2)]
    np.testing.assert_array_equal(*found)


def test_company_changes_rounding_at_most(params, config, comparisons, free):
    together = score_options(params, config, comparisons, OPTIONS)
    alone = [score_options(params, config, [row], OPTIONS)[0] for row in comparisons]
    np.testing.assert_allclose(alone, together, atol=1e-5)


def test_nothing_compiles_within_the_buckets(params, config):
    score_options(params, config, texts([5]), OPTIONS, tokens=64)
    compiled = option_scoring._score._cache_size()
    other = [[3], [2, 2, 2], [1, 1], [9, 2, 2, 2]]
    score_options(params, config, texts([3, 1]), other, tokens=64)
    assert option_scoring._score._cache_size() == compiled


def test_options_of_their_own_equal_a_forward_pass_each(params, config, naive, free):
    """In any number and of any length; two equal rows have different ones, and one that both have."""
    before = texts([24])[0]
    rows = [[*before, 1, 2], [*before, 3, 4, 5], [*before, 1, 2], [7]]
    own = [[[4, 5], [7]], texts([3, 17, 1]), [[9] * 9, [4, 5], [1], [2]], [[8]]]
    prefix = make_prefix(params, config, SHARED)
    found = score_own_options(params, config, rows, own, prefix=prefix, tokens=64)
    assert found.shape == (4, 4) and found.dtype == np.float32
    for scores, row, options in zip(found, rows, own, strict=True):
        wanted = [naive([*SHARED, *row], option).sum() for option in options]
        np.testing.assert_allclose(scores[: len(options)], wanted, atol=1e-4)
        assert np.isneginf(scores[len(options) :]).all()


def test_nothing_to_score(params, config):
    assert score_options(params, config, [], OPTIONS).shape == (0, 4)
    assert score_own_options(params, config, [], []).shape == (0, 0)


def test_impossible_requests_are_refused(params, config):
    with pytest.raises(ValueError, match="row 1 is empty"):
        score_options(params, config, [[1], []], OPTIONS)
    with pytest.raises(ValueError, match="every option needs at least one token"):
        score_options(params, config, [[1]], [[1], []])
    with pytest.raises(ValueError, match="every option needs at least one token"):
        score_own_options(params, config, [[1], [2]], [[[1]], []])
    with pytest.raises(ValueError, match="row 1 needs 129 tokens .* context is 128"):
        score_own_options(params, config, [[1], [1] * 120], [[[1] * 9], [[1] * 9]])
    with pytest.raises(ValueError, match="row 0 needs 129 tokens .* context is 128"):
        score_options(params, config, [[1] * 125], OPTIONS)


def test_prefix_must_hold_something_and_leave_room(params, config):
    with pytest.raises(ValueError, match="at least one token"):
        make_prefix(params, config, [])
    with pytest.raises(ValueError, match="has 128 tokens, but the model's context is 128"):
        make_prefix(params, config, [1] * 128)
