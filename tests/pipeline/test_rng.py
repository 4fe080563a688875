"""Keyed randomness: a draw belongs to what it is about."""

import numpy as np
import pytest

from cai_jax.lang.signature import Principle
from cai_jax.pipeline.rng import distinguish_replies
from tests.stages._letters import DRAW


def test_a_draw_belongs_to_what_it_is_about():
    assert DRAW.uniform("x", "a", 1) == DRAW.uniform("x", "a", 1)
    others = [DRAW.uniform("y", "a", 1), DRAW.uniform("x", "b", 1), DRAW._replace(seed=1).uniform("x", "a", 1)]
    others += [DRAW._replace(run=1).uniform("x", "a", 1), DRAW._replace(stage="revise").uniform("x", "a", 1)]
    assert len({DRAW.uniform("x", "a", 1), *others}) == 6
    many = [DRAW.uniform("x", number) for number in range(4000)]
    assert min(many) >= 0 and max(many) < 1
    assert np.mean(many) == pytest.approx(0.5, abs=0.02)


def test_weights_are_probabilities():
    # Standard deviation of a share of 4,000 draws is at most 0.008.
    counts = np.bincount([DRAW.weighted([1, 0, 3], "x", n) for n in range(4000)], minlength=3) / 4000
    np.testing.assert_allclose(counts, [0.25, 0, 0.75], atol=0.03)
    named = [Principle("rare", weight=1), Principle("common", weight=9)]
    drawn = [DRAW.principle(named, "x", n).name for n in range(2000)]
    assert drawn.count("rare") / 2000 == pytest.approx(0.1, abs=0.03)


def test_keys_tell_rows_purposes_and_samples_apart():
    rows = [{"id": "aa-0"}, {"id": "aa-1"}, {"id": "bb-0"}]
    keys = {DRAW.key(purpose, row, n).tobytes() for purpose in "xy" for row in rows for n in (0, 1)}
    assert len(keys) == 12
    assert DRAW.key("x", rows[0]).tobytes() in keys


def test_shuffles_belong_to_their_stage_and_purpose():
    one = DRAW.permutation("rows", 100, 0, 0)
    assert sorted(one) == list(range(100)) and (one == DRAW.permutation("rows", 100, 0, 0)).all()
    others = [
        DRAW.permutation("examples", 100, 0, 0),
        DRAW.permutation("rows", 100, 0),
        DRAW.permutation("rows", 100, 1, 0),
    ]
    others += [DRAW._replace(stage="reward").permutation("rows", 100, 0, 0)]
    assert all((one != other).any() for other in others)


def test_replies_to_one_prompt_are_told_apart():
    rows = [
        {"id": "a-0", "sample": 0},
        {"id": "a-0", "sample": 1},
        {"id": "a-0", "sample": 0},
        {"id": "b-0", "sample": 0},
    ]
    assert [which for _, which in distinguish_replies(rows)] == [0, 1, (0, 1), 0]
    assert len({DRAW.key("x", row, which).tobytes() for row, which in distinguish_replies(rows)}) == 4


def test_weights_say_how_often_a_number_is_in_an_epoch():
    take = DRAW.shuffled("prompts", 4, [2.0, 2.0, 1.0, 0.5])  # an epoch has round(5.5) = 6 places
    epochs = np.array([np.bincount(take(start, 6), minlength=4) for start in range(0, 6 * 500, 6)])
    assert (epochs.sum(1) == 6).all()
    expected = np.array([2.0, 2.0, 1.0, 0.5]) * 6 / 5.5
    assert (np.abs(epochs - expected) < 1).all()  # up to less than one in every epoch
    np.testing.assert_allclose(epochs.mean(0), expected, atol=0.05)
    assert take(3, 9) == take(0, 12)[3:] and take(0, 6) != take(6, 6)
    assert take(0, 6) != sorted(take(0, 6))


@pytest.mark.parametrize("weights", [None, [1.0] * 5, [2.0] * 5])
def test_weights_that_are_alike_change_nothing(weights):
    take = DRAW.shuffled("prompts", 5, weights)
    assert (
        take(0, 5) == DRAW.permutation("prompts", 5, 0).tolist()
        and take(5, 5) == DRAW.permutation("prompts", 5, 1).tolist()
    )
