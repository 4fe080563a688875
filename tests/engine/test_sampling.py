"""Drawing tokens: against NumPy's search in the cumulative sum."""

import jax.numpy as jnp
import numpy as np
import pytest

from cai_jax.engine.sampling import inverse, scaled_logprobs


@pytest.mark.parametrize("size", [5, 128, 300, 1024])
def test_the_inverse_equals_numpys(size):
    draw = np.random.default_rng(size)
    p = draw.dirichlet([0.05] * size, 400).astype(np.float32)
    u = draw.random(400, np.float32)
    ends = np.cumsum(p.astype(np.float64), axis=1)
    wanted = [np.searchsorted(row, x * row[-1], side="right") for row, x in zip(ends, u, strict=True)]
    found = np.asarray(inverse(jnp.asarray(p), jnp.asarray(u)))
    # Rounding may move a draw that lies within 1e-6 of a border.
    near = np.abs(ends - (u * ends[:, -1])[:, None]).min(axis=1) < 1e-6
    np.testing.assert_array_equal(found[~near], np.array(wanted)[~near])
    assert near.mean() < 0.05


@pytest.mark.parametrize("u", [0.0, 0.5, 1 - 2**-24])
def test_what_has_no_probability_is_never_drawn(u):
    p = np.zeros((3, 400), np.float32)
    p[0, [3, 399]] = 0.3, 0.7
    p[1, 200] = 1e-30
    p[2, [0, 130, 131]] = 1 / 3
    found = np.asarray(inverse(jnp.asarray(p), jnp.full(3, u, jnp.float32)))
    assert (p[np.arange(3), found] > 0).all()


@pytest.mark.parametrize(
    "logits, top_p, kept",
    [
        ([2, 1, 1, 1, -5], 0.5, [0, 1]),  # 0.475, then 0.175 each
        ([2, 1, 1, 1, -5], 0.7, [0, 1, 2]),
        ([1, 2, 1, 1, -5], 0.5, [0, 1]),
        ([0, 0, 0, 0], 0.5, [0, 1]),  # two quarters are one half, exactly
        ([0, 0, 0, 0], 0.51, [0, 1, 2]),
        ([0, 0, 0, 0], 1e-6, [0]),
        ([3, 3, 3], 0.999, [0, 1, 2]),
        ([-1e9, 0, 0], 0.5, [1]),
    ],
)
@pytest.mark.parametrize("temperature", [1.0, 0.0])
def test_the_nucleus_is_the_fewest_tokens_and_of_equals_the_first(logits, top_p, kept, temperature):
    given = jnp.asarray([logits, logits[::-1]], jnp.float32)
    found = np.exp(scaled_logprobs(given, jnp.float32(temperature), jnp.float32(top_p)))
    assert np.flatnonzero(found[0]).tolist() == kept
    assert np.count_nonzero(found[1]) == len(kept)
    exact = np.exp(np.array(logits, float) - max(logits))[kept]
    np.testing.assert_allclose(found[0][kept], exact / exact.sum(), rtol=1e-5)
