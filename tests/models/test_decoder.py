"""The decoder's three ways of attending against each other; test_families.py has transformers."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cai_jax.models import decoder
from cai_jax.models.config import Config

# Called op by op, every shape would be compiled op by op.
forward = jax.jit(decoder.hidden, static_argnums=1, static_argnames="dtype")
read = jax.jit(decoder.prefill, static_argnums=1)
unembed = jax.jit(decoder.unembed, static_argnums=1)


def rows(lengths, seed=0):
    draw = np.random.default_rng(seed)
    return [draw.integers(3, 300, length).tolist() for length in lengths]


@pytest.fixture(scope="module")
def small():
    config = Config(97, 16, 2, 4, 2, 4, 24)
    return config, decoder.init(config, jax.random.key(0))


def test_packed_documents_do_not_see_each_other(small):
    config, params = small
    first, second = rows([140, 30])
    first, second = np.array(first) % 97, np.array(second) % 97
    tokens = np.concatenate([first, second, [0] * 6])[None]
    segments = np.array([[1] * 140 + [2] * 30 + [0] * 6])
    positions = np.array([[*range(140), *range(30), *range(6)]])
    packed = forward(params, config, tokens, positions=positions, segments=segments)[0]
    alone = [forward(params, config, text[None])[0] for text in (first, second)]
    chex.assert_trees_all_close(packed[:170], jnp.concatenate(alone), atol=1e-5)
    chex.assert_tree_all_finite(packed)


def test_branches_see_the_trunk_and_not_each_other(small):
    config, params = small
    trunk, left, right = ([value % 97 for value in row] for row in rows([130, 5, 3]))
    tokens = np.array([trunk + left + right])
    positions = np.array([[*range(135), *range(130, 133)]])
    branches = np.array([[0] * 130 + [1] * 5 + [2] * 3])
    together, _ = read(params, config, tokens, positions=positions, branches=branches)
    for branch, where in ((left, slice(130, 135)), (right, slice(135, 138))):
        alone = forward(params, config, np.array([trunk + branch]))
        chex.assert_trees_all_close(together[0, where], alone[0, 130:], atol=1e-5)


def test_gradient_reaches_every_parameter_and_matches_differences(small):
    config, params = small
    tokens = np.arange(40)[None] % 97

    def loss(params):
        logits = unembed(params, config, decoder.hidden(params, config, tokens[:, :-1]))
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), tokens[:, 1:, None], axis=-1))

    gradient = jax.jit(jax.grad(loss))(params)
    assert all(float(jnp.abs(leaf).max()) > 0 for leaf in jax.tree.leaves(gradient))
    direction = jax.tree.map(lambda leaf: jax.random.normal(jax.random.key(1), leaf.shape), params)
    moved = [jax.tree.map(lambda p, d, s=s: p + s * d, params, direction) for s in (1e-3, -1e-3)]
    slope = (jax.jit(loss)(moved[0]) - jax.jit(loss)(moved[1])) / 2e-3
    products = jax.tree.map(lambda g, d: jnp.sum(g * d), gradient, direction)
    np.testing.assert_allclose(sum(jax.tree.leaves(products)), slope, rtol=2e-2)


def test_computing_layers_again_keeps_little_more_than_what_goes_into_them(small):
    config, params = small
    tokens = jnp.zeros((8, 64), jnp.int32)

    def kept(remat):
        """Numbers that the gradient holds for its backward pass, beside the parameters."""
        pull = jax.eval_shape(lambda p: jax.vjp(lambda p: decoder.hidden(p, config, tokens, remat=remat), p)[1], params)
        return sum(leaf.size for leaf in jax.tree.leaves(pull)) - sum(leaf.size for leaf in jax.tree.leaves(params))

    # The inputs of the two layers and of the last norm, and some tables of positions.
    assert 3 * 8 * 64 * 16 < kept(True) < 6 * 8 * 64 * 16 < kept(False) / 4


# Nine layers whose windows come again after two, so that eight are looped and one is not; rotated in two ways.
MANY = Config(97, 16, 9, 4, 2, 4, 24, qk_norm="head", local_rope_theta=100.0, windows=(*(5, None) * 4, 5))


def test_looped_layers_compute_what_layers_one_by_one_do():
    params, tokens = decoder.init(MANY, jax.random.key(0)), np.array(rows([24, 24])) % 97
    direction = jax.random.normal(jax.random.key(1), (2, 24, 16))

    # The looped ones are computed again for the gradient.
    @partial(jax.jit, static_argnames="looped")
    def both(params, looped):
        def loss(params):
            found = decoder.hidden(params, MANY, tokens, remat=looped, looped=looped)
            return jnp.sum(found * direction), found

        return jax.grad(loss, has_aux=True)(params)

    chex.assert_trees_all_close(both(params, True), both(params, False), rtol=1e-4, atol=2e-5)
    # Two layers are in the loop and one is behind it.
    forward = jax.jit(decoder.hidden, static_argnums=1, static_argnames="looped")
    counts = [
        forward.trace(params, MANY, tokens, looped=looped).lower().as_text().count("dot_general")
        for looped in (True, False)
    ]
    assert counts[0] * 9 == counts[1] * 3


def test_bfloat16_activations_stay_close(small):
    config, params = small
    tokens = np.arange(20)[None]
    wide = forward(params, config, tokens)
    narrow = forward(params, config, tokens, dtype=jnp.bfloat16)
    assert narrow.dtype == jnp.bfloat16
    np.testing.assert_allclose(narrow.astype(jnp.float32), wide, atol=0.1)
    assert decoder.unembed(params, config, narrow).dtype == jnp.float32
