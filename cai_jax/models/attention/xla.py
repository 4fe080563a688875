"""Attention in plain JAX, for every machine and every case."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from cai_jax.models.attention.keys import KV

# Score of a forbidden position. Finite, so that a row of nothing but padding has no NaN.
MASKED = -1e30

# Query rows that share one static range of keys; smaller blocks skip more of the causal triangle's empty
# half, larger ones make fewer, wider products.
_BLOCK = 128
_BLOCKS = 8

# Queries of a block against keys that all rows share, and queries of a row from which on rows are taken one by one.
_TALL = 512
_LONG = 32


def attention(
    q: Array,
    kv: KV,
    scale: float,
    starts: Array | None,
    groups: Array | None,
    positions: Array | None,
    window: int | None,
    softcap: float | None,
    prefix: tuple[tuple[KV, Array], ...],
) -> Array:
    """See `cai_jax.models.attention.attention`."""
    rules = _Rules(scale, window, softcap)
    size = kv.k.shape[2]
    where = jnp.arange(size)[None] if positions is None else positions
    if starts is not None:
        places = starts[:, None] + jnp.arange(q.shape[1])
        return rules.attend(q, kv, places, groups, where, prefix)
    outputs = []
    block = max(_BLOCK, -(-size // _BLOCKS))
    for start in range(0, size, block):
        end = min(start + block, size)
        # What lies behind the window is not even looked at, where places are positions.
        first = 0 if window is None or positions is not None else max(0, start - window + 1)
        seen = KV(kv.k[:, :, first:end], kv.v[:, :, first:end])
        places = jnp.arange(start - first, end - first)[None]
        some = None if groups is None else groups[:, first:end]
        outputs.append(rules.attend(q[:, start:end], seen, places, some, where[:, first:end], prefix))
    return outputs[0] if len(outputs) == 1 else jnp.concatenate(outputs, axis=1)


class _Part(NamedTuple):
    """Softmax over some of the keys, not divided yet; float32.

    mixed `[B, K, Q, H]` is the weighted sum of values, total `[B, K, Q, 1]` the sum of weights, and top
    `[B, K, Q, 1]` the largest score.
    """

    mixed: Array
    total: Array
    top: Array


@dataclass(frozen=True)
class _Rules:
    """What holds for all queries of a layer; see `cai_jax.models.attention.attention`."""

    scale: float
    window: int | None
    softcap: float | None

    def attend(
        self,
        q: Array,
        kv: KV,
        places: Array,
        groups: Array | None,
        positions: Array,
        prefix: tuple[tuple[KV, Array], ...],
    ) -> Array:
        """Softmax over [prefix | kv] of queries that stand at `places` `[B or 1, T]` among the keys.

        groups and positions `[B or 1, S]` are those of the keys.
        """
        batch, length, heads, width = q.shape
        kv_heads = kv.k.shape[1]
        group = heads // kv_heads
        mask = jnp.arange(kv.k.shape[2]) <= places[:, :, None]
        if groups is not None:
            mask = mask & ((groups[:, None] == _own(groups, places)[:, :, None]) | (groups[:, None] == 0))
        own = None
        if self.window is not None:
            own = _own(positions, places)[:, :, None]
            mask = mask & (own - positions[:, None] < self.window)
        # The query heads of a group become rows of one GEMM against the keys that they share.
        q = (q * self.scale).reshape(batch, length, kv_heads, group, width).transpose(0, 2, 3, 1, 4)
        q = q.reshape(batch, kv_heads, group * length, width)
        mask = jnp.broadcast_to(mask, (batch, *mask.shape[1:]))
        shared = [(keys, real) for keys, real in prefix if keys.k.ndim == 3]
        ends = list(itertools.accumulate((real for _, real in prefix), initial=0))
        for (keys, real), begin in zip(reversed(prefix[len(shared) :]), reversed(ends[len(shared) : -1]), strict=True):
            before = self.visible(keys, real, own, ends[-1] - begin)
            mask = jnp.concatenate([jnp.broadcast_to(before, (*mask.shape[:2], before.shape[2])), mask], axis=2)
            kv = jax.tree.map(lambda one, other: jnp.concatenate([one, other], axis=2), keys, kv)
        part = self.own(q, kv, mask, by_row=length >= _LONG and bool(prefix))
        for (keys, real), begin in zip(shared, ends, strict=False):
            part = _merge(part, self.shared(q, keys, self.visible(keys, real, own, ends[-1] - begin)))
        out = (part.mixed / part.total).astype(kv.v.dtype).reshape(batch, kv_heads, group, length, width)
        return out.transpose(0, 3, 1, 2, 4).reshape(batch, length, heads, width)

    def visible(self, kv: KV, real: Array, own: Array | None, ahead: Array | int) -> Array:
        """Which keys of a part of the prefix are seen: `[1 or B, 1 or T, P]`.

        own `[B or 1, T, 1]` are the queries' positions, where there is a window; position 0 stands `ahead` tokens
        behind the part's first.
        """
        keys = jnp.arange(kv.k.shape[-2])
        mask = keys < jnp.reshape(real, (-1, 1, 1))
        if self.window is None:
            return mask
        return mask & (own + jnp.reshape(ahead, (-1, 1, 1)) - keys < self.window)

    def own(self, q: Array, kv: KV, mask: Array, by_row: bool) -> _Part:
        """Queries `[B, K, group * T, H]` on keys of their row `[B, K, S, H]`, where mask `[B, T, S]` allows.

        Row by row, the scores stay in the processor's cache; differentiated, a loop would cost more than it saves.
        """
        group = q.shape[2] // mask.shape[1]
        if not by_row:
            return self.part(q, kv, jnp.tile(mask, (1, group, 1))[:, None])
        return jax.lax.map(lambda row: self.part(row[0], row[1], jnp.tile(row[2], (group, 1))), (q, kv, mask))

    def shared(self, q: Array, kv: KV, mask: Array) -> _Part:
        """Queries `[B, K, group * T, H]` on keys that all rows share `[K, P, H]`: one GEMM of all rows.

        mask is `[1 or B, 1 or T, P]`. Long products are taken some hundred queries at a time, whose scores stay in
        the processor's cache instead of making several trips to memory.
        """
        batch, kv_heads, rows, width = q.shape
        tall = q.swapaxes(0, 1).reshape(kv_heads, batch * rows, width)
        if mask.shape[1] > 1:
            mask = jnp.tile(jnp.broadcast_to(mask, (batch, *mask.shape[1:])), (1, rows // mask.shape[1], 1))
        mask = mask.reshape(-1, mask.shape[2])
        blocks, left = divmod(batch * rows, _TALL)
        if blocks < 2 or left or len(mask) > 1:
            found = self.part(tall, kv, mask)
        else:
            by_head = (tall.reshape(kv_heads, blocks, _TALL, width), kv)
            found = jax.lax.map(lambda h: jax.lax.map(lambda some: self.part(some, h[1], mask), h[0]), by_head)
        return _Part(*(leaf.reshape(kv_heads, batch, rows, -1).swapaxes(0, 1) for leaf in found))

    def part(self, q: Array, kv: KV, mask: Array) -> _Part:
        """Queries `[..., Q, H]` on keys `[..., S, H]`, where mask `[..., Q, S]` allows.

        Dividing by the total afterwards, in the narrow result, saves a pass over the wide weights.
        """
        scores = jnp.einsum("...qh,...sh->...qs", q, kv.k, preferred_element_type=jnp.float32)
        if self.softcap is not None:
            scores = self.softcap * jnp.tanh(scores / self.softcap)
        scores = jnp.where(mask, scores, MASKED)
        top = jax.lax.stop_gradient(scores.max(axis=-1, keepdims=True))
        weights = jnp.exp(scores - top)
        total = weights.sum(axis=-1, keepdims=True)
        mixed = jnp.einsum("...qs,...sh->...qh", weights.astype(kv.v.dtype), kv.v, preferred_element_type=jnp.float32)
        return _Part(mixed, total, top)


def _own(table: Array, places: Array) -> Array:
    """The entries of table `[B or 1, S]` at places `[B or 1, T]`: `[B or 1, T]`."""
    rows = max(table.shape[0], places.shape[0])
    spread = (jnp.broadcast_to(x, (rows, x.shape[1])) for x in (table, places))
    return jnp.take_along_axis(*spread, axis=1)


def _merge(a: _Part, b: _Part) -> _Part:
    """The softmax over the keys of both."""
    top = jnp.maximum(a.top, b.top)
    scale_a, scale_b = jnp.exp(a.top - top), jnp.exp(b.top - top)
    return _Part(a.mixed * scale_a + b.mixed * scale_b, a.total * scale_a + b.total * scale_b, top)
