"""The supervised step: next-token cross-entropy on the trained tokens of packed rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax

from cai_jax.learn import chunks, grad_accumulation, losses, optim
from cai_jax.learn.state import Batch, Metrics, Params, TrainState
from cai_jax.models import decoder, lora
from cai_jax.models.config import Config


@dataclass(frozen=True)
class SFT:
    """Static settings of the supervised step.

    Attributes:
      optim: the optimiser.
      dtype: of activations, "float32" or "bfloat16"; parameters and loss stay float32.
      remat, looped: how layers are computed (`decoder.hidden`).
      chunk: positions of a row unembedded at a time.
      scale: of the adapter, if one is trained (models/lora.py).
    """

    optim: optim.Optim
    dtype: str = "float32"
    remat: bool = False
    looped: bool = False
    chunk: int = chunks.SFT
    scale: float = 1.0


def predicted(batch: Batch) -> jax.Array:
    """Weight of predicting each next token, float32 [..., T-1].

    `weights[..., t]` belongs to the token at t. The first token of a segment has weight 0, since what precedes it
    is another document, and so has padding (segment 0).

    Args:
      batch: segments int32 [..., T] and weights float [..., T].

    Example:
      Two documents and a position of padding.

      >>> import jax.numpy as jnp
      >>> print(predicted({"segments": jnp.array([1, 1, 2, 2, 0]), "weights": jnp.ones(5)}))
      [1. 0. 1. 0.]
    """
    segments = batch["segments"]
    same = (segments[..., 1:] == segments[..., :-1]) & (segments[..., 1:] != 0)
    return jnp.where(same, batch["weights"][..., 1:], 0.0).astype(jnp.float32)


def make_loss(config: Config, settings: SFT) -> Callable[[Params, Batch], tuple[jax.Array, jax.Array]]:
    """Make `loss(params, batch) -> (-Σ w log p(token) [], Σ w [])`, the weighted cross-entropy in nats.

    The batch is that of `make_step`, but for the axis of micro-batches: rows `[B, T]`.
    """

    def loss(params: Params, batch: Batch) -> tuple[jax.Array, jax.Array]:
        tokens, weights = batch["tokens"], predicted(batch)
        hidden = decoder.hidden(
            params,
            config,
            tokens,
            positions=batch["positions"],
            segments=batch["segments"],
            dtype=settings.dtype,
            remat=settings.remat,
            looped=settings.looped,
        )
        logprobs, _ = losses.token_logprobs(
            decoder.unembedding(params, config),
            hidden[:, :-1],
            tokens[:, 1:],
            weights != 0,
            chunk=settings.chunk,
        )
        return -jnp.sum(weights * logprobs), jnp.sum(weights)

    return loss


def make_step(config: Config, settings: SFT, axis: str | None = None) -> Callable:
    """Make the step `(state: TrainState, batch, frozen=None) -> (state, metrics)`.

    With frozen parameters, a decoder's, the state's are an adapter on top of them.

    The batch is a dict of `[A, B, T]`: tokens, segments (0 = padding) and positions int32, weights float32 (>= 0, of
    each token as a target; of mean 1 over the trained tokens of the data). The loss is Σ w · (-log p) / N, with N the
    number of tokens with a weight over all micro-batches and devices, so that any split into micro-batches gives the
    same update. It is not divided by the batch's own sum of weights: that would undo the weight of a token that is
    alone in a batch. An all-zero batch gives a loss of 0 and zero gradients.

    Args:
      axis: name of the mapped axis under `jax.pmap`, else None.

    Metrics, float32 []: loss (nats per token), weight (the sum), grad_norm, learning_rate; and finite, bool
    [leaves of params], of the gradient.
    """
    loss, total = make_loss(config, settings), grad_accumulation.over(axis)
    optimizer, rate = optim.optimizer(settings.optim), optim.schedule(settings.optim)

    def step(state: TrainState, batch: Batch, frozen: Params | None = None) -> tuple[TrainState, Metrics]:
        count = jnp.maximum(total(jnp.sum(predicted(batch) > 0)), 1)

        def share(params: Params, micro: Batch) -> tuple[jax.Array, grad_accumulation.Sums]:
            value, weight = loss(lora.joined(frozen, params, settings.scale), micro)
            return value / count, {"weight": weight}

        grads, value, sums = grad_accumulation.gradients(share, state.params, batch, total)
        metrics = {
            "loss": value,
            "weight": sums["weight"],
            "grad_norm": optax.tree.norm(grads),
            "finite": grad_accumulation.finite(grads),
            "learning_rate": jnp.asarray(rate(state.step), jnp.float32),
        }
        return state.update(optimizer, grads, sums["weight"] / count), metrics

    return step
