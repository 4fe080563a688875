"""Drawing the next token. Temperature and top-p are traced: changing them compiles nothing."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array


class Knobs(NamedTuple):
    """How tokens are drawn and when a reply ends; traced scalars, and stop_ids int32 `[E]` (-1: none)."""

    temperature: Array
    top_p: Array
    stop_ids: Array
    limit: Array


def scaled_logprobs(logits: Array, temperature: Array, top_p: Array) -> Array:
    """Log-probabilities of the distribution that is sampled: logits `[B, V]` -> float32 `[B, V]`.

    Logits are divided by the temperature (by 1 where it is 0, the greedy limit), then cut to the nucleus:
    the fewest most likely tokens that hold at least `top_p` of the mass (Holtzman et al. 2019), renormalised.
    """
    logprobs = jax.nn.log_softmax(logits / jnp.where(temperature > 0, temperature, 1.0), axis=-1)
    # The sort costs more than the model's step on CPU, hence the branch.
    return jax.lax.cond(top_p < 1, _nucleus, lambda logprobs, _: logprobs, logprobs, top_p)


def draw(logprobs: Array, keys: Array, counts: Array, temperature: Array) -> Array:
    """One token per row, int32 `[B]`, from log-probabilities `[B, V]`; the likeliest at temperature 0.

    The draw depends only on the row's key (uint32 `[B, 2]`) and on how many tokens its reply has (`[B]`).
    """

    def noise(key: Array, count: Array) -> Array:
        key = jax.random.fold_in(jax.random.wrap_key_data(key, impl="threefry2x32"), count)
        return jax.random.gumbel(key, logprobs.shape[-1:], jnp.float32)

    def sampled() -> Array:
        return jnp.argmax(logprobs + jax.vmap(noise)(keys, counts), axis=-1)

    token = jax.lax.cond(temperature > 0, sampled, lambda: jnp.argmax(logprobs, axis=-1))
    return token.astype(jnp.int32)


def _nucleus(logprobs: Array, top_p: Array) -> Array:
    ordered = jnp.sort(logprobs, axis=-1, descending=True)
    mass = jnp.cumsum(jnp.exp(ordered), axis=-1)
    # A token is kept if the likelier ones do not reach top_p yet; the first always is.
    kept = jnp.sum(mass < top_p, axis=-1, keepdims=True)
    least = jnp.take_along_axis(ordered, jnp.minimum(kept, logprobs.shape[-1] - 1), axis=-1)
    return jax.nn.log_softmax(jnp.where(logprobs >= least, logprobs, -jnp.inf), axis=-1)
