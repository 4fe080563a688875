"""Attention in plain JAX, for every machine and every case.

The softmax over several sets of keys is merged from the parts' sums and largest scores (arXiv 2205.14135 §3.1).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from cai_jax.models import attention_blocks
from cai_jax.models.attention.cases import KV, Case
from cai_jax.parallel import target
from cai_jax.parallel.placement import mesh_set

# Score of a forbidden position. Finite, so that a row of nothing but padding has no NaN.
MASKED = -1e30

# Queries of a block against keys that all rows share, and queries of a row from which on rows are taken one by one
# (`_of_all`, `_of_row`). Chosen, not measured.
_TALL = 512
_LONG = 32


def attention(q: Array, kv: KV, case: Case) -> Array:
    """Compute attention as `cai_jax.models.attention.attention` says."""
    size = kv.k.shape[2]
    positions = jnp.arange(size)[None] if case.positions is None else case.positions
    if case.starts is not None:
        queries = _Queries(q, case.starts[:, None] + jnp.arange(q.shape[1]), case)
        return queries.attend(kv, case.segments, case.groups, positions)
    outputs = []
    # Keys outside of the window are not even read, where indices are positions.
    for start, end, first in attention_blocks.plain(size, case.window if case.positions is None else None):
        queries = _Queries(q[:, start:end], jnp.arange(start - first, end - first)[None], case)
        segments, groups = (None if table is None else table[:, first:end] for table in (case.segments, case.groups))
        keys = KV(kv.k[:, :, first:end], kv.v[:, :, first:end])
        outputs.append(queries.attend(keys, segments, groups, positions[:, first:end]))
    return outputs[0] if len(outputs) == 1 else jnp.concatenate(outputs, axis=1)


def behind_prefix(q: Array, seen: Array, log_total: Array, case: Case) -> Array:
    """Merge attention over the prefix into that over the row, given the latter's result (`cases.Kernel`)."""
    places = jnp.arange(q.shape[1])[None]
    return _Queries(q, places, case).merged(seen, log_total, places[..., None])


class _Part(NamedTuple):
    """Softmax over some of the keys, not divided yet; float32.

    mixed `[B, K, Q, H]` is the weighted sum of values, total `[B, K, Q, 1]` the sum of weights, and top
    `[B, K, Q, 1]` the largest score.
    """

    mixed: Array
    total: Array
    top: Array


