"""Rotary positions and masked attention, in float32 softmax, with grouped key/value heads."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from cai_jax.models.config import Config

# Added to the scores of forbidden positions. Finite, so that a row of nothing but padding has no NaN.
MASKED = -1e30


# Query rows that share one static range of keys; smaller blocks skip more of the causal triangle's empty
# half, larger ones make fewer, wider products.
_BLOCK = 128
_BLOCKS = 8


class KV(NamedTuple):
    """Rotated keys and values of one layer, `[B, K, S, H]`."""

    k: Array
    v: Array


class Prefix(NamedTuple):
    """Keys and values of a text that every row sees before its own, stored once.

    layers holds k and v `[K, P, H]` per layer; of the P positions the first `length` (int32 scalar) are
    real, so that prefixes of one bucket share a compiled function.
    """

    layers: tuple[KV, ...]
    length: Array


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


def causal_attention(
    q: Array,
    kv: KV,
    *,
    segments: Array | None = None,
    branches: Array | None = None,
    scale: float,
    prefix: tuple[KV, Array] | None = None,
) -> Array:
    """Every token sees itself, earlier tokens of its text, and the whole prefix.

    q is `[B, T, N, H]`, kv `[B, K, T, H]`; prefix is one layer's keys and values with their length. By
    default a row is one text. segments `[B, T]` int32 numbers several texts packed into a row. branches
    `[B, T]` int32 marks alternatives: those numbered 1, 2, ... continue the trunk, 0, and do not see each
    other.
    Returns `[B, T, N, H]`.
    """
    length = q.shape[1]
    block = max(_BLOCK, -(-length // _BLOCKS))
    steps = jnp.arange(length)
    outputs = []
    for start in range(0, length, block):
        end = min(start + block, length)
        mask = (steps[start:end, None] >= steps[None, :end])[None]
        if segments is not None:
            mask = mask & (segments[:, start:end, None] == segments[:, None, :end])
        if branches is not None:
            own = branches[:, start:end, None] == branches[:, None, :end]
            mask = mask & (own | (branches[:, None, :end] == 0))
        seen = KV(kv.k[:, :, :end], kv.v[:, :, :end])
        outputs.append(_attend(q[:, start:end], seen, mask, scale, prefix))
    return outputs[0] if len(outputs) == 1 else jnp.concatenate(outputs, axis=1)


def cached_attention(q: Array, kv: KV, *, starts: Array, scale: float, prefix: tuple[KV, Array] | None = None) -> Array:
    """Query t of row b sees the cache's first `starts[b] + t + 1` positions and the whole prefix.

    q is `[B, T, N, H]`, kv `[B, K, S, H]`, starts `[B]` int32. Returns `[B, T, N, H]`.
    """
    last = starts[:, None] + jnp.arange(q.shape[1])
    mask = jnp.arange(kv.k.shape[2]) <= last[:, :, None]
    return _attend(q, kv, mask, scale, prefix)


def _attend(q: Array, kv: KV, mask: Array, scale: float, prefix: tuple[KV, Array] | None) -> Array:
    """Softmax over [prefix | kv]; mask `[B or 1, T, S]` bool says which keys a query sees."""
    batch, length, heads, width = q.shape
    kv_heads = kv.k.shape[1]
    group = heads // kv_heads
    # The query heads of a group become rows of one GEMM against the keys that they share.
    q = (q * scale).reshape(batch, length, kv_heads, group, width).transpose(0, 2, 3, 1, 4)
    q = q.reshape(batch, kv_heads, group * length, width)
    part = _part(q, kv, jnp.tile(mask, (1, group, 1))[:, None])
    if prefix is not None:
        shared, real = prefix
        # So do all rows of the batch against the prefix.
        tall = q.swapaxes(0, 1).reshape(kv_heads, -1, width)
        before = _part(tall, shared, jnp.arange(shared.k.shape[1]) < real)
        before = (leaf.reshape(kv_heads, batch, group * length, -1).swapaxes(0, 1) for leaf in before)
        part = _merge(part, _Part(*before))
    seen = (part.mixed / part.total).astype(kv.v.dtype).reshape(batch, kv_heads, group, length, width)
    return seen.transpose(0, 3, 1, 2, 4).reshape(batch, length, heads, width)


class _Part(NamedTuple):
    """Softmax over some of the keys, not divided yet; float32.

    mixed `[..., Q, H]` is the weighted sum of values, total `[..., Q, 1]` the sum of weights, and top
    `[..., Q, 1]` the largest score.
    """

    mixed: Array
    total: Array
    top: Array


def _part(q: Array, kv: KV, mask: Array) -> _Part:
    """Queries `[..., Q, H]` on keys `[..., S, H]`, where mask `[..., Q, S]` allows.

    Dividing by the total afterwards, in the narrow result, saves a pass over the wide weights.
    """
    scores = jnp.einsum("...qh,...sh->...qs", q, kv.k, preferred_element_type=jnp.float32)
    scores = jnp.where(mask, scores, MASKED)
    top = jax.lax.stop_gradient(scores.max(axis=-1, keepdims=True))
    weights = jnp.exp(scores - top)
    total = weights.sum(axis=-1, keepdims=True)
    mixed = jnp.einsum("...qs,...sh->...qh", weights.astype(kv.v.dtype), kv.v, preferred_element_type=jnp.float32)
    return _Part(mixed, total, top)


def _merge(a: _Part, b: _Part) -> _Part:
    """The softmax over the keys of both."""
    top = jnp.maximum(a.top, b.top)
    scale_a, scale_b = jnp.exp(a.top - top), jnp.exp(b.top - top)
    return _Part(a.mixed * scale_a + b.mixed * scale_b, a.total * scale_a + b.total * scale_b, top)
