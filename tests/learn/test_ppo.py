"""PPO's update against torch's, and what it must not depend on."""

from dataclasses import replace
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from cai_jax.learn import optim, ppo, rollout
from tests.learn import _toy as toy
from tests.learn.test_rollout import PREPARE, by_numpy
from tests.learn.test_rollout import SETTINGS as ROLLOUT

ADAM = optim.Optim(1e-3, b2=0.999, eps=1e-5)
SETTINGS = replace(ROLLOUT, policy_optim=ADAM, critic_optim=replace(ADAM, learning_rate=3e-3), dual_clip=1.5)
UPDATE = ppo.make_update(toy.CONFIG, SETTINGS)
JITTED = jax.jit(UPDATE)


def start(policy=0, critic=1):
    return ppo.PPOState.create(SETTINGS, toy.params(policy), toy.scored(critic))


@pytest.fixture(scope="module")
def prepared():
    """A batch of 2 x 3 rows whose old policy is `toy.params(0)`."""
    _, batch, _ = PREPARE(start(), toy.rollout(2, 3))
    return jax.tree.map(np.asarray, batch)


def test_at_the_first_step_the_ratio_is_one(prepared):
    _, metrics = JITTED(start(), prepared)
    assert float(metrics["ratio_mean"]) == pytest.approx(1, abs=1e-6)
    for name in ("ratio_var", "approx_kl", "approx_kl_k3", "clip_fraction", "value_clip_fraction"):
        assert float(metrics[name]) == pytest.approx(0, abs=1e-6), name
    # With a ratio of 1 the policy loss is minus the mean advantage, which whitening made 0.
    assert float(metrics["policy_loss"]) == pytest.approx(0, abs=1e-5)


def test_losses_and_metrics_are_torchs(prepared):
    # A policy and critic other than the old ones, so that every clip is at work.
    logprobs, entropy, values = (
        torch.tensor(x) for x in by_numpy(prepared, toy.params(5), toy.scored(6), SETTINGS.temperature)
    )
    old = {name: torch.tensor(np.array(x)).reshape(-1, toy.LENGTH) for name, x in prepared.items()}
    mask = old["mask"]
    log_ratio = (logprobs - old["logprobs"])[mask]
    ratio, advantages = log_ratio.exp(), old["advantages"][mask]
    surrogate = torch.min(ratio * advantages, ratio.clamp(0.8, 1.2) * advantages)
    surrogate = torch.where(advantages < 0, torch.max(surrogate, 1.5 * advantages), surrogate)
    value, before, returns = values[mask], old["values"][mask], old["returns"][mask]
    held = torch.clamp(value, before - 0.2, before + 0.2)
    errors = torch.max((value - returns) ** 2, (held - returns) ** 2)
    outside = ((ratio > 1.2) & (advantages > 0)) | ((ratio < 0.8) & (advantages < 0))
    expected = {
        "policy_loss": -surrogate.mean(),
        "value_loss": 0.5 * errors.mean(),
        "entropy": entropy[mask].mean(),
        "approx_kl": -log_ratio.mean(),
        "approx_kl_k3": (ratio - 1 - log_ratio).mean(),
        "ratio_mean": ratio.mean(),
        "ratio_var": ratio.var(unbiased=False),
        "clip_fraction": outside.double().mean(),
        "value_clip_fraction": ((held - returns) ** 2 > (value - returns) ** 2).double().mean(),
        "tokens": mask.sum(),
    }
    _, metrics = JITTED(start(5, 6), prepared)
    assert expected["clip_fraction"] > 0.2
    for name, theirs in expected.items():
        assert float(metrics[name]) == pytest.approx(theirs.item(), rel=1e-4, abs=1e-5), name
    assert set(metrics) == set(expected) | {"grad_norm", "critic_grad_norm", "learning_rate", "finite"}


