"""PPO's batch from sampled replies: old log-probabilities, values, rewards, advantages (arXiv 1909.08593).

Every per-token array is `[..., T]` and aligned with the token it is about: `mask[b, t]` says that the policy
drew `tokens[b, t]`, `logprobs[b, t]` is that token's log-probability, `values[b, t]` the critic's estimate
before it was drawn. Nothing is drawn at t = 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from cai_jax.learn import kl, losses
from cai_jax.learn.advantages import gae, moments, whiten
from cai_jax.learn.grad_accumulation import Reduce, over
from cai_jax.learn.state import Batch, Metrics, Params
from cai_jax.models import decoder, heads, lora
from cai_jax.models.config import Config

if TYPE_CHECKING:
    from cai_jax.learn.ppo import PPO, PPOState

# Standard deviation below which scores are all alike, and paid as they are: dividing would only amplify rounding.
# Chosen, not measured.
ALIKE = 1e-3

# Entries of a prepared rollout that the update step reads.
BATCH = ("tokens", "mask", "logprobs", "values", "advantages", "returns")


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Frozen:
    """Parameters that PPO with adapters reads and never changes. The reference is `base` with `policy` on top.

    Attributes:
      base: decoder parameters that policy, critic and reference share.
      policy, critic: adapters that policy and critic start from, their scales folded in; {} for none.
    """

    base: Params
    policy: Params
    critic: Params


def whole(policy: Params, critic: Params, frozen: Frozen | None, scale: float) -> tuple[Params, Params]:
    """Return the parameters of policy and critic for the forward: the trained adapters on top of the frozen part.


    Args:
      policy, critic: trained parameters, whole or adapters.
      frozen: None where no adapters are trained; `policy` and `critic` come back as they are.
      scale: of the trained adapters (models/lora.py).
    """
    if frozen is None:
        return policy, critic
    below, under = lora.joined(frozen.base, frozen.policy), lora.joined(frozen.base, frozen.critic)
    return lora.joined(below, policy, scale), lora.joined({"decoder": under}, critic, scale)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class RunningStats:
    """Count, mean and sum of squared deviations of every score seen, float32 []."""

    count: jax.Array
    mean: jax.Array
    squares: jax.Array

    @staticmethod
    def create() -> RunningStats:
        """Return the statistics of no scores."""
        return RunningStats(*(jnp.zeros((), jnp.float32) for _ in range(3)))

    def merge(self, count: jax.Array, mean: jax.Array, variance: jax.Array) -> RunningStats:
        """Return the statistics with a batch's moments added (Chan, Golub and LeVeque's pairwise update).

        With n scores before and `count` new ones, δ = mean - self.mean: the mean grows by δ count / (n + count), the
        squares by variance · count + δ² n count / (n + count).

        Args:
          count, mean, variance: of the batch, float32 [] (`advantages.moments`).
        """
        together = jnp.maximum(self.count + count, 1.0)
        delta = mean - self.mean
        squares = self.squares + variance * count + jnp.square(delta) * self.count * count / together
        return RunningStats(self.count + count, self.mean + delta * count / together, squares)

    def std(self) -> jax.Array:
        """Standard deviation (dividing by the count), float32 []; 0 without scores."""
        return jnp.sqrt(self.squares / jnp.maximum(self.count, 1.0))


def policy_logprobs(
    params: Params, config: Config, settings: PPO, tokens: jax.Array, mask: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Compute log-probabilities of drawn tokens, and entropies, with the training forward at the sampling temperature.

    Policy, old policy and reference all use this function, so that none of them is compared at another
    temperature or by the sampler's arithmetic.

    Args:
      params: of the decoder.
      tokens: int32 [B, T]; mask: bool [B, T], the drawn tokens.

    Returns:
      float32 [B, T] each (nats), 0 where masked.
    """
    hidden = _hidden(params, config, settings, tokens, mask)
    found = losses.token_logprobs(
        decoder.unembedding(params, config),
        hidden[:, :-1],
        tokens[:, 1:],
        mask[:, 1:],
        temperature=settings.temperature,
        chunk=settings.chunk,
    )
    logprobs, entropies = (jnp.pad(x, ((0, 0), (1, 0))) for x in found)
    return logprobs, entropies


