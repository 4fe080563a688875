"""The preference model: Bradley-Terry loss on soft labels, scores read at the last real token.

The model is that of arXiv 2204.05862 (§3), the soft labels those of arXiv 2212.08073 (§4.1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax

from cai_jax.learn import grad_accumulation, losses, optim
from cai_jax.learn.state import Batch, Metrics, Params, TrainState
from cai_jax.models import decoder, heads, lora
from cai_jax.models.config import Config


@dataclass(frozen=True)
class Preference:
    """Static settings of the preference step.

    Attributes:
      optim: the optimiser.
      dtype: of activations. remat, looped: how layers are computed (`decoder.hidden`).
      scale: of the adapter, if one is trained (models/lora.py).
    """

    optim: optim.Optim
    dtype: str = "float32"
    remat: bool = False
    looped: bool = False
    scale: float = 1.0


def scores(
    params: Params,
    config: Config,
    tokens: jax.Array,
    lengths: jax.Array,
    *,
    dtype: str = "float32",
    remat: bool = False,
    looped: bool = False,
) -> jax.Array:
    """Compute the raw score of each row, float32 [...], from the hidden state of its last real token (models/heads.py).

    Args:
      params: {"decoder": ..., "head": ...}.
      tokens: int32 [..., T], right-padded; tokens after the last real one have no influence.
      lengths: int32 [...], real tokens of each row, at least 1.
      dtype, remat, looped: of `decoder.hidden`.
    """
    flat, ends = tokens.reshape(-1, tokens.shape[-1]), lengths.reshape(-1)
    trunk = params["decoder"]
    hidden = decoder.hidden(trunk, config, flat, lengths=ends, dtype=dtype, remat=remat, looped=looped)
    last = jnp.maximum(lengths.reshape(-1) - 1, 0)
    at_last = jnp.take_along_axis(hidden, last[:, None, None], axis=1)[:, 0]
    return heads.score(params["head"], at_last).reshape(lengths.shape)


def _sums(both: jax.Array, p: jax.Array, weights: jax.Array) -> tuple[jax.Array, grad_accumulation.Sums]:
    """Sum over pairs of losses and of what the metrics are made from; scores `both` [B, 2], p and weights [B]."""
    first, second = both[:, 0], both[:, 1]
    decided = weights * (p != 0.5)
    sums = {
        "right": jnp.sum(decided * jnp.where(first == second, 0.5, (first > second) == (p > 0.5))),
        "decided": jnp.sum(decided),
        "margin": jnp.sum(weights * jnp.abs(first - second)),
        "score": jnp.sum(weights[:, None] * both),
        "square": jnp.sum(weights[:, None] * jnp.square(both)),
        "weight": jnp.sum(weights),
    }
    return jnp.sum(weights * losses.bradley_terry(first, second, p)), sums


def make_step(config: Config, settings: Preference, axis: str | None = None) -> Callable:
    """Make the step `(state: TrainState, batch, frozen=None) -> (state, metrics)`.

    The parameters are {"decoder": ..., "head": ...}. With frozen parameters {"decoder": ...}, the state's decoder is an
    adapter on top of them.

    The batch is a dict: tokens int32 [A, B, 2, T] (the two replies, each after their prompt), lengths int32 [A, B, 2],
    p float32 [A, B] (probability that the first is better), weights float32 [A, B] (0 for filler; of mean 1 over the
    data). The loss is Σ w · L(s_1, s_2, p) / N, with L from `losses.bradley_terry` and N the number of pairs with a
    weight over all micro-batches and devices. It is not divided by the batch's own sum of weights: that would undo the
    weight of a pair that is alone in a batch.

    Args:
      axis: name of the mapped axis under `jax.pmap`, else None.

    Metrics, float32 []: loss (nats per pair), accuracy (share of decided pairs, p != 1/2, ordered as their label
    says; one that the scores do not order counts half), margin (mean |s_1 - s_2|), score_mean, score_std, weight (the
    sum), grad_norm, learning_rate; and finite, bool [leaves of params], of the gradient.
    """
    optimizer, rate = optim.optimizer(settings.optim), optim.schedule(settings.optim)
    total = grad_accumulation.over(axis)

    def step(state: TrainState, batch: Batch, frozen: Params | None = None) -> tuple[TrainState, Metrics]:
        count = jnp.maximum(total(jnp.sum(batch["weights"] > 0)), 1)

        def share(trained: Params, micro: Batch) -> tuple[jax.Array, grad_accumulation.Sums]:
            params = lora.joined(frozen, trained, settings.scale)
            both = scores(
                params,
                config,
                micro["tokens"],
                micro["lengths"],
                dtype=settings.dtype,
                remat=settings.remat,
                looped=settings.looped,
            )
            loss, sums = _sums(both, micro["p"], micro["weights"])
            return loss / count, sums

        grads, value, sums = grad_accumulation.gradients(share, state.params, batch, total)
        weight = jnp.maximum(sums["weight"], 1e-8)
        mean = sums["score"] / (2 * weight)
        metrics = {
            "loss": value,
            "accuracy": sums["right"] / jnp.maximum(sums["decided"], 1e-8),
            "margin": sums["margin"] / weight,
            "score_mean": mean,
            "score_std": jnp.sqrt(jnp.maximum(sums["square"] / (2 * weight) - jnp.square(mean), 0.0)),
            "weight": sums["weight"],
            "grad_norm": optax.tree.norm(grads),
            "finite": grad_accumulation.finite(grads),
            "learning_rate": jnp.asarray(rate(state.step), jnp.float32),
        }
        return state.update(optimizer, grads, sums["weight"] / count), metrics

    return step
