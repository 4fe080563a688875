"""The scalar head of reward models and critics."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax import Array

from cai_jax.models.config import Config

Head = dict[str, Array]


def init_head(config: Config, key: Array) -> Head:
    """A fresh head, {"kernel" [D], "bias" []} float32.

    The kernel is normal with deviation 1/sqrt(D+1), the bias 0 (arXiv 2403.17031).
    """
    deviation = (config.hidden_size + 1) ** -0.5
    kernel = deviation * jax.random.normal(key, (config.hidden_size,), jnp.float32)
    return {"kernel": kernel, "bias": jnp.zeros((), jnp.float32)}


def score(head: Head, hidden_last: Array) -> Array:
    """Scores `[B]` float32 of hidden states `[B, D]`."""
    wide = hidden_last.astype(jnp.float32)
    return wide @ head["kernel"].astype(jnp.float32) + head["bias"].astype(jnp.float32)


def normalise(head: Mapping[str, Array], mean: float, deviation: float) -> Head:
    """The head whose scores have mean 0 and variance 1 where the given one's have this mean and deviation.

    Raises ValueError if the deviation is not positive: such scores tell nothing apart.
    """
    if not deviation > 0:
        raise ValueError(f"scores with standard deviation {deviation} cannot be normalised")
    return {"kernel": head["kernel"] / deviation, "bias": (head["bias"] - mean) / deviation}
