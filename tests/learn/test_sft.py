"""The supervised step against torch's cross-entropy, and what it must not depend on."""

from dataclasses import replace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from cai_jax.learn import optim, sft
from cai_jax.learn.state import TrainState
from cai_jax.models import decoder
from tests.learn import _toy as toy

SETTINGS = sft.SFT(optim.Optim(1e-2, warmup=1), chunk=4)
STEP = sft.make_step(toy.CONFIG, SETTINGS)
# Three shapes of batch occur below, so the step may be traced as often, however often it is called.
JITTED = jax.jit(chex.assert_max_traces(STEP, n=3), donate_argnums=0)


def start(params=None):
    return TrainState.create(toy.params() if params is None else params, optim.optimizer(SETTINGS.optim))


def test_loss_is_torchs_cross_entropy_over_trained_tokens():
    batch = toy.joined(toy.documents(2, 3))
    tokens, weights = batch["tokens"][0], batch["weights"][0]
    hidden = decoder.hidden(
        toy.params(), toy.CONFIG, tokens, positions=batch["positions"][0], segments=batch["segments"][0]
    )
    logits = np.asarray(decoder.unembed(toy.params(), toy.CONFIG, hidden))
    each = torch.nn.functional.cross_entropy(
        torch.tensor(logits[:, :-1].reshape(-1, toy.CONFIG.vocab_size)),
        torch.tensor(tokens[:, 1:].reshape(-1), dtype=torch.long),
        reduction="none",
    )
    # Position 5 begins the second document and positions 10 and 11 are padding: nothing predicts them.
    counted = weights * ~np.isin(np.arange(toy.LENGTH), [0, 5, 10, 11])
    counted = counted[:, 1:].reshape(-1)
    _, metrics = JITTED(start(), batch)
    assert metrics["weight"] == pytest.approx(counted.sum())
    # Weighted tokens are added up and divided by their number, not by their weight.
    assert metrics["loss"] == pytest.approx((each.numpy() * counted).sum() / (counted > 0).sum(), rel=1e-5)


def test_a_weight_counts_in_a_batch_of_its_own_and_filler_does_not():
    batch = toy.documents(2, 3)
    light, heavy = ({**batch, "weights": (batch["weights"] > 0) * np.float32(weight)} for weight in (0.2, 1.8))
    losses = [float(JITTED(start(), each)[1]["loss"]) for each in (light, heavy)]
    assert losses[1] == pytest.approx(9 * losses[0], rel=1e-5)
    joined = toy.joined(batch)
    more = {name: np.concatenate([x, np.zeros_like(x)], axis=1) for name, x in joined.items()}
    chex.assert_trees_all_close(JITTED(start(), more), JITTED(start(), joined), atol=2e-6)


def test_accumulation_is_the_large_batch():
    batch = toy.documents(2, 3)
    batch["weights"][1] = 0.0  # micro-batches of unequal weight: a mean of means would differ
    split, whole = JITTED(start(), batch), JITTED(start(), toy.joined(batch))
    chex.assert_trees_all_close(split, whole, atol=2e-6)


def test_layers_computed_again_give_the_same_step():
    batch = toy.documents(2, 3)
    again = jax.jit(sft.make_step(toy.CONFIG, replace(SETTINGS, remat=True)))(start(), batch)
    chex.assert_trees_all_close(again, JITTED(start(), batch), atol=1e-6)


def test_an_empty_batch_changes_nothing():
    batch = toy.documents(2, 3)
    batch["weights"][:] = 0.0
    state, metrics = JITTED(start(), batch)
    assert metrics["loss"] == 0
    chex.assert_trees_all_equal(state.params, start().params)


def test_it_learns():
    params = toy.params()
    state, seen = start(params), []
    for seed in (0, 1, 0, 1, 0, 1, 0):
        state, metrics = JITTED(state, toy.documents(2, 3, seed))
        seen.append(float(metrics["loss"]))
    assert seen[-1] < 0.8 * seen[0]
    assert int(state.step) == 7
    assert metrics["learning_rate"] == jnp.float32(1e-2)
    chex.assert_tree_all_finite(params)  # the state's copy was donated, not the caller's
