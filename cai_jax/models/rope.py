"""Rotary position embedding (arXiv 2104.09864), with stretched frequencies (models/rope_scaling.py)."""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
from jax import Array

from cai_jax.models.config import Config
from cai_jax.models.rope_scaling import Divided, Linear, Llama3, LongRope, Scaling

Turn = tuple[Array, Array]


def rotation(config: Config, positions: Array, ends: Array | None = None, local: bool = False) -> Turn:
    """Compute the cosine and sine of every position's angles, two float32 `[B, T, 1, R / 2]`.

    The angle of pair i at position m is m θ^(-2i/R) (arXiv 2104.09864 §3.2.2), for i from 0 to R/2 - 1, with θ the
    config's rope_theta and R its rotary_dim; the frequency is stretched as config.rope_scaling says.

    Args:
      positions: int32 `[B, T]`.
      ends: int32 `[B, T]` or `[B, 1]`: the last position of the text that a token belongs to, where the stretch depends
        on it (LongRope); by default a row's last.
      local: use the frequencies of layers with a window, where those differ.
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
    """Return angles per position: float32 `[R / 2]`, or `[B, T or 1, 1, R / 2]` where they depend on the text's end."""
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
    """Rotate channel pairs (i, i + R/2) of the first R channels of x `[B, T, heads, H]`; the dtype of x is kept.

    (a, b) becomes (a cos - b sin, b cos + a sin). The pairing is transformers' convention; arXiv 2104.09864 pairs
    neighbouring channels, which is the same up to a permutation.
    """
    cos, sin = (part.astype(x.dtype) for part in turn)
    half = cos.shape[-1]
    first, second, rest = jnp.split(x, [half, 2 * half], axis=-1)
    turned = [first * cos - second * sin, second * cos + first * sin]
    return jnp.concatenate(turned if rest.shape[-1] == 0 else [*turned, rest], axis=-1)
