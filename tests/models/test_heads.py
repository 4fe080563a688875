"""The scalar head."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cai_jax.models import heads
from cai_jax.models.config import Config


def test_initial_deviation_is_that_of_the_paper():
    head = heads.init_head(Config(8, 10_000, 1, 4, 4, 2, 8), jax.random.key(0))
    assert head["kernel"].shape == (10_000,) and float(head["bias"]) == 0
    np.testing.assert_allclose(float(head["kernel"].std()), 10_001**-0.5, rtol=0.03)


def test_score_by_hand():
    head = {"kernel": jnp.array([1.0, -2.0]), "bias": jnp.array(0.5)}
    scores = heads.score(head, jnp.array([[3.0, 1.0], [0.0, 2.0]], jnp.bfloat16))
    np.testing.assert_array_equal(scores, [1.5, -3.5])
    assert scores.dtype == jnp.float32


def test_normalised_scores_have_mean_0_and_variance_1():
    head = {"kernel": jnp.array([1.0, -2.0]), "bias": jnp.array(0.5)}
    hidden = jax.random.normal(jax.random.key(1), (500, 2))
    raw = heads.score(head, hidden)
    scores = heads.score(heads.normalise(head, float(raw.mean()), float(raw.std())), hidden)
    np.testing.assert_allclose([float(scores.mean()), float(scores.std())], [0, 1], atol=1e-5)
    with pytest.raises(ValueError, match="cannot be normalised"):
        heads.normalise(head, 0.0, 0.0)
