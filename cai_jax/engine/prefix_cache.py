"""Texts that precede rows, read once and attended by every row that continues them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import jax
import numpy as np
from jax import Array

from cai_jax.engine import buckets, long_rope
from cai_jax.models import decoder
from cai_jax.models.attention import KV, Prefix
from cai_jax.models.config import Config
from cai_jax.parallel.mesh import HEADS, ROWS
from cai_jax.parallel.placement import constrain, on_mesh_of


def make_prefix(params: decoder.Params, config: Config, ids: Sequence[int], before: Prefix | None = None) -> Prefix:
    """Compute keys and values of `ids`, for `prefix=` of this package's functions; the rows continue after them.

    Stored padded to a power of two, so that prefixes of similar length share compiled functions. Read twice where long
    texts see it otherwise (engine/long_rope.py).

    Args:
      before: the prefix that precedes `ids` itself.

    Raises:
      ValueError: `ids` is empty or fills the model's context.
    """
    if not ids:
        raise ValueError("a prefix needs at least one token; pass prefix=None for none")
    room = config.max_position - length_of(before)
    if len(ids) >= room:
        raise ValueError(f"the prefix has {len(ids)} tokens, but the model's context is {room}")
    short, *long = (
        _made(params, each, ids, long_rope.seen_prefix(before, number > 0))
        for number, each in enumerate(long_rope.configs(config))
    )
    return short._replace(long=long[0]) if long else short


def _made(params: decoder.Params, config: Config, ids: Sequence[int], before: Prefix | None) -> Prefix:
    with on_mesh_of(params):
        rows = read_prefix(params, config, buckets.pad([ids], 1, buckets.next_power_of_two(len(ids))), before)
        return Prefix(jax.tree.map(lambda leaf: leaf[0], rows), np.int32(len(ids)), before)  # type: ignore[arg-type]  # to jit, an array


def length_of(prefix: Prefix | None) -> int:
    """Tokens of a prefix that all rows share; 0 without one."""
    return 0 if prefix is None else int(prefix.end())


@partial(jax.jit, static_argnums=1)
def read_prefix(params: decoder.Params, config: Config, tokens: Array, prefix: Prefix | None) -> tuple[KV, ...]:
    """Compute keys and values `[R, K, T, H]` per layer of rows int32 `[R, T]` after a prefix."""
    tokens = constrain(tokens, ROWS)
    layers = decoder.prefill(params, config, tokens, prefix=prefix, dtype=params["embed"].dtype)[1]
    return jax.tree.map(lambda leaf: constrain(leaf, ROWS, HEADS), layers)
