"""Text that all rows of a node share, such as few-shots, read once and attended by every row."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

from cai_jax.engine import buckets
from cai_jax.models import decoder
from cai_jax.models.attention import KV, Prefix
from cai_jax.models.config import Config


def make_prefix(params: decoder.Params, config: Config, ids: Sequence[int]) -> Prefix:
    """Keys and values of `ids` for `prefix=` of this package's functions; the rows continue after them.

    Stored padded to a power of two, so that prefixes of similar length share compiled functions. Raises
    ValueError if `ids` is empty or fills the model's context.
    """
    if not ids:
        raise ValueError("a prefix needs at least one token; pass prefix=None for none")
    if len(ids) >= config.max_position:
        raise ValueError(f"the prefix has {len(ids)} tokens, but the model's context is {config.max_position}")
    tokens = buckets.pad([ids], 1, buckets.power(len(ids)))
    return Prefix(_read(params, config, tokens), jnp.asarray(len(ids), jnp.int32))


@partial(jax.jit, static_argnums=1)
def _read(params: decoder.Params, config: Config, tokens: Array) -> tuple[KV, ...]:
    _, layers = decoder.prefill(params, config, tokens, dtype=params["embed"].dtype)
    return jax.tree.map(lambda leaf: leaf[0], layers)
