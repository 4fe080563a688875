"""What the engine's steps are given, as shapes that say where they lie: for compiling without weights and data."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import ShapeDtypeStruct as Shape

from cai_jax.engine import buckets, decode_steps
from cai_jax.engine.generation_config import GenerationConfig
from cai_jax.engine.option_tail import Tail
from cai_jax.models import decoder
from cai_jax.models.attention import KV, Prefix
from cai_jax.models.config import Config
from cai_jax.parallel.mesh import HEADS, ROWS
from cai_jax.parallel.placement import like


def state(params: decoder.Params, config: Config, settings: GenerationConfig) -> decode_steps.State:
    """All slots, as `decode_steps.empty` lays them out for prompts of up to `GenerationConfig.longest` tokens."""
    sizes = settings.slots, settings.positions(_longest(settings)), settings.new
    found = jax.eval_shape(lambda: decode_steps.empty(config, *sizes, str(params["embed"].dtype)))
    cache = jax.tree.map(lambda leaf: like(leaf, params, ROWS, HEADS), found.cache)
    rest = jax.tree.map(lambda leaf: like(leaf, params, ROWS), found._replace(cache=()))
    return rest._replace(cache=cache)


def _longest(settings: GenerationConfig) -> int:
    assert settings.longest is not None  # as there are no rows of which it could be the longest
    return settings.longest


def texts(settings: GenerationConfig) -> decode_steps.Texts[Shape]:
    """As many different prompts as are read at once, all of them long."""
    count, width = settings.batch, buckets.next_power_of_two(_longest(settings))
    one = Shape((count,), jnp.int32)
    return decode_steps.Texts(Shape((count, width), jnp.int32), one, one, Shape((count, 2), jnp.uint32), one, one)


def decoding(settings: GenerationConfig) -> tuple:
    """What `decode_steps.decode` is told beyond the slots: who is cancelled, when to stop, how to sample."""
    knobs = jax.tree.map(lambda leaf: Shape(np.shape(leaf), leaf.dtype), settings.knobs())
    return Shape((settings.slots,), jnp.bool_), Shape((), jnp.int32), knobs


def prefix(params: decoder.Params, config: Config, tokens: int) -> Prefix:
    """A text of so many tokens that stands before all rows, as `make_prefix` stores it."""
    shape = Shape((config.kv_heads, buckets.next_power_of_two(tokens), config.head_dim), params["embed"].dtype)
    one = like(shape, params, HEADS)
    return Prefix((KV(one, one),) * config.layers, np.int32(tokens))  # type: ignore[arg-type]  # to jit, an array


def scoring(config: Config, rows: int, tokens: int, options: list[list[int]], before: Prefix | None) -> tuple:
    """What `score_options` gives its step beside the model, for rows of `tokens` tokens that share `before` alone."""
    tail = Tail.of(options)
    table = Shape((rows, buckets.next_eighth_octave(tokens + tail.tokens.size)), jnp.int32)
    given = jax.tree.map(lambda leaf: Shape(leaf.shape, leaf.dtype), tail)
    return table, Shape((rows,), jnp.int32), given, (), Shape((0, rows), jnp.int32), before
