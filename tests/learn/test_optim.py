"""Schedules by hand, and Adam against torch's."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from cai_jax.learn.optim import Optim, optimizer, schedule
from tests.learn import _toy as toy


def test_schedules_by_hand():
    def rates(**settings):
        rate = schedule(Optim(1.0, **settings))
        return [float(rate(step)) for step in (0, 1, 2, 3, 4, 6, 8)]

    assert rates() == [1.0] * 7
    assert rates(warmup=3) == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1, 1])
    assert rates(schedule="linear", steps=8) == pytest.approx([1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 2 / 8, 0])
    warmed = rates(schedule="linear", steps=8, warmup=2)
    assert warmed == pytest.approx([1 / 3, 2 / 3, 1, 5 / 6, 4 / 6, 2 / 6, 0])
    cosine = [0.5 + 0.5 * np.cos(np.pi * step / 8) for step in (0, 1, 2, 3, 4, 6, 8)]
    assert rates(schedule="cosine", steps=8) == pytest.approx(cosine, abs=1e-6)


def test_wrong_settings_are_refused():
    with pytest.raises(ValueError, match="none of constant, linear, cosine"):
        schedule(Optim(1.0, schedule="step"))
    with pytest.raises(ValueError, match="must exceed warmup"):
        schedule(Optim(1.0, schedule="linear"))
    with pytest.raises(ValueError, match="neither adamw nor muon"):
        optimizer(Optim(1.0, kind="sgd"))


def test_adam_with_clip_is_torchs():
    draw = np.random.default_rng(0)
    start = {"kernel": draw.normal(size=(3, 4)).astype(np.float32), "norm": np.ones(4, np.float32)}
    chain = optimizer(Optim(0.01, clip=1.0, eps=1e-5, b2=0.999))
    params, opt_state = start, chain.init(start)

    theirs = {name: torch.nn.Parameter(torch.tensor(x)) for name, x in start.items()}
    adam = torch.optim.Adam(theirs.values(), lr=0.01, betas=(0.9, 0.999), eps=1e-5)
    for _ in range(5):
        grads = {name: draw.normal(size=x.shape).astype(np.float32) * 3 for name, x in start.items()}
        updates, opt_state = chain.update(grads, opt_state, params)
        params = optax.apply_updates(params, updates)
        for name, grad in grads.items():
            theirs[name].grad = torch.tensor(grad)
        torch.nn.utils.clip_grad_norm_(list(theirs.values()), 1.0)
        adam.step()
    for name in start:
        np.testing.assert_allclose(params[name], theirs[name].detach(), atol=1e-6)


@pytest.mark.parametrize(("weight", "norm"), [(1.0, 1.0), (1.8, 1.8), (0.2, 0.2), (6.0, 5.0), (0.0, 0.0)])
def test_gradients_are_clipped_to_a_norm_that_goes_with_the_weight_of_their_batch(weight, norm):
    chain, params = optimizer(Optim(1.0, clip=1.0, b1=0.9)), {"x": jnp.zeros(2)}
    grads = {"x": jnp.array([3.0, 4.0]) * (weight > 0)}  # of norm 5
    _, opt_state = chain.update(grads, chain.init(params), params, weight=weight)
    # Adam's first moment is a tenth of the first gradient that it sees.
    assert float(optax.tree.norm(optax.tree.get(opt_state, "mu"))) == pytest.approx(0.1 * norm)


def test_muon_orthogonalises_layer_matrices_and_leaves_the_rest_to_adam():
    whole = toy.params()
    params = {name: whole[name] for name in ("embed", "final_norm")}
    params["layers_0"] = {"mlp": {"up_proj": whole["layers_0"]["mlp"]["up_proj"]}}
    chain = optimizer(Optim(1e-3, kind="muon", clip=0.0))
    grads = jax.tree.map(lambda x: jax.random.normal(jax.random.key(1), x.shape), params)
    updates, _ = jax.jit(chain.update)(grads, chain.init(params), params)
    # A muon update's singular values are all about rate · 0.2 · sqrt(fan). Adam's first update is ±rate,
    # with Nesterov's momentum (b1 = 0.9) ±rate (1 + 0.9 · 0.1 / (1 - 0.9²)).
    matrix = updates["layers_0"]["mlp"]["up_proj"]
    spread = jnp.linalg.svd(matrix, compute_uv=False) / (1e-3 * 0.2 * np.sqrt(max(matrix.shape)))
    assert 0.6 < spread.min() < spread.max() < 1.3
    adam = 1e-3 * (1 + 0.09 / 0.19)
    np.testing.assert_allclose(jnp.abs(updates["embed"]), adam, rtol=1e-3)
    np.testing.assert_allclose(jnp.abs(updates["final_norm"]), adam, rtol=1e-3)
