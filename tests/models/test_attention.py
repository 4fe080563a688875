"""Attention against a loop over queries, and each kernel against plain JAX."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cai_jax.models import attention as module
from cai_jax.models.attention import KV, Prefix, attention, cudnn, splash
from cai_jax.models.attention.cases import Case

B, N, K, H = 3, 4, 2, 8
SCALE = 0.3


def draw(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32)


def keys(*shape, seed=0):
    return KV(draw(*shape, seed=seed), draw(*shape, seed=seed + 1))


def naive(q, kv, sees, softcap=None):
    """One query at a time: `sees[b, t, s]` says which keys, in float64."""
    out = np.zeros(q.shape)
    for b, t, n in np.ndindex(*q.shape[:3]):
        k, v = (np.asarray(x[b, n // (N // K)], np.float64)[sees[b, t]] for x in kv)
        scores = SCALE * k @ q[b, t, n].astype(np.float64)
        scores = scores if softcap is None else softcap * np.tanh(scores / softcap)
        weights = np.exp(scores - scores.max())
        out[b, t, n] = weights @ v / weights.sum()
    return out


def causal(length):
    return np.broadcast_to(np.tri(length, dtype=bool), (B, length, length)).copy()


@pytest.mark.parametrize("window, softcap", [(None, None), (5, None), (None, 2.0), (130, 1.5)])
@pytest.mark.parametrize("length", [7, 140])
def test_a_row_sees_itself(length, window, softcap):
    q, kv = draw(B, length, N, H), keys(B, K, length, H)
    sees = causal(length)
    if window:
        sees &= ~np.tri(length, k=-window, dtype=bool)
    found = attention(q, kv, scale=SCALE, window=window, softcap=softcap)
    np.testing.assert_allclose(found, naive(q, kv, sees, softcap), atol=1e-5)


@pytest.mark.parametrize("window", [None, 4])
def test_queries_find_their_place_in_a_cache(window):
    q, kv, starts = draw(B, 3, N, H), keys(B, K, 20, H), np.array([0, 5, 17])
    place = starts[:, None, None] + np.arange(3)[:, None]
    sees = (np.arange(20) <= place) & (np.arange(20) > place - (window or 99))
    found = attention(q, kv, scale=SCALE, starts=starts, window=window)
    np.testing.assert_allclose(found, naive(q, kv, sees), atol=1e-5)


def test_segments_see_themselves_and_groups_their_trunk_too():
    q, kv = draw(B, 9, N, H), keys(B, K, 9, H)
    numbers = np.array([[0, 0, 0, 1, 1, 2, 2, 2, 3]] * B)
    same = numbers[:, :, None] == numbers[:, None]
    found = attention(q, kv, scale=SCALE, segments=numbers)
    np.testing.assert_allclose(found, naive(q, kv, causal(9) & same), atol=1e-5)
    found = attention(q, kv, scale=SCALE, groups=numbers)
    np.testing.assert_allclose(found, naive(q, kv, causal(9) & (same | (numbers[:, None] == 0))), atol=1e-5)


def test_alternatives_in_a_window_are_as_far_as_their_positions():
    q, kv = draw(B, 8, N, H), keys(B, K, 8, H)
    groups, positions = np.array([[0, 0, 0, 0, 1, 1, 2, 2]] * B), np.array([[0, 1, 2, 3, 4, 5, 4, 5]] * B)
    sees = causal(8) & ((groups[:, :, None] == groups[:, None]) | (groups[:, None] == 0))
    sees &= positions[:, :, None] - positions[:, None] < 3
    found = attention(q, kv, scale=SCALE, groups=groups, positions=positions, window=3)
    np.testing.assert_allclose(found, naive(q, kv, sees), atol=1e-5)


def chain():
    """A prefix of all rows, one of each row behind it, and another; with the real keys of each row."""
    layers = [keys(K, 16, H, seed=5), keys(B, K, 8, H, seed=6), keys(B, K, 4, H, seed=7)]
    lengths = [np.array(13), np.array([8, 1, 5]), np.array([2, 4, 3])]
    prefix = None
    for kv, length in zip(layers, lengths, strict=True):
        prefix = Prefix((kv,), length, prefix)
    return prefix, layers, lengths


@pytest.mark.parametrize("impl, length", [("xla", 1), ("xla", 5), ("xla", 40), ("xla", 512), ("splash", 256)])
@pytest.mark.parametrize("window", [None, 9])
def test_a_chain_of_prefixes_equals_one_text(impl, length, window):
    prefix, layers, lengths = chain()
    q, kv = draw(B, length, N, H), keys(B, K, length, H)
    found = attention(q, kv, scale=SCALE, window=window, prefix=prefix.parts(0), impl=impl)
    for b in range(B):
        real = [int(np.broadcast_to(n, (B,))[b]) for n in lengths]
        texts = [layers[0], *(KV(*(x[b] for x in each)) for each in layers[1:])]
        before = KV(*(np.concatenate([t[i][:, :n] for t, n in zip(texts, real, strict=True)], axis=1) for i in (0, 1)))
        whole = KV(*(np.concatenate([x, y[b]], axis=1)[None] for x, y in zip(before, kv, strict=True)))
        at = np.arange(length)[:, None] + sum(real)
        every = np.arange(at[-1, 0] + 1)
        sees = ((every <= at) & (every > at - (window or 9999)))[None]
        some = slice(None) if length < 100 else slice(None, None, 37)
        wanted = naive(q[b : b + 1, some], whole, sees[:, some])
        np.testing.assert_allclose(found[b : b + 1, some], wanted, atol=2e-5)
        assert int(np.broadcast_to(prefix.end(), (B, 1))[b, 0]) == sum(real)


@pytest.mark.parametrize("window, softcap", [(None, None), (50, None), (None, 2.0)])
@pytest.mark.parametrize("packed", [False, True])
def test_splash_equals_plain_jax_with_its_gradient(window, softcap, packed):
    q, kv = draw(B, 256, N, H), keys(B, K, 256, H)
    segments = np.array([[1] * 90 + [2] * 140 + [0] * 26] * B) if packed else None

    def mixed(impl):
        def loss(q, kv):
            out = attention(q, kv, scale=SCALE, window=window, softcap=softcap, segments=segments, impl=impl)
            return jnp.sum(out * draw(B, 256, N, H, seed=9)), out

        return jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))(q, kv)

    assert splash.can(q, kv, Case(SCALE, None, segments, None, None, window, softcap, ()))
    chex.assert_trees_all_close(mixed("splash"), mixed("xla"), atol=1e-4)


def test_half_precision_keeps_a_float32_softmax():
    q, kv = (jax.tree.map(lambda x: x.astype(jnp.bfloat16), tree) for tree in (draw(B, 640, N, H), keys(B, K, 640, H)))
    found = [attention(q, kv, scale=SCALE, impl=impl) for impl in ("xla", "splash")]
    assert found[0].dtype == found[1].dtype == jnp.bfloat16
    wide = attention(*jax.tree.map(lambda x: x.astype(jnp.float32), (q, kv)), scale=SCALE)
    for each in found:
        np.testing.assert_allclose(each.astype(jnp.float32), wide, atol=0.03)


def test_what_a_kernel_cannot_do_is_done_by_plain_jax():
    q, kv = draw(B, 140, N, H), keys(B, K, 140, H)
    wanted = attention(q, kv, scale=SCALE, impl="xla")
    for impl in ("splash", "cudnn"):  # 140 is no multiple of 128, and float32 is not for cuDNN
        np.testing.assert_array_equal(attention(q, kv, scale=SCALE, impl=impl), wanted)


def test_cudnn_takes_half_precision_without_softcap_and_packing():
    q = jnp.zeros((B, 64, N, H), jnp.bfloat16)
    plain = Case(SCALE, None, None, None, None, None, None, ())
    assert cudnn.can(q, None, plain) and cudnn.can(q, None, plain._replace(window=8))
    for wrong in ({"softcap": 1.0}, {"segments": q}, {"groups": q}, {"starts": q}):
        assert not cudnn.can(q, None, plain._replace(**wrong))
    assert not cudnn.can(q.astype(jnp.float32), None, plain)


def test_the_implementation_is_the_machines(monkeypatch):
    for platform, wanted in (("tpu", "splash"), ("gpu", "cudnn"), ("cpu", "xla")):
        monkeypatch.setattr(module.target, "platform", lambda platform=platform: platform)
        assert module.implementation() == wanted
