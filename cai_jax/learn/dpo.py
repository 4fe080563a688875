"""Direct preference optimisation on soft labels: a policy from pairs, without a preference model (arXiv 2305.18290).

The log-ratio of the policy to the one that training started from is the reward: r(x, y) = β log π(y|x) / π_ref(y|x),
up to a term of the prompt alone (eq. 5), so that the loss of preference models (`losses.bradley_terry`) becomes one of
the policy (eq. 7). The reference's log-probabilities are taken once, before training (`make_logprobs`).
"""

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
class DPO:
    """Static settings of the step.

    Attributes:
      optim: the optimiser.
      beta: β, reward per nat; per nat and token where log-ratios are normalised.
      normalize: divide the log-ratio of a reply by its tokens (arXiv 2411.15124 §5).
      anchor: weight of the loss per token of the replies that are preferred (as in arXiv 2404.19733, eq. 1).
      dtype: of activations, "float32" or "bfloat16"; parameters and loss stay float32.
      remat, looped: how layers are computed (`decoder.hidden`).
      chunk: positions of a row unembedded at a time.
      scale: of the adapter, if one is trained (models/lora.py).
    """

    optim: optim.Optim
    beta: float = 0.1
    normalize: bool = False
    anchor: float = 0.0
    dtype: str = "float32"
    remat: bool = False
    looped: bool = False
    chunk: int = chunks.DPO
    scale: float = 1.0


