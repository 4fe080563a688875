"""Sampling of the next token. Temperature and top-p are traced: changing them compiles nothing."""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import Array

A = TypeVar("A")  # JAX's arrays within a step, NumPy's where the host makes them
_WIDTH = 128  # tokens of a block in which a draw is searched; about the root of a vocabulary, chosen, not measured


class SamplingParams(NamedTuple, Generic[A]):
    """Parameters of sampling and of the end of a reply; traced scalars, and stop_ids int32 `[E]` (-1: none).

    temperature, top_p: float32; limit: int32, the most tokens of a reply.
    """

    temperature: A
    top_p: A
    stop_ids: A
    limit: A


def scaled_logprobs(logits: Array, temperature: Array, top_p: Array) -> Array:
    """Compute log-probabilities of the distribution that is sampled: logits `[B, V]` -> float32 `[B, V]`, nats.

    log softmax(logits / temperature) (logits as they are at temperature 0, the greedy limit), cut to the nucleus:
    the fewest most likely tokens that hold at least `top_p` of the mass (arXiv 1904.09751), renormalised. Of
    equally likely ones those with the lowest ids are kept.
    """
    logprobs = jax.nn.log_softmax(logits / jnp.where(temperature > 0, temperature, 1.0), axis=-1)
    # The sort costs more than the model's step on CPU, hence the branch.
    return jax.lax.cond(top_p < 1, _nucleus, lambda logprobs, _: logprobs, logprobs, top_p)


def draw(logprobs: Array, keys: Array, counts: Array, temperature: Array) -> Array:
    """Draw one token per row, int32 `[B]`, from log-probabilities `[B, V]`; the likeliest at temperature 0.

    The draw depends only on the row's key (uint32 `[B, 2]`) and on the number of tokens that its reply has (`[B]`).
    """

    def uniform(key: Array, count: Array) -> Array:
        key = jax.random.fold_in(jax.random.wrap_key_data(key, impl="threefry2x32"), count)
        return jax.random.uniform(key, (), jnp.float32)

    def sampled() -> Array:
        return inverse(jnp.exp(logprobs), jax.vmap(uniform)(keys, counts))

    token = jax.lax.cond(temperature > 0, sampled, lambda: jnp.argmax(logprobs, axis=-1))
    return token.astype(jnp.int32)


def inverse(p: Array, u: Array) -> Array:
    """Sample by inversion: the first token at which the cumulative sum of p `[B, V]` exceeds u times its total; `[B]`.

    u `[B]` is uniform in [0, 1). A token of probability 0 is never drawn. One random number a row: noise for every
    token, as the Gumbel trick needs it, costs an eighth of a decoding step on CPU. The sum is searched in two levels,
    blocks and then tokens.
    """
    blocks = jnp.pad(p, ((0, 0), (0, -p.shape[1] % _WIDTH))).reshape(p.shape[0], -1, _WIDTH)
    sums = blocks.sum(axis=-1)
    ends = jnp.cumsum(sums, axis=-1)
    target = (u * ends[:, -1])[:, None]
    block = _first(ends > target, sums)
    row = jnp.take_along_axis(blocks, block[..., None], axis=1)[:, 0]
    begin = jnp.take_along_axis(ends - sums, block, axis=1)
    token = _first(begin + jnp.cumsum(row, axis=-1) > target, row)
    return (block * _WIDTH + token)[:, 0]


def _first(passed: Array, p: Array) -> Array:
    """`[B, 1]`: the first index where `passed` `[B, N]` and p > 0; that of the largest p where there is none."""
    passed = passed & (p > 0)
    found = jnp.where(passed.any(axis=-1), jnp.argmax(passed, axis=-1), jnp.argmax(p, axis=-1))
    return found[:, None]


def _nucleus(logprobs: Array, top_p: Array) -> Array:
    ordered = jnp.sort(logprobs, axis=-1, descending=True)
    mass = jnp.cumsum(jnp.exp(ordered), axis=-1)
    # A token is kept if the likelier ones do not reach top_p yet; the first always is.
    last = jnp.minimum(jnp.sum(mass < top_p, axis=-1, keepdims=True), logprobs.shape[-1] - 1)
    least = jnp.take_along_axis(ordered, last, axis=-1)
    # Of those that are as likely as the last that is kept, as many as still fit, in the order of their ids.
    tied, likelier = logprobs == least, logprobs > least
    room = last + 1 - jnp.sum(likelier, axis=-1, keepdims=True)
    kept = likelier | (tied & (jnp.cumsum(tied, axis=-1) <= room))
    return jax.nn.log_softmax(jnp.where(kept, logprobs, -jnp.inf), axis=-1)
