"""An iteration of PPO from shapes alone (parts/steps.py), as parts/reinforcing.py runs it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import jax

from cai_jax.engine import buckets
from cai_jax.learn import ppo, rollout
from cai_jax.parallel.step import PREPARE, ROWWISE
from cai_jax.stages.parts import described
from cai_jax.stages.parts.devices import devices_of
from cai_jax.stages.parts.reinforcing import settings_of, updates_of
from cai_jax.stages.parts.steps import Described, Step, abstract
from cai_jax.stages.parts.training import compiled


def iteration(ctx: Described) -> list[Step]:
    """Sampling, scoring, the reference's log-probabilities, preparing the rollout, and the update."""
    p, model = ctx.params, ctx.model("model", trained=True)
    scorers = {"reward": ctx.models("reward")}
    if ctx.inputs.get("watch") is not None:
        scorers["watch"] = ctx.models("watch")
    learned = _learned(ctx, model, scorers["reward"])
    state = learned[-1].given["state"]
    held = ctx.held() | {"policy and critic with their optimisers": state}
    replies = p["steps"] * p["batch"]
    # Replies come from a copy of the policy in the layout and the dtype in which it will be used.
    drawing = abstract(model.config, model.params["embed"].dtype.name, devices_of(ctx), trained=False, scored=False)
    found = described.writing(ctx, drawing, "sample", replies, ctx.prompt, exact=True, held=held)
    for name, models in scorers.items():
        for each in models:
            found += described.scores(ctx, each, f"score by {ctx.inputs[name].label}", replies, held)
    return found + [step.beside(held) for step in learned]


def _learned(ctx: Described, model, scorers) -> list[Step]:
    """The steps of `learn`."""
    p, config, settings = ctx.params, model.config, settings_of(ctx, model)
    reference = compiled(ctx, partial(rollout.make_logprobs, config, settings), ROWWISE)
    prepare = compiled(ctx, partial(rollout.make_prepare, config, settings), PREPARE)
    update = compiled(ctx, partial(ppo.make_update, config, settings))
    state = _state(p, model, scorers, settings)

    length = min(buckets.eighth(ctx.prompt + p["max_new"]), config.max_position)
    real = ((length,), "float32")
    read = {"tokens": ((length,), "int32"), "mask": ((length,), "bool")}
    told = {"ended": ((), "bool"), "scores": ((), "float32"), "reference": real}
    taken = read | {name: real for name in rollout.BATCH if name not in read}
    rolled = partial(described.batch, ctx, p["batch"])
    minibatch = described.batch(ctx, p["minibatch"] or p["batch"], **taken)
    updates = p["steps"] * updates_of(p)
    # The reference is the model as it was loaded, which lies where the step wants it.
    frozen = described.training("reference", reference, p["steps"], model.params, rolled(**read), {}, settings.chunk)
    lower = partial(reference.lower, model.params, frozen.given["batch"])
    return [
        replace(frozen, given=dict(frozen.given) | {"state": model.params}, lower=lower),
        described.training("prepare", prepare, p["steps"], state, rolled(**read, **told), {}, settings.chunk),
        described.training("update", update, updates, state, minibatch, {}, settings.chunk),
    ]


def _state(params, model, scorers, settings: ppo.PPO) -> ppo.PPOState:
    """The state, its critic from where the parameters say, if the preference model's shape allows."""

    def wide(tree):
        return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, "float32"), tree)

    scorer, *others = scorers
    lent = params["critic"] == "reward" and scorer.config == model.config and not others

    def start(policy, critic):
        critic = ppo.critic_from_policy(policy, model.config) if critic is None else critic
        return ppo.PPOState.create(settings, policy, critic)

    critic = {"decoder": wide(scorer.params), "head": wide(scorer.head)} if lent else None
    return jax.eval_shape(start, wide(model.params), critic)
