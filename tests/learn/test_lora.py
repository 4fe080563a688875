"""Steps that train adapters, against the same steps on the full-rank weights."""

import re
from dataclasses import replace

import chex
import jax
import numpy as np
import pytest

from cai_jax.learn import dpo, optim, ppo, preference, rollout, sft
from cai_jax.learn.kl import KL
from cai_jax.learn.state import TrainState
from cai_jax.models import heads, lora
from tests.learn import _toy as toy

OPTIM = optim.Optim(1e-2, clip=0.0)
SCALE = 1.5
BASE = toy.params(0)
EARLIER = toy.adapter(7, 2)  # of the reference, and of the preference model that the critic starts from
HEAD = heads.init_head(toy.CONFIG, jax.random.key(9))
SFT = sft.SFT(OPTIM, chunk=4, scale=SCALE)
PREFERENCE = preference.Preference(OPTIM, scale=SCALE)
DPO = dpo.DPO(OPTIM, beta=0.5, anchor=0.1, chunk=4, scale=SCALE)
PPO = ppo.PPO(OPTIM, OPTIM, kl=KL(0.1), chunk=4, scale=SCALE)
FROZEN = rollout.Frozen(BASE, EARLIER, toy.adapter(8, 1))


def whole(policy, critic):
    """Policy and critic as full-rank weights."""
    both = rollout.whole(policy, critic, FROZEN, SCALE)
    return lora.merged(both[0]), lora.merged(both[1])


def state(params):
    return TrainState.create(params, optim.optimizer(OPTIM))


def gradient(trained):
    """What Adam saw: after one step its first moment is (1 - b1) times the gradient."""
    (adam,) = [
        part for part in jax.tree.leaves(trained.opt_state, is_leaf=lambda x: hasattr(x, "mu")) if hasattr(part, "mu")
    ]
    return jax.tree.map(lambda moment: np.asarray(moment) / (1 - OPTIM.b1), adam.mu)


def ppo_state(policy, critic):
    return ppo.PPOState.create(PPO, policy, critic)


def by_sft():
    step, batch, adapter = jax.jit(sft.make_step(toy.CONFIG, SFT)), toy.documents(2, 3), toy.adapter()
    below = lora.joined(BASE, EARLIER)
    low, metrics = step(state(adapter), batch, below)
    full, wanted = step(state(lora.merged(lora.joined(below, adapter, SCALE))), batch)
    return [(gradient(low), gradient(full), adapter)], metrics, wanted


def by_preference():
    step, batch, adapter = jax.jit(preference.make_step(toy.CONFIG, PREFERENCE)), toy.pairs(2, 3), toy.adapter()
    low, metrics = step(state({"decoder": adapter, "head": HEAD}), batch, {"decoder": BASE})
    full, wanted = step(state({"decoder": lora.merged(lora.joined(BASE, adapter, SCALE)), "head": HEAD}), batch)
    found = gradient(low), gradient(full)
    chex.assert_trees_all_close(found[0]["head"], found[1]["head"], rtol=1e-4, atol=1e-7)
    return [(found[0]["decoder"], found[1]["decoder"], adapter)], metrics, wanted


def by_dpo():
    step, batch, adapter = jax.jit(dpo.make_step(toy.CONFIG, DPO)), toy.replies(2, 3), toy.adapter()
    below = lora.joined(BASE, EARLIER)
    low, metrics = step(state(adapter), batch, below)
    full, wanted = step(state(lora.merged(lora.joined(below, adapter, SCALE))), batch)
    return [(gradient(low), gradient(full), adapter)], metrics, wanted


def by_ppo():
    policy, critic = toy.adapter(1), {"decoder": toy.adapter(2, 2), "head": HEAD}
    full_policy, full_critic = whole(policy, critic)
    drawn = toy.rollout(2, 3)
    reference = jax.jit(rollout.make_logprobs(toy.CONFIG, PPO))(lora.joined(BASE, EARLIER), drawn)
    prepare, update = (jax.jit(make(toy.CONFIG, PPO)) for make in (rollout.make_prepare, ppo.make_update))
    low, batch, metrics = prepare(ppo_state(policy, critic), drawn | {"reference": reference}, FROZEN)
    full, other, wanted = prepare(ppo_state(full_policy, full_critic), drawn | {"reference": reference})
    chex.assert_trees_all_close(batch, other, atol=2e-5)
    batch["logprobs"] = batch["logprobs"] + 0.1 * batch["mask"]  # off the policy, so that ratios are not all one
    low, found = update(low, batch, FROZEN)
    full, more = update(full, batch)
    cases = [
        (gradient(low.policy), gradient(full.policy), policy),
        (gradient(low.critic)["decoder"], gradient(full.critic)["decoder"], critic["decoder"]),
    ]
    # Norms are those of what is trained, and so are its leaves.
    names = [name for name in found if not name.endswith("grad_norm") and name != "finite"]
    return cases, metrics | {n: found[n] for n in names}, wanted | {n: more[n] for n in names}


