"""KL divergence from the reference policy: per-token estimators, and control of its coefficient.

All logarithms are natural, so that divergences are in nats.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp


@dataclass(frozen=True)
class KL:
    """Static settings of the KL penalty.

    Attributes:
      coefficient: β, reward per nat; the initial value where it adapts. The default is λ_KL of arXiv 2204.05862 (§4.1).
      target: nats per reply that the adaptive controller steers to; None keeps β fixed.
      horizon: replies per unit of K_β; a rollout of n replies uses K_β = n / horizon in `control`, so that over
        `horizon` replies β changes by at most about 20 %.
    """

    coefficient: float = 0.001
    target: float | None = None
    horizon: float = 10_000.0  # as in the code of arXiv 1909.08593


def k1(logprobs: jax.Array | float, reference: jax.Array) -> jax.Array:
    """Estimate KL(π || π_ref) per token as log π - log π_ref of tokens drawn from π, in nats.

    Unbiased; may be negative for a single token. This is the penalty in PPO's reward (arXiv 1909.08593, eq. 2): its
    policy gradient there is that of the KL divergence. The name is Schulman's (2020, "Approximating KL divergence").

    Args:
      logprobs: log π of the drawn tokens, float [...].
      reference: log π_ref of the same tokens, float [...].

    Returns:
      float [...], nats.

    Example:
      A token of probability 1/2, and 1/4 under the reference: log(1/2) - log(1/4) = log 2 = 0.6931.

      >>> import jax.numpy as jnp
      >>> print(f"{k1(jnp.log(0.5), jnp.log(0.25)):.4f}")
      0.6931
    """
    return logprobs - reference


def k3(logprobs: jax.Array | float, reference: jax.Array) -> jax.Array:
    """Estimate KL(π || π_ref) per token as r - 1 - log r with r = π_ref / π, of tokens drawn from π, in nats.

    Unbiased, never negative, and of lower variance than `k1` where the policies are close (Schulman 2020,
    "Approximating KL divergence"). For logs only: in the reward it is biased, and a policy trained against it does not
    reach the KL-regularised optimum.

    Args:
      logprobs: log π of the drawn tokens, float [...].
      reference: log π_ref of the same tokens, float [...].

    Returns:
      float [...], nats, at least 0.

    Example:
      With r = (1/4) / (1/2) = 1/2: 1/2 - 1 + log 2 = 0.1931.

      >>> import jax.numpy as jnp
      >>> print(f"{k3(jnp.log(0.5), jnp.log(0.25)):.4f}")
      0.1931
    """
    log_ratio = reference - logprobs
    return jnp.expm1(log_ratio) - log_ratio


def exact(logits: jax.Array, reference: jax.Array) -> jax.Array:
    """KL(π || π_ref) of the next token, in nats: Σ_v π(v) (log π(v) - log π_ref(v)).

    Summed over the positions of replies drawn from π it is an unbiased estimate of the divergence of whole replies,
    with less variance than `k1` and `k3`, which look at the drawn tokens alone (Rao and Blackwell; arXiv 2504.10637).

    Args:
      logits: of π, float [..., V]; reference: of π_ref.

    Returns:
      float32 [...], at least 0 up to rounding.

    Example:
      (3/4, 1/4) against (1/2, 1/2): (3/4) log(3/2) + (1/4) log(1/2) = 0.1308.

      >>> import jax.numpy as jnp
      >>> print(f"{exact(jnp.log(jnp.array([3.0, 1.0])), jnp.zeros(2)):.4f}")
      0.1308
    """
    ours, theirs = (jax.nn.log_softmax(x.astype(jnp.float32), axis=-1) for x in (logits, reference))
    return jnp.sum(jnp.exp(ours) * (ours - theirs), axis=-1)


def control(settings: KL, coefficient: jax.Array, divergence: jax.Array, replies: jax.Array) -> jax.Array:
    """Return β after a rollout: β (1 + clip(divergence / target - 1, -0.2, 0.2) · replies / horizon).

    The proportional controller of arXiv 1909.08593 (§2.2), with K_β = replies / horizon. Without a target, β is fixed.

    Args:
      settings: target in nats per reply, and horizon in replies.
      coefficient: β of the rollout, float32 [].
      divergence: nats per reply measured on the rollout, [].
      replies: number of replies it was measured on, [].

    Returns:
      float32 [].

    Example:
      10 % above the target over 100 replies of a horizon of 1000: 0.1 · (1 + 0.1 · 0.1) = 0.101.

      >>> import jax.numpy as jnp
      >>> settings = KL(coefficient=0.1, target=6.0, horizon=1000.0)
      >>> print(f"{control(settings, jnp.float32(0.1), jnp.float32(6.6), jnp.float32(100)):.4f}")
      0.1010
    """
    if settings.target is None:
        return coefficient
    error = jnp.clip(divergence / settings.target - 1.0, -0.2, 0.2)
    return coefficient * (1.0 + error * replies / settings.horizon)
