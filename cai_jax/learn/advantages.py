"""Advantages: generalised advantage estimation (arXiv 1506.02438, eq. 16), and whitening."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from cai_jax.learn.grad_accumulation import Reduce


def gae(
    rewards: jax.Array, values: jax.Array, mask: jax.Array, *, gamma: float = 1.0, lam: float = 0.95
) -> tuple[jax.Array, jax.Array]:
    """Advantages and returns of drawn tokens.

    Masked positions are not steps: the recursion passes over them unchanged, so nothing behind the last drawn
    token (where the value is 0) leaks into it.

    Args:
      rewards, values: float32 [B, T]; `values[b, t]` is the value before the token at t is drawn.
      mask: bool [B, T], the drawn tokens.

    Returns:
      advantages and returns (advantage + value), float32 [B, T], 0 where masked.
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
    """Count, mean and variance (dividing by the count) of the unmasked entries on all devices, float32 []."""
    weight = mask.astype(jnp.float32)
    count = total(jnp.sum(weight))
    mean = total(jnp.sum(x * weight)) / jnp.maximum(count, 1.0)
    variance = total(jnp.sum(jnp.square(x - mean) * weight)) / jnp.maximum(count, 1.0)
    return count, mean, variance


def whiten(x: jax.Array, mask: jax.Array, total: Reduce, *, shift: bool = True) -> jax.Array:
    """Scale the unmasked entries to variance 1 over the whole batch on all devices.

    Args:
      shift: move the mean to 0 too; rewards keep theirs, since a shift would pay for longer replies.

    Returns:
      like `x`, 0 where masked.
    """
    _, mean, variance = moments(x, mask, total)
    scaled = (x - mean) * jax.lax.rsqrt(variance + 1e-8)
    return jnp.where(mask, scaled if shift else scaled + mean, 0.0)
