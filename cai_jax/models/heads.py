"""The scalar head of reward models and critics: a linear map from the last hidden state to a score."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax import Array

from cai_jax.models.config import Config

Head = dict[str, Array]


def init_head(config: Config, key: Array) -> Head:
    """Make a new head, {"kernel" [D], "bias" []} float32.

    The kernel is normal with deviation 1/sqrt(D+1), the bias 0 (arXiv 2403.17031).
    """
    deviation = (config.hidden_size + 1) ** -0.5
    kernel = deviation * jax.random.normal(key, (config.hidden_size,), jnp.float32)
    return {"kernel": kernel, "bias": jnp.zeros((), jnp.float32)}


def score(head: Head, hidden_last: Array) -> Array:
    """Compute scores h · kernel + bias, float32 `[B]`, of hidden states h `[B, D]` of any float dtype.

    Example:
      3 · 1 + 1 · 2 + 0.5 = 5.5.

      >>> import jax.numpy as jnp
      >>> head = {"kernel": jnp.array([1.0, 2.0]), "bias": jnp.float32(0.5)}
      >>> print(score(head, jnp.array([[3.0, 1.0]])))
      [5.5]
    """
    wide = hidden_last.astype(jnp.float32)
    return wide @ head["kernel"].astype(jnp.float32) + head["bias"].astype(jnp.float32)


def normalise(head: Mapping[str, Array], mean: float, deviation: float) -> Head:
    """Return the head whose scores are (s - mean) / deviation, where the given head's are s.

    With the mean and the standard deviation of s, the scores have mean 0 and variance 1.

    Raises:
      ValueError: the deviation is not positive: all scores are alike.
    """
    if not deviation > 0:
        raise ValueError(f"scores with standard deviation {deviation} cannot be normalised")
    return {"kernel": head["kernel"] / deviation, "bias": (head["bias"] - mean) / deviation}
