"""Adapters against the full-rank weights that they stand for."""

from dataclasses import replace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cai_jax.models import decoder, lora
from cai_jax.models.config import Config
from tests.learn import _toy as toy

LLAMA = Config(64, 32, layers=2, heads=4, kv_heads=2, head_dim=8, intermediate_size=48, tie_embeddings=False)
# Biases, norms of queries and keys, and a feed-forward layer without a gate.
OTHER = replace(LLAMA, gated=False, qkv_bias=True, out_bias=True, mlp_bias=True, qk_norm="head", norm="layer")
TOKENS = np.random.default_rng(0).integers(0, 64, (3, 10))

hidden = jax.jit(decoder.hidden, static_argnums=1, static_argnames=("dtype", "remat"))
prefill = jax.jit(decoder.prefill, static_argnums=1)
extend = jax.jit(decoder.extend, static_argnums=1)


def full_rank(params, seed=1):
    """An adapter of the whole rank of every kernel, and the parameters with what it stands for added to them."""
    keys = iter(jax.random.split(jax.random.key(seed), 64))
    adapter, moved = {}, {}
    for name, leaf in params.items():
        if isinstance(leaf, dict):
            inner, moved[name] = full_rank(leaf, seed + len(adapter) + 1)
            adapter |= {name: inner} if inner else {}
        elif name.endswith("_proj"):
            change = 0.1 * jax.random.normal(next(keys), leaf.shape)
            wide = leaf.shape[1] > leaf.shape[0]
            one = jnp.eye(min(leaf.shape))
            adapter[f"{name}_a"], adapter[f"{name}_b"] = (one, change) if wide else (change, one)
            moved[name] = leaf + change
        else:
            moved[name] = leaf
    return adapter, moved


@pytest.mark.parametrize("config", [LLAMA, OTHER], ids=["llama", "other"])
def test_an_adapter_of_full_rank_is_any_change_of_the_weights(config):
    params = decoder.init(config, jax.random.key(0))
    adapter, moved = full_rank(params)
    assert len(jax.tree.leaves(adapter)) == 2 * 2 * (7 if config.gated else 6)
    adapted = lora.joined(params, adapter)
    chex.assert_trees_all_close(hidden(adapted, config, TOKENS), hidden(moved, config, TOKENS), atol=2e-5)
    chex.assert_trees_all_close(lora.merged(adapted), moved, atol=1e-6)
    # Computing layers again, and reading a row in two pieces, finds the adapter too.
    again = hidden(adapted, config, TOKENS, remat=True)
    chex.assert_trees_all_close(again, hidden(adapted, config, TOKENS), atol=2e-5)
    first, cache = prefill(adapted, config, TOKENS[:, :6])
    room = jax.tree.map(lambda leaf: jnp.pad(leaf, ((0, 0), (0, 0), (0, 4), (0, 0))), cache)
    rest, _ = extend(adapted, config, TOKENS[:, 6:], room, jnp.full(3, 6))
    chex.assert_trees_all_close(jnp.concatenate([first, rest], axis=1), hidden(moved, config, TOKENS), atol=2e-5)


def test_a_fresh_adapter_changes_nothing():
    params = toy.params()
    adapted = lora.joined(params, lora.init(params, 4, jax.random.key(1)), 2.0)
    tokens = TOKENS % toy.CONFIG.vocab_size
    chex.assert_trees_all_equal(hidden(adapted, toy.CONFIG, tokens), hidden(params, toy.CONFIG, tokens))
    chex.assert_trees_all_equal(lora.merged(adapted), params)


def test_an_adapter_is_drawn_with_variance_1_over_in_for_every_kernel_apart():
    params = decoder.init(replace(LLAMA, hidden_size=256), jax.random.key(0))
    fresh = lora.init(params, 16, jax.random.key(1))
    q, k = fresh["layers_0"]["attention"]["q_proj_a"], fresh["layers_0"]["attention"]["k_proj_a"]
    assert q.shape == (256, 16) and q.dtype == jnp.float32
    assert float(jnp.std(q)) == pytest.approx(1 / 16, rel=0.05)
    assert not np.array_equal(q, k) and not np.array_equal(q, fresh["layers_1"]["attention"]["q_proj_a"])
    assert not fresh["layers_0"]["mlp"]["down_proj_b"].any()
    # Neither embeddings nor norms have one, and an adapter there already makes no difference.
    names = {name for layer in fresh.values() for part in layer.values() for name in part}
    assert all("_proj_" in name for name in names)
    chex.assert_trees_all_equal(lora.init(lora.joined(params, fresh), 16, jax.random.key(1)), fresh)


def test_one_adapter_on_top_of_another_is_one_of_both_ranks():
    params, one, two = toy.params(), toy.adapter(1, 2), toy.adapter(2, 3)
    both = lora.joined(lora.joined(params, one, 2.0), two, 0.5)
    base, adapter = lora.split(both)
    chex.assert_trees_all_equal(base, params)
    assert base["embed"] is params["embed"]
    sides = adapter["layers_0"]["mlp"]
    assert sides["up_proj_a"].shape == (16, 5) and sides["up_proj_b"].shape == (5, 32)
    q, a, b = ([tree["layers_0"]["mlp"][name] for tree in (params, one, two) if name in tree["layers_0"]["mlp"]]
               for name in ("up_proj", "up_proj_a", "up_proj_b"))  # fmt: skip
    wanted = q[0] + 2.0 * a[0] @ b[0] + 0.5 * a[1] @ b[1]
    chex.assert_trees_all_close(lora.merged(both)["layers_0"]["mlp"]["up_proj"], wanted, atol=1e-6)


def test_narrow_weights_are_merged_in_float32():
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), toy.params())
    found = lora.merged(lora.joined(params, toy.adapter()))
    chex.assert_trees_all_equal_dtypes(found, params)
    wide = lora.merged(lora.joined(jax.tree.map(lambda leaf: leaf.astype(jnp.float32), params), toy.adapter()))
    chex.assert_trees_all_equal(found, jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), wide))
