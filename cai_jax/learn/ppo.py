"""Proximal policy optimisation of a score less a KL penalty (arXiv 1707.06347, 1909.08593).

The objective is E[r(x, y) - β KL(π || π_ref)] (arXiv 2204.05862, eq. 4.1). One iteration: the engine samples replies;
the stage scores them and takes the reference's log-probabilities (`rollout.make_logprobs`); `rollout.make_prepare`
computes rewards and advantages; then, for every epoch, `minibatches` shuffles the rows and `make_update` takes one
optimiser step on each minibatch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

from cai_jax.learn import chunks, grad_accumulation, kl, losses, optim
from cai_jax.learn.rollout import Frozen, RunningStats, critic_values, policy_logprobs, whole
from cai_jax.learn.state import Batch, Metrics, Params, TrainState
from cai_jax.models import decoder
from cai_jax.models.config import Config

# The ratio of a token is at most e^20: beyond e^88 float32 overflows, and gradients would be infinity times 0. Within
# that the bound is chosen, not measured.
_LOG_RATIO = 20.0


def adam(learning_rate: float, schedule: str = "constant", steps: int = 0) -> optim.Optim:
    """Adam with PPO's settings: β₂ 0.999, ε 1e-5 (arXiv 2403.17031), gradients clipped to a global norm of 1.

    Args:
      learning_rate: peak.
      schedule, steps: as in `optim.Optim`.
    """
    return optim.Optim(learning_rate, schedule=schedule, steps=steps, clip=1.0, b2=0.999, eps=1e-5)


@dataclass(frozen=True)
class PPO:
    """Static settings.

    Attributes:
      policy_optim, critic_optim: by default `adam`, not annealed.
      temperature: at which replies are sampled; divides the logits of policy, old policy and reference alike.
      kl: KL penalty.
      clip, value_clip, dual_clip: of the losses (`losses.clipped_policy`, `losses.clipped_value`).
      value_coef: weight of the value loss (c₁ of arXiv 1707.06347, eq. 9). The critic's own Adam cancels a constant
        factor, so that this acts through the critic's gradient clip only.
      gamma, lam: of the advantages.
      missing_eos_penalty: taken off the score of a reply that was cut off (arXiv 2403.17031).
      scale_rewards: divide scores by their running standard deviation (their mean stays).
      reward_clip: bound of the (scaled) score; None: no bound.
      whiten_rewards: scale rewards to variance 1 over the batch, without shifting their mean.
      critic_warmup: number of first update steps in which the policy stays as it is.
      dtype: of activations, "float32" or "bfloat16"; parameters and losses are float32.
      remat, looped: how layers are computed (`decoder.hidden`).
      chunk: positions of a row unembedded at a time.
      scale: of the adapters, if adapters are trained (models/lora.py).
    """

    # Clips, weight of the value loss, γ and λ are the defaults of the code of arXiv 1909.08593. The learning rates are
    # chosen, not measured.
    policy_optim: optim.Optim = adam(1e-5)
    critic_optim: optim.Optim = adam(1e-5)
    temperature: float = 1.0
    kl: kl.KL = kl.KL()
    clip: float = 0.2
    value_clip: float = 0.2
    value_coef: float = 0.1
    dual_clip: float | None = None
    gamma: float = 1.0
    lam: float = 0.95
    missing_eos_penalty: float = 0.0
    scale_rewards: bool = False
    reward_clip: float | None = None
    whiten_rewards: bool = False
    critic_warmup: int = 0
    dtype: str = "float32"
    remat: bool = False
    looped: bool = False
    chunk: int = chunks.PPO
    scale: float = 1.0


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class PPOState:
    """State that PPO carries from step to step, to be checkpointed whole.

    Attributes:
      policy: decoder parameters, or an adapter (`rollout.Frozen`), and optimiser.
      critic: {"decoder": ..., "head": ...} and optimiser.
      beta: KL coefficient, float32 [].
      stats: running statistics of the scores.
      step: update steps made, int32 [] (policy.step leaves out the critic's warm-up).
    """

    policy: TrainState
    critic: TrainState
    beta: jax.Array
    stats: RunningStats
    step: jax.Array

    @staticmethod
    def create(settings: PPO, policy: Params, critic: Params) -> PPOState:
        """Return the state before the first step; the arrays are copied."""
        return PPOState(
            TrainState.create(policy, optim.optimizer(settings.policy_optim)),
            TrainState.create(critic, optim.optimizer(settings.critic_optim)),
            jnp.asarray(settings.kl.coefficient, jnp.float32),
            RunningStats.create(),
            jnp.zeros((), jnp.int32),
        )

    def after_rollout(self, beta: jax.Array, stats: RunningStats) -> PPOState:
        """Return the state with the KL coefficient and the score statistics of a rollout."""
        return replace(self, beta=beta, stats=stats)


def critic_from_policy(policy: Params, config: Config) -> Params:
    """Return a critic with the policy's trunk (or an adapter's) and a head of zeros, whose values are 0 everywhere.

    A preference model serves as a critic as it is: {"decoder": its parameters, "head": its head}, as in arXiv
    2203.02155.

    Args:
      policy: decoder parameters, or an adapter.
      config: of the decoder; its hidden_size D is the head's width.

    Returns:
      {"decoder": ..., "head": {"kernel" [D], "bias" []}}, the head float32.
    """
    kernel = jnp.zeros((config.hidden_size,), jnp.float32)
    return {"decoder": decoder.trunk(policy), "head": {"kernel": kernel, "bias": jnp.zeros((), jnp.float32)}}


def minibatches(
    batch: Mapping[str, np.ndarray], *, seed: tuple[int, ...], size: int, micro: int
) -> Iterator[dict[str, np.ndarray]]:
    """Yield the rows of a prepared batch in random minibatches: call it once per epoch, each time with another seed.

    Args:
      batch: arrays `[A, B, ...]` with A·B rows.
      seed: integers that name this permutation, for example (run seed, iteration, epoch).
      size: rows of a minibatch, one optimiser step. micro: rows of a micro-batch, a divisor of `size`.

    Yields:
      dicts of `[size / micro, micro, ...]`.

    Raises:
      ValueError: the rows do not divide evenly.
    """
    rows = {name: np.asarray(x).reshape(-1, *x.shape[2:]) for name, x in batch.items()}
    count = len(rows["mask"])
    if count % size or size % micro:
        raise ValueError(f"{count} rows do not divide into minibatches of {size}, micro-batches of {micro}")
    order = np.random.default_rng(seed).permutation(count)
    for start in range(0, count, size):
        chosen = order[start : start + size]
        yield {name: x[chosen].reshape(size // micro, micro, *x.shape[1:]) for name, x in rows.items()}


def _sums(
    ratio: jax.Array,
    log_ratio: jax.Array,
    entropy: jax.Array,
    mask: jax.Array,
    policy_clipped: jax.Array,
    value_clipped: jax.Array,
) -> grad_accumulation.Sums:
    """Sums over drawn tokens from which the metrics of an update are computed."""
    per_token = {
        "ratio": ratio,
        "square": jnp.square(ratio - 1.0),
        # Only the difference counts: the old policy's log-probability is taken as 0, the new one's as the ratio's.
        "approx_kl": kl.k1(0.0, log_ratio),
        "approx_kl_k3": kl.k3(0.0, log_ratio),
        "clip_fraction": policy_clipped.astype(jnp.float32),
        "value_clip_fraction": value_clipped.astype(jnp.float32),
        "entropy": entropy,
    }
    return {name: jnp.sum(jnp.where(mask, x, 0.0)) for name, x in per_token.items()}


def _make_loss(config: Config, settings: PPO) -> Callable:
    """Make `loss(params, micro, count, frozen) -> (loss [], sums)`: the loss of `make_update` on one micro-batch."""

    def loss(
        params: Params, micro: Batch, count: jax.Array, frozen: Frozen | None
    ) -> tuple[jax.Array, grad_accumulation.Sums]:
        tokens, mask = micro["tokens"], micro["mask"]
        policy, critic = whole(params["policy"], params["critic"], frozen, settings.scale)
        logprobs, entropy = policy_logprobs(policy, config, settings, tokens, mask)
        values = critic_values(critic, config, settings, tokens, mask)
        log_ratio = jnp.where(mask, logprobs - micro["logprobs"], 0.0).clip(-_LOG_RATIO, _LOG_RATIO)
        ratio = jnp.exp(log_ratio)
        policy_loss, policy_clipped = losses.clipped_policy(
            ratio, micro["advantages"], clip=settings.clip, dual_clip=settings.dual_clip
        )
        value_loss, value_clipped = losses.clipped_value(
            values, micro["values"], micro["returns"], clip=settings.value_clip
        )
        sums = _sums(ratio, log_ratio, entropy, mask, policy_clipped, value_clipped)
        sums["policy_loss"] = jnp.sum(jnp.where(mask, policy_loss, 0.0))
        sums["value_loss"] = jnp.sum(jnp.where(mask, value_loss, 0.0))
        return (sums["policy_loss"] + settings.value_coef * sums["value_loss"]) / count, sums

    return loss


def make_update(config: Config, settings: PPO, axis: str | None = None) -> Callable:
    """Make the update step `(state: PPOState, minibatch, frozen=None) -> (state, metrics)`.

    It minimises (Σ L_clip + value_coef · Σ L_value) / N over the drawn tokens (arXiv 1707.06347, eq. 9 without the
    entropy bonus), N their number in all micro-batches and devices. Policy and critic have a trunk, an optimiser and a
    gradient clip each.

    The minibatch is a dict of `[A, B, T]`: tokens int32, mask bool, logprobs (old), values (old), advantages
    (whitened) and returns float32.

    Args:
      axis: name of the mapped axis under `jax.pmap`, else None.

    Metrics, float32 []: policy_loss, value_loss, entropy (nats per token), approx_kl and approx_kl_k3 (nats
    per token, against the old policy), ratio_mean, ratio_var (about 1), clip_fraction, value_clip_fraction, grad_norm,
    critic_grad_norm, learning_rate, tokens; and finite, bool [leaves of {"critic", "policy"}], of the gradient.
    """
    policy_optimizer = optim.optimizer(settings.policy_optim)
    critic_optimizer = optim.optimizer(settings.critic_optim)
    rate, total = optim.schedule(settings.policy_optim), grad_accumulation.over(axis)
    loss = _make_loss(config, settings)

    def update(state: PPOState, minibatch: Batch, frozen: Frozen | None = None) -> tuple[PPOState, Metrics]:
        tokens = total(jnp.sum(minibatch["mask"].astype(jnp.float32)))
        count = jnp.maximum(tokens, 1.0)
        params = {"policy": state.policy.params, "critic": state.critic.params}
        share = partial(loss, count=count, frozen=frozen)
        grads, _, sums = grad_accumulation.gradients(share, params, minibatch, total)

        policy = state.policy.update(policy_optimizer, grads["policy"])
        if settings.critic_warmup:
            warm = state.step >= settings.critic_warmup
            policy = jax.tree.map(lambda new, old: jnp.where(warm, new, old), policy, state.policy)
        critic = state.critic.update(critic_optimizer, grads["critic"])
        means = {name: value / count for name, value in sums.items()}
        ratio = means.pop("ratio")
        metrics = means | {
            "ratio_mean": ratio,
            "ratio_var": means.pop("square") - jnp.square(ratio - 1.0),
            "grad_norm": optax.tree.norm(grads["policy"]),
            "critic_grad_norm": optax.tree.norm(grads["critic"]),
            "finite": grad_accumulation.finite(grads),
            "learning_rate": jnp.asarray(rate(state.policy.step), jnp.float32),
            "tokens": tokens,
        }
        return replace(state, policy=policy, critic=critic, step=state.step + 1), metrics

    return update