@pytest.mark.parametrize("by", [by_sft, by_preference, by_dpo, by_ppo])
def test_gradients_follow_from_the_full_rank_one_by_the_chain_rule(by):
    cases, metrics, wanted = by()
    for name in wanted.keys() - {"grad_norm", "finite"}:
        assert float(metrics[name]) == pytest.approx(float(wanted[name]), rel=1e-4, abs=1e-5), name
    for low, full, adapter in cases:
        chex.assert_trees_all_equal_structs(low, adapter)  # nothing of the base has a gradient
        for layer, parts in low.items():
            for part, sides in parts.items():
                for name in {name.removesuffix("_a").removesuffix("_b") for name in sides}:
                    of_w = full[layer][part][name]
                    a, b = (adapter[layer][part][f"{name}{side}"] for side in lora.SIDES)
                    assert abs(of_w).max() > 1e-5
                    np.testing.assert_allclose(sides[f"{name}_a"], SCALE * of_w @ b.T, rtol=1e-3, atol=2e-6)
                    np.testing.assert_allclose(sides[f"{name}_b"], SCALE * a.T @ of_w, rtol=1e-3, atol=2e-6)


def test_at_the_start_of_ppo_the_policy_is_the_reference():
    fresh = lora.init(BASE, 3, jax.random.key(1))
    policy, _ = rollout.whole(fresh, {"decoder": fresh, "head": HEAD}, FROZEN, SCALE)
    drawn = toy.rollout(2, 3)
    logprobs = jax.jit(rollout.make_logprobs(toy.CONFIG, PPO))
    # Up to rounding: the adapter's zeros are more columns to sum over, which another version of XLA sums otherwise.
    chex.assert_trees_all_close(logprobs(policy, drawn), logprobs(lora.joined(BASE, EARLIER), drawn), rtol=3e-7)


def test_steps_leave_what_is_frozen_as_it_is():
    before = jax.tree.map(np.array, FROZEN)
    fresh = lora.init(BASE, 3, jax.random.key(1))
    now = ppo_state(fresh, {"decoder": fresh, "head": HEAD})
    prepare, update = (
        jax.jit(make(toy.CONFIG, PPO), donate_argnums=0) for make in (rollout.make_prepare, ppo.make_update)
    )
    for seed in range(3):
        now, batch, _ = prepare(now, toy.rollout(2, 3, seed), FROZEN)
        now, _ = update(now, batch, FROZEN)
    chex.assert_trees_all_equal(jax.tree.map(np.array, FROZEN), before)
    assert int(now.step) == 3 and now.policy.params["layers_0"]["mlp"]["up_proj_b"].any()
    # What a checkpoint holds: adapters, a head, two moments of each.
    size = sum(leaf.size for leaf in jax.tree.leaves(fresh))
    trained = 2 * size + toy.CONFIG.hidden_size + 1
    assert sum(leaf.size for leaf in jax.tree.leaves(now)) < 3 * trained + 16


@pytest.mark.parametrize("frozen", [True, False])
def test_a_frozen_unembedding_costs_no_gradient(frozen):
    config = replace(toy.CONFIG, vocab_size=4096, tie_embeddings=False)
    base = toy.params(0, config)
    trained, below = (toy.adapter(), base) if frozen else (base, None)
    compiled = jax.jit(sft.make_step(config, SFT)).lower(state(trained), toy.documents(1, 2), below).compile()
    loops = re.findall(r"= \((.*?)\) while\(", compiled.as_text())
    # The loop over blocks reads the unembedding, and going back sums up its gradient where it has one.
    assert max(loop.count("f32[16,4096]") for loop in loops) == (1 if frozen else 2)


def test_it_learns():
    step, below = jax.jit(sft.make_step(toy.CONFIG, SFT), donate_argnums=0), toy.params()
    now, seen = state(lora.init(below, 4, jax.random.key(1))), []
    for seed in (0, 1, 0, 1, 0, 1, 0):
        now, metrics = step(now, toy.documents(2, 3, seed), below)
        seen.append(float(metrics["loss"]))
    assert seen[-1] < 0.9 * seen[0]
