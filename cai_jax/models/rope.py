"""Rotary position embedding."""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
from jax import Array

from cai_jax.models.config import Config
from cai_jax.models.rope_scaling import Divided, Linear, Llama3, LongRope, Scaling

Turn = tuple[Array, Array]


def rotation(config: Config, positions: Array, ends: Array | None = None, local: bool = False) -> Turn:
    """Cosine and sine of every position's angles: positions `[B, T]` int32 -> two `[B, T, 1, R / 2]` float32.

    R channels of a head are turned. `local`: as layers with a window do it, where those differ. ends `[B, T]` or
    `[B, 1]` int32: the last position of the text that a token belongs to, where the stretch depends on it (LongRope);
    by default a row's last.
    """
    scaling = None if local else config.rope_scaling
    half = config.rotary_dim // 2
    theta = np.float32(config.local_rope_theta if local else config.rope_theta)
    plain = 1 / theta ** (np.arange(half, dtype=np.float32) / np.float32(half))
    ends = positions.max(axis=1, keepdims=True) if ends is None else ends
    angles = positions[..., None, None].astype(jnp.float32) * _stretched(plain, scaling, ends)
    size = 1.0
    if isinstance(scaling, LongRope | Divided):
        size = scaling.magnitude if isinstance(scaling, Divided) else scaling.magnitude(config.max_position)
    return jnp.cos(angles) * size, jnp.sin(angles) * size


def _stretched(plain: np.ndarray, scaling: Scaling | None, ends: Array) -> Array | np.ndarray:
    """Angles per position: float32 `[R / 2]`, or `[B, T or 1, 1, R / 2]` where they depend on the text's end."""
    match scaling:
        case None:
            return plain
        case Linear(factor):
            return plain / np.float32(factor)
        case Divided(factors, _):
            return plain / np.array(factors, np.float32)
        case Llama3(factor, low, high, original):
            turns = original * plain / (2 * math.pi)  # full turns within the original context
            keep = np.clip((turns - low) / (high - low), 0.0, 1.0)
            return (plain * (keep + (1 - keep) / factor)).astype(np.float32)
        case LongRope(short, long, original):
            reaches = ends[..., None, None] >= original
            return jnp.where(reaches, plain / np.array(long, np.float32), plain / np.array(short, np.float32))


def rotate(x: Array, turn: Turn) -> Array:
    """Turn channel pairs (i, i + R/2) of the first R of x `[B, T, heads, H]`: transformers' convention."""
    cos, sin = (part.astype(x.dtype) for part in turn)
    half = cos.shape[-1]
    first, second, rest = jnp.split(x, [half, 2 * half], axis=-1)
    turned = [first * cos - second * sin, second * cos + first * sin]
    return jnp.concatenate(turned if rest.shape[-1] == 0 else [*turned, rest], axis=-1)
