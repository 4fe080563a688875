"""Losses on tokens and on preferences.

Single letters in shapes: A micro-batches, B rows, T positions, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp


def token_logprobs(
    unembed: Callable[[jax.Array], jax.Array],
    hidden: jax.Array,
    targets: jax.Array,
    keep: jax.Array,
    *,
    temperature: float = 1.0,
    chunk: int = 64,
) -> tuple[jax.Array, jax.Array]:
    """Log-probabilities of given tokens and the entropy of their distributions, without a [B, T, V] buffer.

    Kept positions are moved to the front of each row and taken `chunk` at a time; a chunk in which no row has
    any left is skipped, and logits are recomputed in the backward pass. The work is that of the row with the
    most kept positions, and the memory [B, chunk, V].

    Args:
      unembed: `[..., D] -> float32 [..., V]` logits.
      hidden: [B, T, D], at the positions that predict.
      targets: [B, T] int, the tokens that follow.
      keep: [B, T] bool, where the result is wanted.
      temperature: logits are divided by it before the log-softmax.

    Returns:
      log-probabilities and entropies (nats), float32 [B, T], 0 where not kept.
    """
    rows, length = targets.shape
    chunk = min(chunk, length)
    padding = -length % chunk
    # Where each position goes, kept ones first; counting is cheaper than sorting, above all to compile.
    kept = jnp.cumsum(keep, axis=1)
    inverse = jnp.where(keep, kept - 1, kept[:, -1:] + jnp.cumsum(~keep, axis=1) - 1)
    order = jnp.zeros_like(inverse).at[jnp.arange(rows)[:, None], inverse].set(jnp.arange(length))

    def chunks(x):
        gathered = jnp.take_along_axis(x, order[..., None] if x.ndim == 3 else order, axis=1)
        padded = jnp.pad(gathered, [(0, 0), (0, padding)] + [(0, 0)] * (x.ndim - 2))
        return jnp.moveaxis(padded.reshape(rows, -1, chunk, *x.shape[2:]), 1, 0)

    @jax.checkpoint
    def present(hidden, targets, keep):
        logits = unembed(hidden) / temperature
        log_z = jax.nn.logsumexp(logits, axis=-1)
        chosen = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0] - log_z
        mean = jnp.sum(jnp.exp(jax.lax.stop_gradient(logits - log_z[..., None])) * logits, axis=-1)
        return jnp.where(keep, chosen, 0.0), jnp.where(keep, jax.lax.stop_gradient(log_z - mean), 0.0)

    def absent(hidden, targets, keep):
        return jnp.zeros(keep.shape, jnp.float32), jnp.zeros(keep.shape, jnp.float32)

    def body(_, xs):
        return None, jax.lax.cond(jnp.any(xs[2]), present, absent, *xs)

    _, results = jax.lax.scan(body, None, (chunks(hidden), chunks(targets), chunks(keep)))

    def restore(x):
        flat = jnp.moveaxis(x, 0, 1).reshape(rows, -1)
        return jnp.take_along_axis(flat, inverse, axis=1)

    return restore(results[0]), restore(results[1])


def bradley_terry(first: jax.Array, second: jax.Array, p: jax.Array) -> jax.Array:
    """Bradley-Terry loss on a soft label (METHOD.md §3).

    Args:
      first, second: float [...] scores of the two replies.
      p: float [...], the probability that the first is better; 0 or 1 is a hard label.

    Returns:
      -p log σ(first - second) - (1 - p) log σ(second - first), float [...], nats.
    """
    margin = first - second
    return -p * jax.nn.log_sigmoid(margin) - (1.0 - p) * jax.nn.log_sigmoid(-margin)


def clipped_policy(
    ratio: jax.Array, advantages: jax.Array, *, clip: float, dual_clip: float | None = None
) -> tuple[jax.Array, jax.Array]:
    """PPO's clipped surrogate per token (arXiv 1707.06347, eq. 7), to be minimised.

    Args:
      ratio: π/π_old; advantages: same shape.
      clip: ε; the ratio is clipped to 1 ± ε.
      dual_clip: c > 1 bounds the loss of a negative advantage by -c·A (arXiv 1912.09729, eq. 5).

    Returns:
      the loss, and whether the clipped branch was taken (bool), same shape.
    """
    plain = -advantages * ratio
    clipped = -advantages * jnp.clip(ratio, 1.0 - clip, 1.0 + clip)
    loss = jnp.maximum(plain, clipped)
    if dual_clip is not None:
        loss = jnp.where(advantages < 0, jnp.minimum(loss, -dual_clip * advantages), loss)
    return loss, clipped > plain


def clipped_value(values: jax.Array, old: jax.Array, returns: jax.Array, *, clip: float) -> tuple[jax.Array, jax.Array]:
    """Half the squared error of the value, the worse of it and its value held within `clip` of the old one.

    Returns:
      the loss, and whether the clipped branch was taken (bool), same shape as `values`.
    """
    near = old + jnp.clip(values - old, -clip, clip)
    plain, clipped = jnp.square(values - returns), jnp.square(near - returns)
    return 0.5 * jnp.maximum(plain, clipped), clipped > plain