def test_the_critics_gradient_is_torchs(prepared):
    tokens, mask = (jnp.asarray(prepared[name]).reshape(-1, toy.LENGTH) for name in ("tokens", "mask"))
    critic = toy.scored(6)
    values, back = jax.vjp(lambda p: rollout.critic_values(p, toy.CONFIG, SETTINGS, tokens, mask), critic)
    ours = torch.tensor(np.array(values), requires_grad=True)
    old = {name: torch.tensor(np.array(prepared[name])).reshape(-1, toy.LENGTH) for name in ("values", "returns")}
    held = torch.clamp(ours, old["values"] - 0.2, old["values"] + 0.2)
    errors = torch.max((ours - old["returns"]) ** 2, (held - old["returns"]) ** 2)
    (0.1 * 0.5 * errors[torch.tensor(np.array(mask))].mean()).backward()
    (grads,) = back(jnp.asarray(ours.grad.numpy()))
    _, metrics = JITTED(start(5, 6), prepared)
    assert float(metrics["critic_grad_norm"]) == pytest.approx(float(optax.tree.norm(grads)), rel=1e-4)


def test_its_adam_is_that_of_the_checklist():
    settings = ppo.PPO()
    assert settings.policy_optim == settings.critic_optim == optim.Optim(1e-5, b2=0.999, eps=1e-5, clip=1.0)
    assert ppo.adam(2e-3, "linear", 7) == optim.Optim(2e-3, schedule="linear", steps=7, b2=0.999, eps=1e-5, clip=1.0)


def test_a_ratio_beyond_float32_leaves_the_state_finite(prepared):
    far = {name: np.array(x) for name, x in prepared.items()}
    far["logprobs"] = np.where(far["mask"], far["logprobs"] - 200, 0)  # e^200 overflows
    state, metrics = JITTED(start(5, 6), far)
    chex.assert_tree_all_finite((state, metrics))
    assert float(metrics["approx_kl"]) == pytest.approx(-20)


def test_accumulation_is_the_large_batch(prepared):
    split, whole = JITTED(start(5, 6), prepared), JITTED(start(5, 6), toy.joined(prepared))
    chex.assert_trees_all_close(split, whole, atol=3e-6)


def test_filler_rows_change_nothing(prepared):
    assert not prepared["mask"][-1, -1].any()
    other = {name: np.array(x) for name, x in prepared.items()}
    for name in ("tokens", "logprobs", "values", "advantages", "returns"):
        other[name][-1, -1] = 7
    chex.assert_trees_all_equal(JITTED(start(5, 6), prepared), JITTED(start(5, 6), other))


def test_during_warm_up_only_the_critic_moves_and_nothing_compiles_twice(prepared):
    update = ppo.make_update(toy.CONFIG, replace(SETTINGS, critic_warmup=1))
    chex.clear_trace_counter()
    warming = jax.jit(chex.assert_max_traces(update, n=1), donate_argnums=0)
    first, _ = warming(start(), prepared)
    chex.assert_trees_all_equal(first.policy, start().policy)
    assert not np.allclose(first.critic.params["head"]["kernel"], start().critic.params["head"]["kernel"])
    second, _ = warming(first, prepared)
    chex.assert_tree_all_finite(second)
    assert not np.allclose(second.policy.params["embed"], start().policy.params["embed"])
    assert (int(second.step), int(second.policy.step), int(second.critic.step)) == (2, 1, 2)


def test_a_critic_from_the_policy_expects_nothing(prepared):
    critic = ppo.critic_from_policy(toy.params(), toy.CONFIG)
    mask = jnp.asarray(prepared["mask"][0])
    assert not rollout.critic_values(critic, toy.CONFIG, SETTINGS, prepared["tokens"][0], mask).any()


def test_every_epoch_deals_the_rows_out_afresh(prepared):
    rows = {"mask": np.ones((2, 6, 1), bool), "row": np.arange(12).reshape(2, 6)}
    deal = partial(ppo.minibatches, rows, size=6, micro=3)
    epochs = [list(deal(seed=(0, 4, epoch))) for epoch in (0, 1)]
    for hands in epochs:
        assert [hand["row"].shape for hand in hands] == [(2, 3), (2, 3)]
        assert sorted(np.concatenate([hand["row"].ravel() for hand in hands])) == list(range(12))
    assert not np.array_equal(epochs[0][0]["row"], epochs[1][0]["row"])
    chex.assert_trees_all_equal(epochs[0], list(deal(seed=(0, 4, 0))))
    with pytest.raises(ValueError, match="12 rows do not divide"):
        next(ppo.minibatches(rows, seed=(0,), size=8, micro=4))
