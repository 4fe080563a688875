"""Advantages: generalised advantage estimation (arXiv 1506.02438, eq. 16), and whitening."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from cai_jax.learn.grad_accumulation import Reduce


def gae(
    rewards: jax.Array, values: jax.Array, mask: jax.Array, *, gamma: float = 1.0, lam: float = 0.95
) -> tuple[jax.Array, jax.Array]:
    """Generalised advantage estimation over drawn tokens (arXiv 1506.02438, eq. 16), and the returns.

        δ_t = r_t + γ V_{t+1} - V_t,    A_t = δ_t + γ λ A_{t+1},    R_t = A_t + V_t

    with V and A equal to 0 after the last drawn token. Masked positions are not steps: the recursion passes over them
    unchanged, so that nothing after the last drawn token leaks into it.

    Args:
      rewards: float32 [B, T], r_t of the token at t.
      values: float32 [B, T]; `values[b, t]` is the value before the token at t is drawn.
      mask: bool [B, T], the drawn tokens.
      gamma: γ, discount per token; lam: λ.

    Returns:
      advantages and returns, float32 [B, T], 0 where masked.

    Example:
      γ = 1, λ = 1/2. Backwards: A = 1 - 0.5 = 0.5, then A = 0 + 0.5 - 0.25 + 0.5 · 0.5 = 0.5.

      >>> import jax.numpy as jnp
      >>> rewards, values = jnp.array([[0.0, 1.0, 9.0]]), jnp.array([[0.25, 0.5, 9.0]])
      >>> advantages, returns = gae(rewards, values, jnp.array([[True, True, False]]), gamma=1.0, lam=0.5)
      >>> print(advantages, returns)
      [[0.5 0.5 0. ]] [[0.75 1.   0.  ]]
    """

    def back(
        carry: tuple[jax.Array, jax.Array], xs: tuple[jax.Array, jax.Array, jax.Array]
    ) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        next_value, next_advantage = carry
        reward, value, drawn = xs
        advantage = reward + gamma * next_value - value + gamma * lam * next_advantage
        carry = jnp.where(drawn, value, next_value), jnp.where(drawn, advantage, next_advantage)
        return carry, jnp.where(drawn, advantage, 0.0)

    start = jnp.zeros(rewards.shape[0], jnp.float32)
    _, advantages = jax.lax.scan(back, (start, start), (rewards.T, values.T, mask.T), reverse=True)
    advantages = advantages.T
    return advantages, jnp.where(mask, advantages + values, 0.0)


def moments(x: jax.Array, mask: jax.Array, total: Reduce) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Count, mean and variance (dividing by the count) of the unmasked entries on all devices.

    Args:
      x: float [...]; mask: bool [...], the entries that count.
      total: sums over devices (`grad_accumulation.over`).

    Returns:
      three float32 []; the mean and the variance of no entries are 0.
    """
    weight = mask.astype(jnp.float32)
    count = total(jnp.sum(weight))
    mean = total(jnp.sum(x * weight)) / jnp.maximum(count, 1.0)
    variance = total(jnp.sum(jnp.square(x - mean) * weight)) / jnp.maximum(count, 1.0)
    return count, mean, variance


def whiten(x: jax.Array, mask: jax.Array, total: Reduce, *, shift: bool = True) -> jax.Array:
    """Scale the unmasked entries to variance 1 over the whole batch: (x - mean) / sqrt(variance + 1e-8).

    Whitening of advantages, and of rewards without a shift, is a detail of arXiv 2403.17031.

    Args:
      x: float [...]; mask: bool [...], the entries that count.
      total: sums over devices (`grad_accumulation.over`).
      shift: move the mean to 0 too; rewards keep theirs, since a shift would pay for longer replies.

    Returns:
      float32 [...], 0 where masked.

    Example:
      Mean 2 and variance 1.

      >>> import jax.numpy as jnp
      >>> x, mask = jnp.array([1.0, 3.0, 7.0]), jnp.array([True, True, False])
      >>> print(whiten(x, mask, lambda total: total), whiten(x, mask, lambda total: total, shift=False))
      [-1.  1.  0.] [1. 3. 0.]
    """
    _, mean, variance = moments(x, mask, total)
    scaled = (x - mean) * jax.lax.rsqrt(variance + 1e-8)
    return jnp.where(mask, scaled if shift else scaled + mean, 0.0)
