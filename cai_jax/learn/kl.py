"""Divergence from the reference: per-token estimators and controllers of its price (arXiv 1909.08593)."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp


@dataclass(frozen=True)
class KL:
    """Static settings of the price of divergence.

    Attributes:
      coefficient: β, reward per nat; the start value where it adapts.
      target: nats per reply that the adaptive controller steers to; None keeps β fixed.
      horizon: replies over which the adaptive controller may change β by its largest error, 20 %.
    """

    coefficient: float = 0.001
    target: float | None = None
    horizon: float = 10_000.0


def k1(logprobs: jax.Array | float, reference: jax.Array) -> jax.Array:
    """log π - log π_ref of drawn tokens: unbiased, and in the reward its gradient is the KL's own."""
    return logprobs - reference


def k3(logprobs: jax.Array | float, reference: jax.Array) -> jax.Array:
    """π_ref/π - 1 - log(π_ref/π) of drawn tokens: unbiased, never negative, of low variance. For logs only.

    In the reward it is biased: a policy trained against it does not reach the KL-regularised optimum.
    """
    log_ratio = reference - logprobs
    return jnp.expm1(log_ratio) - log_ratio


def control(settings: KL, coefficient: jax.Array, divergence: jax.Array, replies: jax.Array) -> jax.Array:
    """β after a rollout: β (1 + clip(divergence/target - 1, ±0.2) · replies/horizon), or β itself if fixed.

    Args:
      coefficient: β now, float32 [].
      divergence: nats per reply measured on the rollout, [].
      replies: how many replies it was measured on, [].
    """
    if settings.target is None:
        return coefficient
    error = jnp.clip(divergence / settings.target - 1.0, -0.2, 0.2)
    return coefficient * (1.0 + error * replies / settings.horizon)