def critic_values(params: Params, config: Config, settings: PPO, tokens: jax.Array, mask: jax.Array) -> jax.Array:
    """Compute the critic's value before each drawn token, float32 [B, T], 0 where masked.

    Args:
      params: {"decoder": ..., "head": ...}.
      tokens: int32 [B, T]; mask: bool [B, T], the drawn tokens.
    """
    hidden = _hidden(params["decoder"], config, settings, tokens, mask)
    values = heads.score(params["head"], hidden[:, :-1].reshape(-1, hidden.shape[-1]))
    shifted = jnp.pad(values.reshape(tokens.shape[0], -1), ((0, 0), (1, 0)))
    return jnp.where(mask, shifted, 0.0)


def _hidden(params: Params, config: Config, settings: PPO, tokens: jax.Array, mask: jax.Array) -> jax.Array:
    """Final hidden states [B, T, D] of rows that end with their last drawn token."""
    lengths = jnp.max(jnp.where(mask, 1 + jnp.arange(mask.shape[1]), 1), axis=1)
    return decoder.hidden(
        params,
        config,
        tokens,
        lengths=lengths,
        dtype=settings.dtype,
        remat=settings.remat,
        looped=settings.looped,
    )


def make_logprobs(config: Config, settings: PPO, axis: str | None = None) -> Callable:
    """Make `(decoder params, batch) -> logprobs float32 [A, B, T]`, for the frozen reference.

    The batch holds tokens int32 and mask bool, `[A, B, T]`. `axis` is not used; `compile_step` passes it.
    """

    def logprobs(params: Params, batch: Batch) -> jax.Array:
        return jax.lax.map(
            lambda micro: policy_logprobs(params, config, settings, micro["tokens"], micro["mask"])[0],
            {"tokens": batch["tokens"], "mask": batch["mask"]},
        )

    return logprobs


def rewards(
    scores: jax.Array, logprobs: jax.Array, reference: jax.Array, mask: jax.Array, beta: jax.Array | float
) -> jax.Array:
    """Per-token reward: r_t = -β (log π_t - log π_ref,t), plus the score at the last drawn token.

    Summed over a reply this is score - β KL (arXiv 1909.08593, eq. 2; arXiv 2204.05862, eq. 4.1), with `kl.k1` as the
    estimate of the KL divergence.

    Args:
      scores: float [B]; kept in float32 whatever the dtype of the tokens.
      logprobs, reference: float32 [B, T], nats.
      mask: bool [B, T], the drawn tokens.
      beta: β, [], reward per nat.

    Returns:
      float32 [B, T], 0 where masked.

    Example:
      β = 0.1; log-ratios of 0.5 and -0.25; the score 2 comes with the last drawn token: 0.025 + 2.

      >>> import jax.numpy as jnp
      >>> import numpy as np
      >>> logprobs, reference = jnp.array([[0.0, -1.0, -2.0]]), jnp.array([[0.0, -1.5, -1.75]])
      >>> found = rewards(jnp.array([2.0]), logprobs, reference, jnp.array([[False, True, True]]), 0.1)
      >>> print(np.asarray(found, float).round(4))
      [[ 0.    -0.05   2.025]]
    """
    positions = jnp.arange(mask.shape[1])
    last = jnp.max(jnp.where(mask, positions, -1), axis=1)
    at_last = (positions == last[:, None]).astype(jnp.float32)
    charge = jnp.where(mask, -beta * kl.k1(logprobs, reference), 0.0)
    return charge + at_last * scores.astype(jnp.float32)[:, None]


def _shaped_scores(
    settings: PPO, stats: RunningStats, batch: Batch, real: jax.Array, total: Reduce
) -> tuple[jax.Array, RunningStats]:
    """The scores less the penalty for a missing end, scaled by their running deviation and clipped; and new stats."""
    shaped = batch["scores"].astype(jnp.float32) - settings.missing_eos_penalty * ~batch["ended"]
    if settings.scale_rewards:
        stats = stats.merge(*moments(shaped, real, total))
        spread = stats.std()
        # Scores that are all alike have no scale of their own; dividing by rounding errors would amplify these.
        shaped = shaped / jnp.where(spread > ALIKE, spread, 1.0)
    if settings.reward_clip is not None:
        shaped = jnp.clip(shaped, -settings.reward_clip, settings.reward_clip)
    return shaped, stats