@dataclass(frozen=True)
class _Queries:
    """Queries `[B, T, N, H]` at the indices `places` `[B or 1, T]` among the keys of their rows."""

    q: Array
    places: Array
    case: Case

    def attend(self, kv: KV, segments: Array | None, groups: Array | None, positions: Array) -> Array:
        """Compute the softmax over [prefix | kv]; segments, groups and positions `[B or 1, S]` are of the keys."""
        places = self.places
        mask = jnp.arange(kv.k.shape[2]) <= places[:, :, None]
        if segments is not None:
            mask = mask & (segments[:, None] == _own(segments, places)[:, :, None])
        if groups is not None:
            mask = mask & ((groups[:, None] == _own(groups, places)[:, :, None]) | (groups[:, None] == 0))
        own = None
        if self.case.window is not None:
            own = _own(positions, places)[:, :, None]
            mask = mask & (own - positions[:, None] < self.case.window)
        mask = jnp.broadcast_to(mask, (self.q.shape[0], *mask.shape[1:]))
        q = self._grouped(self.q * self.case.scale, kv.k.shape[1])
        by_row, shared = self._split(own)
        for keys, before in reversed(by_row):
            mask = jnp.concatenate([jnp.broadcast_to(before, (*mask.shape[:2], before.shape[2])), mask], axis=2)
            kv = jax.tree.map(lambda one, other: jnp.concatenate([one, other], axis=2), keys, kv)
        part = self._of_row(q, kv, mask)
        for keys, before in shared:
            part = _merge(part, self._of_all(q, keys, before))
        return self._result(part, kv.v.dtype)

    def merged(self, seen: Array, log_total: Array, own: Array) -> Array:
        """Compute the softmax over [prefix | row] from that over the row; own `[1, T, 1]`: the queries' positions."""
        kv_heads = self.case.prefix[0][0].k.shape[-3]
        q = self._grouped(self.q * self.case.scale, kv_heads)
        top = self._grouped(log_total[..., None], kv_heads).astype(jnp.float32)
        part = _Part(self._grouped(seen, kv_heads).astype(jnp.float32), jnp.ones_like(top), top)
        by_row, shared = self._split(own)
        for keys, before in by_row:
            mask = jnp.broadcast_to(before, (q.shape[0], self.q.shape[1], before.shape[2]))
            part = _merge(part, self._of_row(q, keys, mask))
        for keys, before in shared:
            part = _merge(part, self._of_all(q, keys, before))
        return self._result(part, seen.dtype)

    def _grouped(self, x: Array, kv_heads: int) -> Array:
        """`[B, T, N, H]` as `[B, K, group * T, H]`: heads of a group become rows of one GEMM against shared keys."""
        batch, length, heads, width = x.shape
        x = x.reshape(batch, length, kv_heads, heads // kv_heads, width).transpose(0, 2, 3, 1, 4)
        return x.reshape(batch, kv_heads, -1, width)

    def _result(self, part: _Part, dtype: DTypeLike) -> Array:
        """Divide the softmax: `[B, T, N, H]`."""
        batch, length, heads, width = self.q.shape
        kv_heads = part.mixed.shape[1]
        out = (part.mixed / part.total).astype(dtype).reshape(batch, kv_heads, heads // kv_heads, length, width)
        return out.transpose(0, 3, 1, 2, 4).reshape(batch, length, heads, width)

    def _split(self, own: Array | None) -> tuple[list[tuple[KV, Array]], list[tuple[KV, Array]]]:
        """Split the prefix into the parts of each row and those of all rows, each with the mask of what is seen of it.

        own `[B or 1, T, 1]` are the queries' positions, where there is a window. The masks are `[1 or B, 1 or T, P]`.
        """
        ends: list[Array | int] = [0, *itertools.accumulate(real for _, real in self.case.prefix)]
        by_row: list[tuple[KV, Array]] = []
        shared: list[tuple[KV, Array]] = []
        for (keys, real), begin in zip(self.case.prefix, ends, strict=False):
            numbers = jnp.arange(keys.k.shape[-2])
            mask = numbers < jnp.reshape(real, (-1, 1, 1))
            if self.case.window is not None:
                assert own is not None  # see above
                distance = own + jnp.reshape(ends[-1] - begin, (-1, 1, 1)) - numbers
                mask = mask & (distance < self.case.window)
            (by_row if keys.k.ndim == 4 else shared).append((keys, mask))
        return by_row, shared

    def _of_row(self, q: Array, kv: KV, mask: Array) -> _Part:
        """Attend with queries `[B, K, group * T, H]` to keys of their row `[B, K, S, H]`; mask `[B, T, S]`.

        On CPU after a prefix row by row, so that the scores stay in the cache; without one there may be a gradient,
        for which a loop costs more than it saves.
        """
        group = q.shape[2] // mask.shape[1]
        if not self.case.prefix or mask.shape[1] < _LONG or not _cached():
            return self._part(q, kv, jnp.tile(mask, (1, group, 1))[:, None])
        return jax.lax.map(lambda row: self._part(row[0], row[1], jnp.tile(row[2], (group, 1))), (q, kv, mask))

    def _of_all(self, q: Array, kv: KV, mask: Array) -> _Part:
        """Attend with queries `[B, K, group * T, H]` to keys `[K, P, H]` that all rows share: one GEMM of all rows.

        mask is `[1 or B, 1 or T, P]`. On CPU long products are taken some hundred queries of a head at a time: their
        scores stay in the cache instead of making several trips to memory, which takes a third of the time.
        """
        batch, kv_heads, rows, width = q.shape
        tall = q.swapaxes(0, 1).reshape(kv_heads, batch * rows, width)
        if mask.shape[0] > 1 or mask.shape[1] > 1:
            mask = jnp.tile(jnp.broadcast_to(mask, (batch, *mask.shape[1:])), (1, rows // mask.shape[1], 1))
        mask = mask.reshape(-1, mask.shape[2])
        blocks, left = divmod(batch * rows, _TALL)
        if blocks < 2 or left or len(mask) > 1 or not _cached():
            found = self._part(tall, kv, mask)
        else:
            by_head = (tall.reshape(kv_heads, blocks, _TALL, width), kv)
            found = jax.lax.map(lambda h: jax.lax.map(lambda some: self._part(some, h[1], mask), h[0]), by_head)
        return _Part(*(leaf.reshape(kv_heads, batch, rows, -1).swapaxes(0, 1) for leaf in found))

    def _part(self, q: Array, kv: KV, mask: Array) -> _Part:
        """Attend with queries `[..., Q, H]` to keys `[..., S, H]`; mask `[..., Q, S]` is True where a key is seen.

        Dividing by the total afterwards, in the narrow result, saves a pass over the wide weights.
        """
        scores = jnp.einsum("...qh,...sh->...qs", q, kv.k, preferred_element_type=jnp.float32)
        if self.case.softcap is not None:
            scores = self.case.softcap * jnp.tanh(scores / self.case.softcap)
        scores = jnp.where(mask, scores, MASKED)
        top = jax.lax.stop_gradient(scores.max(axis=-1, keepdims=True))
        weights = jnp.exp(scores - top)
        total = weights.sum(axis=-1, keepdims=True)
        mixed = jnp.einsum("...qs,...sh->...qh", weights.astype(kv.v.dtype), kv.v, preferred_element_type=jnp.float32)
        return _Part(mixed, total, top)


def _cached() -> bool:
    """True where a loop's small pieces stay in a cache: on one CPU device, since over several it cannot be split."""
    return target.platform() == "cpu" and mesh_set() is None


def _own(table: Array, places: Array) -> Array:
    """Return the entries of table `[B or 1, S]` at places `[B or 1, T]`: `[B or 1, T]`."""
    rows = max(table.shape[0], places.shape[0])
    table, places = (jnp.broadcast_to(x, (rows, x.shape[1])) for x in (table, places))
    return jnp.take_along_axis(table, places, axis=1)


def _merge(a: _Part, b: _Part) -> _Part:
    """Merge two parts into the softmax over the keys of both.

    With t = max(t_a, t_b): mixed_a e^(t_a - t) + mixed_b e^(t_b - t), and the totals likewise.
    """
    top = jnp.maximum(a.top, b.top)
    scale_a, scale_b = jnp.exp(a.top - top), jnp.exp(b.top - top)
    return _Part(a.mixed * scale_a + b.mixed * scale_b, a.total * scale_a + b.total * scale_b, top)
