"""Losses on tokens and on preferences.

Single letters in shapes: A micro-batches, B rows, T positions, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

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
    """Compute log softmax(logits / temperature) of given tokens, and the entropies, without a [B, T, V] buffer.

    Kept positions are moved to the front of each row and taken `chunk` at a time until no row has any left; logits
    are recomputed in the backward pass. The work is that of the row with the most kept positions, and the memory
    [B, chunk, V]. The entropy has no gradient.

    Args:
      unembed: `[..., D] -> float32 [..., V]` logits.
      hidden: [B, T, D], at the positions that predict.
      targets: [B, T] int, the tokens that follow.
      keep: [B, T] bool, the positions whose result is wanted.
      temperature: divides the logits before the log-softmax.
      chunk: positions of a row that are unembedded at a time, at least 1.

    Returns:
      log-probabilities log p(target) and entropies -Σ p log p (nats), float32 [B, T], 0 where not kept.

    Example:
      Logits (log 3, 0) give the probabilities 3/4 and 1/4: log(3/4) = -0.2877, and an entropy of
      -(3/4) log(3/4) - (1/4) log(1/4) = 0.5623. The second position is not kept.

      >>> import jax.numpy as jnp
      >>> import numpy as np
      >>> hidden = jnp.log(jnp.array([[[3.0, 1.0], [1.0, 1.0]]]))
      >>> targets, keep = jnp.array([[0, 0]]), jnp.array([[True, False]])
      >>> logprobs, entropies = token_logprobs(lambda h: h, hidden, targets, keep)
      >>> print(*(np.asarray(x, float).round(4) for x in (logprobs, entropies)))
      [[-0.2877  0.    ]] [[0.5623 0.    ]]
    """
    length = targets.shape[1]
    chunk = min(chunk, length)
    # The new place of each position, kept ones first; counting is cheaper than sorting, above all to compile.
    kept = jnp.cumsum(keep, axis=1)
    inverse = jnp.where(keep, kept - 1, kept[:, -1:] + jnp.cumsum(~keep, axis=1) - 1)
    order = jnp.zeros_like(inverse).at[jnp.arange(len(targets))[:, None], inverse].set(jnp.arange(length))

    def front(x: jax.Array) -> jax.Array:
        gathered = jnp.take_along_axis(x, order[..., None] if x.ndim == 3 else order, axis=1)
        return jnp.pad(gathered, [(0, 0), (0, -length % chunk)] + [(0, 0)] * (x.ndim - 2))

    # What `unembed` closes over becomes an argument, since it has a gradient too.
    logits, weights = jax.closure_convert(lambda h: unembed(h) / temperature, hidden[:, :chunk])
    blocks = -(-jnp.max(kept[:, -1]) // chunk)
    found = _by_blocks(logits, chunk, weights, front(hidden), front(targets), blocks)
    logprobs, entropies = (jnp.where(keep, jnp.take_along_axis(x, inverse, axis=1), 0.0) for x in found)
    return logprobs, entropies


_Logits = Callable[..., jax.Array]  # (hidden [B, chunk, D], *weights) -> float32 [B, chunk, V]
# What the backward pass needs: weights, hidden, targets, blocks, and the log-softmax's denominators [B, T].
_Kept = tuple[list[Any], jax.Array, jax.Array, jax.Array, jax.Array]


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _by_blocks(
    logits: _Logits, chunk: int, weights: list[Any], hidden: jax.Array, targets: jax.Array, blocks: jax.Array
) -> tuple[jax.Array, ...]:
    """Compute log-probabilities and entropies `[B, T]` of the first `blocks` (int32 []) times `chunk` positions.

    It has a derivative of its own, because the number of blocks is known at run time only, and because a block's
    gradient is one pass over its logits where the denominators of the log-softmax are kept.
    """
    return _by_blocks_forward(logits, chunk, weights, hidden, targets, blocks)[0]


def _by_blocks_forward(
    logits: _Logits, chunk: int, weights: list[Any], hidden: jax.Array, targets: jax.Array, blocks: jax.Array
) -> tuple[tuple[jax.Array, ...], _Kept]:
    def block(number: jax.Array, found: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        h, chosen = _cut(number, chunk, hidden, targets)
        scores = logits(h, *weights)
        log_z = jax.nn.logsumexp(scores, axis=-1)
        logprobs = jnp.take_along_axis(scores, chosen[..., None], axis=-1)[..., 0] - log_z
        entropies = log_z - jnp.sum(jnp.exp(scores - log_z[..., None]) * scores, axis=-1)
        return _paste(number, chunk, found, (logprobs, entropies, log_z))

    zeros = jnp.zeros(targets.shape, jnp.float32)
    *found, log_z = jax.lax.fori_loop(0, blocks, block, (zeros, zeros, zeros))
    return tuple(found), (weights, hidden, targets, blocks, log_z)


def _by_blocks_backward(
    logits: _Logits, chunk: int, kept: _Kept, cotangents: tuple[jax.Array, jax.Array]
) -> tuple[Any, ...]:
    weights, hidden, targets, blocks, log_z = kept

    def block(number: jax.Array, found: tuple[list[Any], jax.Array]) -> tuple[list[Any], jax.Array]:
        of_weights, of_hidden = found
        h, chosen, z, slope = _cut(number, chunk, hidden, targets, log_z, cotangents[0])
        scores, pull = jax.vjp(lambda weights, h: logits(h, *weights), weights, h)
        hit = jnp.arange(scores.shape[-1]) == chosen[..., None]
        more, here = pull(slope[..., None] * (hit - jnp.exp(scores - z[..., None])))
        return jax.tree.map(jnp.add, of_weights, more), *_paste(number, chunk, (of_hidden,), (here,))

    start = jax.tree.map(jnp.zeros_like, (weights, hidden))
    return *jax.lax.fori_loop(0, blocks, block, start), None, None


_by_blocks.defvjp(_by_blocks_forward, _by_blocks_backward)


def _cut(number: jax.Array, chunk: int, *tables: jax.Array) -> tuple[jax.Array, ...]:
    """Block `number` of tables `[B, T, …]`."""
    return tuple(jax.lax.dynamic_slice_in_dim(table, number * chunk, chunk, axis=1) for table in tables)


def _paste(
    number: jax.Array, chunk: int, tables: tuple[jax.Array, ...], blocks: tuple[jax.Array, ...]
) -> tuple[jax.Array, ...]:
    """Tables `[B, T, …]` with their block `number` replaced."""
    pairs = zip(tables, blocks, strict=True)
    return tuple(jax.lax.dynamic_update_slice_in_dim(table, new, number * chunk, axis=1) for table, new in pairs)


def bradley_terry(first: jax.Array, second: jax.Array, p: jax.Array) -> jax.Array:
    """Bradley-Terry loss on a soft label: -p log σ(first - second) - (1 - p) log σ(second - first).

    P(first better) = σ(first - second) (Bradley and Terry 1952). With a hard label this is the loss of preference
    models in arXiv 2203.02155 (eq. 1); soft labels are the feedback model's probabilities (arXiv 2212.08073 §4.1).

    Args:
      first, second: float [...] scores of the two replies.
      p: float [...], the probability that the first is better; 0 or 1 is a hard label.

    Returns:
      float [...], nats, minimal where σ(first - second) = p.

    Example:
      σ(log 3) = 3/4, so that a hard label costs -log(3/4) = 0.2877, and p = 3/4 the entropy of the label, 0.5623.

      >>> import jax.numpy as jnp
      >>> import numpy as np
      >>> print(np.asarray(bradley_terry(jnp.log(3.0), jnp.float32(0.0), jnp.array([1.0, 0.75])), float).round(4))
      [0.2877 0.5623]
    """
    margin = first - second
    return -p * jax.nn.log_sigmoid(margin) - (1.0 - p) * jax.nn.log_sigmoid(-margin)


def clipped_policy(
    ratio: jax.Array, advantages: jax.Array, *, clip: float, dual_clip: float | None = None
) -> tuple[jax.Array, jax.Array]:
    """PPO's clipped surrogate per token, -min(ρ A, clip(ρ, 1 - ε, 1 + ε) A), to be minimised (arXiv 1707.06347, eq. 7).

    Args:
      ratio: ρ = π / π_old of the drawn tokens, float [...].
      advantages: A, same shape.
      clip: ε; the ratio is clipped to 1 ± ε.
      dual_clip: c > 1 bounds the loss of a negative advantage by -c·A (arXiv 1912.09729, eq. 5); None: no bound.

    Returns:
      the loss, and whether the clipped branch of the surrogate was taken (bool), both [...].

    Example:
      ε = 0.2. A ratio of 1.5 gains no more than 1.2 of a positive advantage: -1.2. With A = -1 the loss is the worse
      of 1.5 and 1.2.

      >>> import jax.numpy as jnp
      >>> import numpy as np
      >>> loss, clipped = clipped_policy(jnp.array([1.5, 1.5]), jnp.array([1.0, -1.0]), clip=0.2)
      >>> print(np.asarray(loss, float).round(4), clipped)
      [-1.2  1.5] [ True False]
      >>> print(clipped_policy(jnp.array([4.0]), jnp.array([-1.0]), clip=0.2, dual_clip=3.0)[0])
      [3.]
    """
    plain = -advantages * ratio
    clipped = -advantages * jnp.clip(ratio, 1.0 - clip, 1.0 + clip)
    loss = jnp.maximum(plain, clipped)
    if dual_clip is not None:
        loss = jnp.where(advantages < 0, jnp.minimum(loss, -dual_clip * advantages), loss)
    return loss, clipped > plain


def clipped_value(values: jax.Array, old: jax.Array, returns: jax.Array, *, clip: float) -> tuple[jax.Array, jax.Array]:
    """PPO's clipped value loss per token: max((V - R)², (V_old + clip(V - V_old, -ε, ε) - R)²) / 2.

    The clipping is a detail of the implementation (arXiv 2403.17031), not part of arXiv 1707.06347.

    Args:
      values: V, the critic's values, float [...].
      old: V_old, those of the rollout, same shape.
      returns: R, the targets (`advantages.gae`), same shape.
      clip: ε, in units of the reward.

    Returns:
      the loss, and whether the clipped branch was taken (bool), both [...].

    Example:
      V = 1 moved from 0 towards R = 2; held to 0.2 it is 1.8 away: max(1², 1.8²) / 2 = 1.62.

      >>> import jax.numpy as jnp
      >>> import numpy as np
      >>> loss, clipped = clipped_value(jnp.array([1.0]), jnp.array([0.0]), jnp.array([2.0]), clip=0.2)
      >>> print(np.asarray(loss, float).round(4), clipped)
      [1.62] [ True]
    """
    near = old + jnp.clip(values - old, -clip, clip)
    plain, clipped = jnp.square(values - returns), jnp.square(near - returns)
    return 0.5 * jnp.maximum(plain, clipped), clipped > plain
