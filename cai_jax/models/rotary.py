"""Rotary position embedding."""

from __future__ import annotations

import math

import jax.numpy as jnp
from jax import Array

from cai_jax.models.config import Config


def frequencies(config: Config) -> Array:
    """Rotary angle per position of each pair of channels, `[H / 2]` float32."""
    half = config.head_dim // 2
    plain = config.rope_theta ** (-jnp.arange(half, dtype=jnp.float32) / half)
    stretch = config.rope_scaling
    if stretch is None:
        return plain
    turns = stretch.original_max_position * plain / (2 * math.pi)  # full turns within the original context
    keep = (turns - stretch.low_freq_factor) / (stretch.high_freq_factor - stretch.low_freq_factor)
    keep = jnp.clip(keep, 0.0, 1.0)
    return plain * (keep + (1 - keep) / stretch.factor)


def rotation(config: Config, positions: Array) -> tuple[Array, Array]:
    """Cosine and sine of every position's angles: positions `[B, T]` int32 -> two `[B, T, 1, H / 2]`."""
    angles = positions[..., None, None].astype(jnp.float32) * frequencies(config)
    return jnp.cos(angles), jnp.sin(angles)


def rotate(x: Array, turn: tuple[Array, Array]) -> Array:
    """Turn the channel pairs (i, i + H/2) of x `[B, T, heads, H]`: the convention of transformers' Llama."""
    cos, sin = (part.astype(x.dtype) for part in turn)
    first, second = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
