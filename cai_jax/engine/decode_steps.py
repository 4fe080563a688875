"""The jitted steps of generation: fill slots with prompts, decode a chunk. Pure, the state donated.

Dimensions: B slots, P prompts of one prefill, T its length, I slots that it fills, S cache positions, N new tokens,
V vocabulary.
"""

from __future__ import annotations

from functools import partial
from typing import Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import Array

from cai_jax.engine.sampling import SamplingParams, draw, scaled_logprobs
from cai_jax.models import decoder
from cai_jax.models.attention import KV, Prefix
from cai_jax.models.config import Config
from cai_jax.parallel.mesh import HEADS, ROWS
from cai_jax.parallel.placement import constrain


class State(NamedTuple):
    """State of all slots.

    cache: k and v `[B, K, S, H]` per layer.
    lengths: int32 `[B]`, positions of the cache that hold the row, less its newest token.
    newest: int32 `[B]`, that token: the prompt's last at first.
    tokens: int32 `[B, N]` drawn so far; logprobs: float32 `[B, N]`, theirs, in nats.
    counts: int32 `[B]`, number of tokens drawn.
    keys: uint32 `[B, 2]`.
    active: bool `[B]`, still being continued.
    """

    cache: tuple[KV, ...]
    lengths: Array
    newest: Array
    tokens: Array
    logprobs: Array
    counts: Array
    keys: Array
    active: Array


@partial(jax.jit, static_argnums=(0, 1, 2, 3, 4))
def empty(config: Config, slots: int, positions: int, new: int, dtype: str) -> State:
    """Make B idle slots with S cache positions for rows and N for new tokens."""
    shape = (slots, config.kv_heads, positions, config.head_dim)
    cache = tuple(KV(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype)) for _ in range(config.layers))
    zeros = jnp.zeros(slots, jnp.int32)
    table = jnp.zeros((slots, new), jnp.int32)
    keys = jnp.zeros((slots, 2), jnp.uint32)
    return _laid(State(cache, zeros, zeros, table, table.astype(jnp.float32), zeros, keys, zeros.astype(bool)))


def _laid(state: State) -> State:
    """Lay the state out on a mesh: every device has the slots of its rows, and of their cache its heads."""
    cache = jax.tree.map(lambda leaf: constrain(leaf, ROWS, HEADS), state.cache)
    rest = jax.tree.map(lambda leaf: constrain(leaf, ROWS), state._replace(cache=()))
    return rest._replace(cache=cache)


class Seen(NamedTuple):
    """Part of `State` that the host reads between chunks; on a mesh every device has all of it."""

    tokens: Array
    logprobs: Array
    counts: Array
    active: Array


A = TypeVar("A")  # JAX's arrays within a step, NumPy's where the host makes them, or shapes alone


class Texts(NamedTuple, Generic[A]):
    """Prompts to be read, and the slots that continue them.

    rows: int32 `[P, T]`, different prompts; lengths: int32 `[P]`. sources: int32 `[I]`, the prompt that a slot
    continues; keys: uint32 `[I, 2]`, of its draws; counts: int32 `[I]`, the number of tokens drawn before, which are
    the prompt's last; slots: int32 `[I]`, its number. A slot numbered B, which does not exist, is written nowhere.
    """

    rows: A
    lengths: A
    sources: A
    keys: A
    counts: A
    slots: A


@partial(jax.jit, static_argnums=1, donate_argnums=2)
def fill(params: decoder.Params, config: Config, state: State, texts: Texts[Array], prefix: Prefix | None) -> State:
    """Read prompts, each once, and put them into all slots that continue them.

    Draws nothing: decode reads each row's last token again, which costs it a step and saves a compiled sampler for
    every prefill shape.
    """
    rows, lengths, sources, keys, counts, slots = texts
    _, layers = decoder.prefill(params, config, constrain(rows, ROWS), prefix=prefix, dtype=params["embed"].dtype)
    last = jnp.take_along_axis(rows, lengths[:, None] - 1, axis=1)[:, 0]

    def put(old: Array, new: Array) -> Array:
        return old.at[slots].set(new, mode="drop")

    def put_cache(old: Array, new: Array) -> Array:
        return old.at[slots, :, : rows.shape[1]].set(new[sources], mode="drop")

    return _laid(
        state._replace(
            cache=jax.tree.map(put_cache, state.cache, layers),
            lengths=put(state.lengths, lengths[sources] - 1),
            newest=put(state.newest, last[sources]),
            counts=put(state.counts, counts),
            keys=put(state.keys, keys),
            active=put(state.active, jnp.ones(slots.shape, bool)),
        )
    )


@partial(jax.jit, static_argnums=(1, 2), donate_argnums=3)
def decode(
    params: decoder.Params,
    config: Config,
    steps: int,
    state: State,
    cancelled: Array,
    least: Array,
    knobs: SamplingParams[Array],
    prefix: Prefix | None,
) -> tuple[State, Seen]:
    """Continue the active slots, less the `cancelled` (bool `[B]`), by up to `steps` tokens each.

    Stops early once at most `least` (int32 scalar) slots are active. The contents of a slot never influence another.

    Returns:
      the state, whose buffers replace those of the state passed in (donated), and what the host reads of it.
    """

    def step(carry: tuple[Array, State]) -> tuple[Array, State]:
        done, state = carry
        hidden, cache = decoder.extend(
            params,
            config,
            constrain(state.newest[:, None], ROWS),
            state.cache,
            state.lengths,
            prefix=prefix,
            dtype=params["embed"].dtype,
        )
        token, logprob, going = _next(params, config, hidden[:, 0], state.keys, state.counts, knobs)
        # An idle slot's write goes beyond the table and is dropped.
        column = jnp.where(state.active, state.counts, state.tokens.shape[1])
        advance = state.active.astype(jnp.int32)
        following = State(
            cache=cache,
            lengths=state.lengths + advance,
            newest=token,
            tokens=_put(state.tokens, column, token),
            logprobs=_put(state.logprobs, column, logprob),
            counts=state.counts + advance,
            keys=state.keys,
            active=state.active & going,
        )
        return done + 1, _laid(following)

    def unfinished(carry: tuple[Array, State]) -> Array:
        done, state = carry
        return (done < steps) & (jnp.sum(state.active) > least)

    state = state._replace(active=state.active & ~cancelled)
    _, state = jax.lax.while_loop(unfinished, step, (jnp.zeros((), jnp.int32), state))
    seen = Seen(state.tokens, state.logprobs, state.counts, state.active)
    return state, jax.tree.map(constrain, seen)


def _put(table: Array, columns: Array, values: Array) -> Array:
    """Return the table `[B, N]` with one value written in each row; none where a column is N."""
    return jax.vmap(lambda row, column, value: row.at[column].set(value, mode="drop"))(table, columns, values)


def _next(
    params: decoder.Params, config: Config, hidden: Array, keys: Array, counts: Array, knobs: SamplingParams[Array]
) -> tuple[Array, Array, Array]:
    """Draw after hidden `[B, D]`: tokens `[B]`, their log-probabilities `[B]` (nats), and True to go on `[B]`."""
    logits = decoder.unembed(params, config, hidden)
    logprobs = scaled_logprobs(logits, knobs.temperature, knobs.top_p)
    token = draw(logprobs, keys, counts, knobs.temperature)
    logprob = jnp.take_along_axis(logprobs, token[:, None], axis=-1)[:, 0]
    stopped = jnp.any(token[:, None] == knobs.stop_ids, axis=-1)
    return token, logprob, ~stopped & (counts + 1 < knobs.limit)