def reply_logprobs(
    params: Params, config: Config, settings: DPO, tokens: jax.Array, mask: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Compute log π(reply | prompt) of each row in nats, and the number of its tokens, float32 [...] each.

    Policy and reference both use this function, so that they differ by their weights alone.

    Args:
      params: of the decoder.
      tokens: int32 [..., T], right-padded. mask: bool [..., T], the tokens of the reply, its end among them; a row
        without any is filler: 0, of 0 tokens.
    """
    rows, kept = tokens.reshape(-1, tokens.shape[-1]), mask.reshape(-1, mask.shape[-1])
    lengths = jnp.max(jnp.where(kept, 1 + jnp.arange(kept.shape[1]), 1), axis=1)
    hidden = decoder.hidden(
        params,
        config,
        rows,
        lengths=lengths,
        dtype=settings.dtype,
        remat=settings.remat,
        looped=settings.looped,
    )
    logprobs, _ = losses.token_logprobs(
        decoder.unembedding(params, config), hidden[:, :-1], rows[:, 1:], kept[:, 1:], chunk=settings.chunk
    )
    counts = jnp.sum(kept[:, 1:].astype(jnp.float32), axis=1)
    return jnp.sum(logprobs, axis=1).reshape(mask.shape[:-1]), counts.reshape(mask.shape[:-1])


def rewards(
    logprobs: jax.Array, reference: jax.Array, counts: jax.Array, *, beta: float, normalize: bool = False
) -> jax.Array:
    """Compute the reward that a policy gives a reply, β (log π - log π_ref) (arXiv 2305.18290, eq. 5 without its Z).

    Args:
      logprobs, reference: log-probabilities of replies, float [...], nats.
      counts: tokens of the replies, float [...].
      beta: β.
      normalize: divide by `counts`.

    Returns:
      float [...].

    Example:
      A reply of four tokens is log 3 = 1.0986 nats more likely than under the reference.

      >>> import jax.numpy as jnp
      >>> given = jnp.log(3.0), jnp.float32(0.0), jnp.float32(4.0)
      >>> print(f"{rewards(*given, beta=0.1):.4f} {rewards(*given, beta=2.0, normalize=True):.4f}")
      0.1099 0.5493
    """
    ratio = logprobs - reference
    return beta * (ratio / jnp.maximum(counts, 1.0) if normalize else ratio)


def preference_loss(
    logprobs: jax.Array,
    reference: jax.Array,
    counts: jax.Array,
    p: jax.Array,
    *,
    beta: float,
    normalize: bool = False,
    anchor: float = 0.0,
) -> jax.Array:
    """Compute -p log σ(h) - (1 - p) log σ(-h), h = r(first) - r(second) (`rewards`), plus what anchors the policy.

    With a hard label p and without an anchor, this is eq. 7 of arXiv 2305.18290. It is minimal where σ(h) = p, so that
    a label of one half holds the policy at the reference's odds of the two replies. The anchor is the weight of
    -log π / tokens of the reply that the label prefers; one half prefers none.

    Args:
      logprobs, reference: log-probabilities of both replies, float [..., 2], nats.
      counts: their tokens, float [..., 2].
      p: probability that the first is better, float [...].
      beta, normalize: of `rewards`.
      anchor: weight, at least 0.

    Returns:
      float [...], nats.

    Example:
      β = 1, and against the reference the first has gained log 3: σ(log 3) = 3/4. A hard label costs -log(3/4) =
      0.2877, and a label of 3/4 its entropy, 0.5623. Of 2 nats in 4 tokens an anchor of 0.1 adds 0.05.

      >>> import jax.numpy as jnp
      >>> import numpy as np
      >>> logprobs = jnp.broadcast_to(jnp.array([-2.0, -5.0]), (2, 2))
      >>> reference = logprobs - jnp.array([jnp.log(3.0), 0.0])
      >>> given = logprobs, reference, jnp.full((2, 2), 4.0), jnp.array([1.0, 0.75])
      >>> print(np.asarray(preference_loss(*given, beta=1.0), float).round(4))
      [0.2877 0.5623]
      >>> print(np.asarray(preference_loss(*given, beta=1.0, anchor=0.1), float).round(4))
      [0.3377 0.6123]
    """
    first, second = jnp.moveaxis(rewards(logprobs, reference, counts, beta=beta, normalize=normalize), -1, 0)
    return losses.bradley_terry(first, second, p) + anchor * jnp.where(p == 0.5, 0.0, _surprise(logprobs, counts, p))


def _preferred(both: jax.Array, p: jax.Array) -> jax.Array:
    """Of values of both replies [..., 2] that of the one which the label prefers, [...]."""
    return jnp.where(p > 0.5, both[..., 0], both[..., 1])


def _surprise(logprobs: jax.Array, counts: jax.Array, p: jax.Array) -> jax.Array:
    """-log π per token of the reply that the label prefers, [...]."""
    return -_preferred(logprobs / jnp.maximum(counts, 1.0), p)


def make_logprobs(config: Config, settings: DPO, axis: str | None = None) -> Callable:
    """Make `(decoder params, batch) -> log-probabilities float32 [A, B, 2]` of both replies, for the reference.

    The batch holds tokens int32 and mask bool, `[A, B, 2, T]`. `axis` is not used; `compile_step` passes it.
    """

    def logprobs(params: Params, batch: Batch) -> jax.Array:
        return jax.lax.map(
            lambda micro: reply_logprobs(params, config, settings, micro["tokens"], micro["mask"])[0],
            {"tokens": batch["tokens"], "mask": batch["mask"]},
        )

    return logprobs


def _sums(
    settings: DPO, logprobs: jax.Array, counts: jax.Array, micro: Batch
) -> tuple[jax.Array, grad_accumulation.Sums]:
    """Sum over pairs of losses and of what the metrics are made from; log-probabilities and counts [B, 2]."""
    p, weights, reference = micro["p"], micro["weights"], micro["reference"]
    beta, normalize = settings.beta, settings.normalize
    given = logprobs, reference, counts
    loss = preference_loss(*given, p, beta=beta, normalize=normalize, anchor=settings.anchor)
    both = rewards(*given, beta=beta, normalize=normalize)
    first, second = both[:, 0], both[:, 1]
    decided = weights * (p != 0.5)
    sums = {
        "accuracy": jnp.sum(decided * jnp.where(first == second, 0.5, (first > second) == (p > 0.5))),
        "chosen_reward": jnp.sum(decided * _preferred(both, p)),
        "rejected_reward": jnp.sum(decided * _preferred(both, 1.0 - p)),
        "nll": jnp.sum(decided * _surprise(logprobs, counts, p)),
        "decided": jnp.sum(decided),
        "margin": jnp.sum(weights * jnp.abs(first - second)),
        "forward_kl": jnp.sum(weights[:, None] * (reference - logprobs)) / 2,
        "weight": jnp.sum(weights),
    }
    return jnp.sum(weights * loss), sums


def make_step(config: Config, settings: DPO, axis: str | None = None) -> Callable:
    """Make the step `(state: TrainState, batch, frozen=None) -> (state, metrics)`.

    With frozen parameters, a decoder's, the state's are an adapter on top of them.

    The batch is a dict: tokens int32 [A, B, 2, T] (the two replies, each after their prompt), mask bool [A, B, 2, T]
    (the tokens of the replies), reference float32 [A, B, 2] (from `make_logprobs`), p float32 [A, B] (probability that
    the first is better), weights float32 [A, B] (0 for filler; of mean 1 over the data). The loss is Σ w · L / N, with
    L from `preference_loss` and N the number of pairs with a weight over all micro-batches and devices, as in
    `preference.make_step`.

    Args:
      axis: name of the mapped axis under `jax.pmap`, else None.

    Metrics, float32 []: loss (nats per pair), accuracy (share of decided pairs, p != 1/2, whose preferred reply has the
    higher reward; one half where both have the same), chosen_reward and rejected_reward (mean reward of the replies
    that the labels of decided pairs prefer, and of the others), margin (mean distance of the two rewards), nll (of the
    preferred replies, nats per token), forward_kl (mean log π_ref - log π, nats per reply: KL(π_ref || π) as far as the
    reference wrote the replies), weight (the sum), grad_norm, learning_rate; and finite, bool [leaves of params], of
    the gradient.
    """
    optimizer, rate = optim.optimizer(settings.optim), optim.schedule(settings.optim)
    total = grad_accumulation.over(axis)

    def step(state: TrainState, batch: Batch, frozen: Params | None = None) -> tuple[TrainState, Metrics]:
        count = jnp.maximum(total(jnp.sum(batch["weights"] > 0)), 1)

        def share(trained: Params, micro: Batch) -> tuple[jax.Array, grad_accumulation.Sums]:
            params = lora.joined(frozen, trained, settings.scale)
            found = reply_logprobs(params, config, settings, micro["tokens"], micro["mask"])
            loss, sums = _sums(settings, *found, micro)
            return loss / count, sums

        grads, value, sums = grad_accumulation.gradients(share, state.params, batch, total)
        weight, decided = jnp.maximum(sums["weight"], 1e-8), jnp.maximum(sums["decided"], 1e-8)
        of_decided = ("accuracy", "chosen_reward", "rejected_reward", "nll")
        metrics = {
            "loss": value,
            **{name: sums[name] / decided for name in of_decided},
            **{name: sums[name] / weight for name in ("margin", "forward_kl")},
            "weight": sums["weight"],
            "grad_norm": optax.tree.norm(grads),
            "finite": grad_accumulation.finite(grads),
            "learning_rate": jnp.asarray(rate(state.step), jnp.float32),
        }
        return state.update(optimizer, grads, sums["weight"] / count), metrics

    return step