def make_prepare(config: Config, settings: PPO, axis: str | None = None) -> Callable:
    """Make `(state: PPOState, rollout, frozen=None) -> (state, batch, metrics)`: all between sampling and the updates.

    The rollout is a dict: tokens int32 [A, B, T] (prompt, reply, padding), mask bool [A, B, T] (drawn tokens,
    the end token included), ended bool [A, B], scores float32 [A, B], reference float32 [A, B, T] (from
    `make_logprobs`). A row without a drawn token is filler and counts nowhere. The forward runs one
    micro-batch at a time; advantages are whitened over all A·B rows of all devices.

    The returned state has updated running reward statistics and the KL coefficient of the next rollout (`kl.control`);
    rewards are charged with the coefficient from before. The batch holds tokens, mask, logprobs, values, advantages
    and returns `[A, B, T]`, to be permuted and given to the update step.

    Metrics, float32 []: score and score_std (before shaping), shaped_score, reward (per reply, KL charged),
    kl and kl_k3 (nats per reply, against the reference), kl_coefficient, eos_rate, length (drawn tokens),
    entropy (nats), value and return (per token), explained_variance (1 - Var(return - value) / Var(return)), replies.
    """
    total = over(axis)

    def forward(policy: Params, critic: Params, micro: Batch) -> Batch:
        tokens, mask = micro["tokens"], micro["mask"]
        logprobs, entropy = policy_logprobs(policy, config, settings, tokens, mask)
        values = critic_values(critic, config, settings, tokens, mask)
        return {"logprobs": logprobs, "entropy": entropy, "values": values}

    def prepare(state: PPOState, rollout: Batch, frozen: Frozen | None = None) -> tuple[PPOState, Batch, Metrics]:
        shape = rollout["tokens"].shape
        inputs = {name: rollout[name] for name in ("tokens", "mask")}
        policy, critic = whole(state.policy.params, state.critic.params, frozen, settings.scale)
        forwarded = jax.lax.map(partial(forward, policy, critic), inputs)
        flat = {name: x.reshape(-1, *x.shape[2:]) for name, x in (rollout | forwarded).items()}
        flat["reference"] = jnp.where(flat["mask"], flat["reference"], 0.0)
        real = jnp.any(flat["mask"], axis=1)

        shaped, stats = _shaped_scores(settings, state.stats, flat, real, total)
        reward = rewards(shaped, flat["logprobs"], flat["reference"], flat["mask"], state.beta)
        paid = whiten(reward, flat["mask"], total, shift=False) if settings.whiten_rewards else reward
        advantages, returns = gae(paid, flat["values"], flat["mask"], gamma=settings.gamma, lam=settings.lam)
        flat |= {"shaped": shaped, "rewards": reward, "returns": returns}
        flat["advantages"] = whiten(advantages, flat["mask"], total)

        metrics = _metrics(flat, real, total) | {"kl_coefficient": state.beta}
        beta = kl.control(settings.kl, state.beta, metrics["kl"], metrics["replies"])
        batch = {name: flat[name].reshape(shape) for name in BATCH}
        return state.after_rollout(beta, stats), batch, metrics

    return prepare


def _metrics(flat: Batch, real: jax.Array, total: Reduce) -> dict[str, jax.Array]:
    """Metrics that `make_prepare` reports, from its flat arrays [N], [N, T] and the real rows `real` [N]."""
    mask, logprobs, reference = flat["mask"], flat["logprobs"], flat["reference"]
    replies, score, score_variance = moments(flat["scores"].astype(jnp.float32), real, total)
    tokens, mean_return, return_variance = moments(flat["returns"], mask, total)
    _, _, error_variance = moments(flat["returns"] - flat["values"], mask, total)
    per_reply = {
        "shaped_score": jnp.sum(flat["shaped"] * real),
        "reward": jnp.sum(flat["rewards"]),
        "kl": jnp.sum(jnp.where(mask, kl.k1(logprobs, reference), 0.0)),
        "kl_k3": jnp.sum(jnp.where(mask, kl.k3(logprobs, reference), 0.0)),
        "eos_rate": jnp.sum((flat["ended"] & real).astype(jnp.float32)),
        "length": jnp.sum(mask.astype(jnp.float32)),
    }
    per_token = {"entropy": jnp.sum(flat["entropy"]), "value": jnp.sum(flat["values"])}
    per_reply, per_token = total((per_reply, per_token))
    return (
        {name: x / jnp.maximum(replies, 1.0) for name, x in per_reply.items()}
        | {name: x / jnp.maximum(tokens, 1.0) for name, x in per_token.items()}
        | {
            "score": score,
            "score_std": jnp.sqrt(score_variance),
            "return": mean_return,
            "explained_variance": 1.0 - error_variance / jnp.maximum(return_variance, 1e-8),
            "replies": replies,
        }
    )
