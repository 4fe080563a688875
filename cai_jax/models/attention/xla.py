"""Attention in plain JAX, for every machine and every case."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from cai_jax.models.attention.keys import KV

# Added to the scores of forbidden positions. Finite, so that a row of nothing but padding has no NaN.
MASKED = -1e30

# Query rows that share one static range of keys; smaller blocks skip more of the causal triangle's empty
# half, larger ones make fewer, wider products.
_BLOCK = 128
_BLOCKS = 8


def attention(
    q: Array,
    kv: KV,
    scale: float,
    starts: Array | None,
    groups: Array | None,
    positions: Array | None,
    window: int | None,
    softcap: float | None,
    prefix: tuple[KV, Array] | None,
) -> Array:
    """See `cai_jax.models.attention.attention`."""
    length, size = q.shape[1], kv.k.shape[2]
    where = jnp.broadcast_to(jnp.arange(size), (1, size)) if positions is None else positions
    seen = _Seen(scale, window, softcap, prefix)
    if starts is not None:
        places = starts[:, None] + jnp.arange(length)
        return _attend(q, kv, places, jnp.arange(size), groups, where, seen)
    outputs = []
    block = max(_BLOCK, -(-length // _BLOCKS))
    for start in range(0, length, block):
        end = min(start + block, length)
        # Behind a window nothing is seen; places and positions agree unless positions are given.
        first = 0 if window is None or positions is not None else max(0, start - window + 1)
        some = KV(kv.k[:, :, first:end], kv.v[:, :, first:end])
        places = jnp.arange(start, end)[None]
        cut = None if groups is None else groups[:, first:end]
        outputs.append(
            _attend(q[:, start:end], some, places, jnp.arange(first, end), cut, where[:, first:end], seen, first)
        )
    return outputs[0] if len(outputs) == 1 else jnp.concatenate(outputs, axis=1)


class _Seen(NamedTuple):
    """What all blocks of queries have in common; see `cai_jax.models.attention.attention`."""

    scale: float
    window: int | None
    softcap: float | None
    prefix: tuple[KV, Array] | None


def _attend(
    q: Array,
    kv: KV,
    places: Array,
    keys: Array,
    groups: Array | None,
    positions: Array,
    seen: _Seen,
    first: int = 0,
) -> Array:
    """Softmax over [prefix | kv]: queries at `places` `[B or 1, T]` among the keys numbered `keys` `[S]`.

    groups and positions `[B or 1, S]` are the keys'; the first key's number is `first`.
    """
    batch, length, heads, width = q.shape
    kv_heads = kv.k.shape[1]
    group = heads // kv_heads
    mask = keys <= places[:, :, None]

    def own(table: Array) -> Array:
        """The entries of `[B or 1, S]` that belong to the queries: `[B, T]`."""
        rows = max(table.shape[0], places.shape[0])
        spread = (jnp.broadcast_to(x, (rows, *x.shape[1:])) for x in (table, places - first))
        return jnp.take_along_axis(*spread, axis=1)

    if groups is not None:
        mask = mask & ((groups[:, None] == own(groups)[:, :, None]) | (groups[:, None] == 0))
    if seen.window is not None:
        mine = own(positions)
        mask = mask & (mine[:, :, None] - positions[:, None] < seen.window)
    # The query heads of a group become rows of one GEMM against the keys that they share.
    q = (q * seen.scale).reshape(batch, length, kv_heads, group, width).transpose(0, 2, 3, 1, 4)
    q = q.reshape(batch, kv_heads, group * length, width)
    part = _part(q, kv, jnp.tile(mask, (1, group, 1))[:, None], seen.softcap)
    if seen.prefix is not None:
        shared, real = seen.prefix
        before = jnp.arange(shared.k.shape[1])
        visible = before < real
        if seen.window is not None:
            visible = visible & (real + mine[:, :, None] - before < seen.window)
            visible = jnp.broadcast_to(visible, (batch, length, before.size))
            visible = jnp.tile(visible, (1, group, 1)).reshape(-1, before.size)
        # So do all rows of the batch against the prefix.
        tall = q.swapaxes(0, 1).reshape(kv_heads, -1, width)
        found = _part(tall, shared, visible, seen.softcap)
        found = (leaf.reshape(kv_heads, batch, group * length, -1).swapaxes(0, 1) for leaf in found)
        part = _merge(part, _Part(*found))
    out = (part.mixed / part.total).astype(kv.v.dtype).reshape(batch, kv_heads, group, length, width)
    return out.transpose(0, 3, 1, 2, 4).reshape(batch, length, heads, width)


class _Part(NamedTuple):
    """Softmax over some of the keys, not divided yet; float32.

    mixed `[..., Q, H]` is the weighted sum of values, total `[..., Q, 1]` the sum of weights, and top
    `[..., Q, 1]` the largest score.
    """

    mixed: Array
    total: Array
    top: Array


def _part(q: Array, kv: KV, mask: Array, softcap: float | None) -> _Part:
    """Queries `[..., Q, H]` on keys `[..., S, H]`, where mask `[..., Q, S]` allows.

    Dividing by the total afterwards, in the narrow result, saves a pass over the wide weights.
    """
    scores = jnp.einsum("...qh,...sh->...qs", q, kv.k, preferred_element_type=jnp.float32)
    if softcap is not None:
        scores = softcap * jnp.tanh(scores / softcap)
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
