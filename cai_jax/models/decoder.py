"""The decoder of the Llama architecture, in flax.linen, used purely.

Parameters are a plain nested dict; kernels are `[in, out]`:

    embed [V, D]                       unembed [D, V] (absent if tied)       final_norm [D]
    layers_<i>/attention_norm [D]      layers_<i>/mlp_norm [D]
    layers_<i>/attention/{q_proj [D, N*H], k_proj [D, K*H], v_proj [D, K*H], o_proj [N*H, D]}
    layers_<i>/mlp/{gate_proj [D, F], up_proj [D, F], down_proj [F, D]}

Dimensions: B rows, T tokens, D width, N query heads, K key/value heads, H head width, F feed-forward,
V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from cai_jax.models.attention import KV, Prefix, attention
from cai_jax.models.config import Config
from cai_jax.models.rotary import rotate, rotation

Params = Mapping[str, Any]

# How a layer attends: (layer number, rotated q [B, T, N, H], rotated k and v [B, K, T, H]) -> what it saw
# [B, T, N, H] and the keys and values to keep. Training, prefill and decode differ in nothing else.
Attend = Callable[[int, Array, KV], tuple[Array, KV | None]]


def _fan_in(gain: float = 1.0) -> nn.initializers.Initializer:
    return nn.initializers.variance_scaling(gain, "fan_in", "normal")


def _dense(x: Array, kernel: Array) -> Array:
    """x `[..., in]` times kernel `[in, out]` in x's dtype.

    Flattened to two dimensions: XLA's CPU backend runs the kernel's gradient, a contraction over all
    leading dimensions, twice as fast as one GEMM.
    """
    flat = x.reshape(-1, x.shape[-1]) @ kernel.astype(x.dtype)
    return flat.reshape(*x.shape[:-1], -1)


class Attention(nn.Module):
    config: Config

    def setup(self) -> None:
        c = self.config
        q, kv = c.heads * c.head_dim, c.kv_heads * c.head_dim
        self.q_proj = self.param("q_proj", _fan_in(), (c.hidden_size, q))
        self.k_proj = self.param("k_proj", _fan_in(), (c.hidden_size, kv))
        self.v_proj = self.param("v_proj", _fan_in(), (c.hidden_size, kv))
        self.o_proj = self.param("o_proj", _fan_in(1 / (2 * c.layers)), (q, c.hidden_size))

    def __call__(self, x: Array, turn: tuple[Array, Array], layer: int, attend: Attend) -> tuple[Array, KV | None]:
        c = self.config
        # One product for q, k and v: on CPU a third of the passes over x, and a wider, faster GEMM.
        kernel = jnp.concatenate([self.q_proj, self.k_proj, self.v_proj], axis=1)
        heads = _dense(x, kernel).reshape(*x.shape[:2], -1, c.head_dim)
        q, k, v = jnp.split(heads, [c.heads, c.heads + c.kv_heads], axis=2)
        kv = KV(rotate(k, turn).transpose(0, 2, 1, 3), v.transpose(0, 2, 1, 3))
        seen, kept = attend(layer, rotate(q, turn), kv)
        return _dense(seen.reshape(*x.shape[:2], -1), self.o_proj), kept


class FeedForward(nn.Module):
    config: Config

    def setup(self) -> None:
        c = self.config
        self.gate_proj = self.param("gate_proj", _fan_in(), (c.hidden_size, c.intermediate_size))
        self.up_proj = self.param("up_proj", _fan_in(), (c.hidden_size, c.intermediate_size))
        self.down_proj = self.param("down_proj", _fan_in(1 / (2 * c.layers)), (c.intermediate_size, c.hidden_size))

    def __call__(self, x: Array) -> Array:
        return _dense(jax.nn.silu(_dense(x, self.gate_proj)) * _dense(x, self.up_proj), self.down_proj)


def _norm(x: Array, scale: Array, eps: float) -> Array:
    """RMSNorm in float32, returned in x's dtype."""
    wide = x.astype(jnp.float32)
    wide = wide * jax.lax.rsqrt(jnp.mean(wide * wide, axis=-1, keepdims=True) + eps)
    return wide.astype(x.dtype) * scale.astype(x.dtype)


class Block(nn.Module):
    config: Config

    def setup(self) -> None:
        width = (self.config.hidden_size,)
        self.attention_norm = self.param("attention_norm", nn.initializers.ones, width)
        self.attention = Attention(self.config)
        self.mlp_norm = self.param("mlp_norm", nn.initializers.ones, width)
        self.mlp = FeedForward(self.config)

    def __call__(self, x: Array, turn: tuple[Array, Array], layer: int, attend: Attend) -> tuple[Array, KV | None]:
        eps = self.config.norm_eps
        update, kept = self.attention(_norm(x, self.attention_norm, eps), turn, layer, attend)
        x = x + update
        return x + self.mlp(_norm(x, self.mlp_norm, eps)), kept


class Decoder(nn.Module):
    config: Config
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        c = self.config
        # Rows of length about one, so that logits of a tied model have unit variance at the start.
        narrow = nn.initializers.normal(c.hidden_size**-0.5)
        self.embed = self.param("embed", narrow, (c.vocab_size, c.hidden_size))
        self.layers = [Block(c) for _ in range(c.layers)]
        self.final_norm = self.param("final_norm", nn.initializers.ones, (c.hidden_size,))

    def __call__(self, tokens: Array, positions: Array, attend: Attend) -> tuple[Array, tuple[KV | None, ...]]:
        x = self.embed.astype(self.dtype)[tokens]
        turn = rotation(self.config, positions)
        kept = []
        for number, layer in enumerate(self.layers):
            x, kv = layer(x, turn, number, attend)
            kept.append(kv)
        return _norm(x, self.final_norm, self.config.norm_eps), tuple(kept)


@partial(jax.jit, static_argnums=0)
def init(config: Config, key: Array) -> Params:
    """Fresh float32 parameters."""
    for_trunk, for_head = jax.random.split(key)
    tokens = jnp.zeros((1, 1), jnp.int32)
    params = Decoder(config).init(for_trunk, tokens, tokens, lambda _, q, kv: (q, None))["params"]
    if config.tie_embeddings:
        return params
    return params | {"unembed": _fan_in()(for_head, (config.hidden_size, config.vocab_size))}


def hidden(
    params: Params,
    config: Config,
    tokens: Array,
    *,
    positions: Array | None = None,
    segments: Array | None = None,
    dtype: DTypeLike = jnp.float32,
) -> Array:
    """Training forward: tokens `[B, T]` int32 -> final hidden states `[B, T, D]`, normed, in `dtype`.

    A token attends to itself and to earlier tokens of its segment. segments `[B, T]` int32 numbers the
    documents packed into a row, 0 marks padding; by default the whole row is one. positions `[B, T]`
    int32 restart at 0 in every segment; by default they count from the start of the row.
    """
    if positions is None:
        positions = _count(tokens)

    def attend(_: int, q: Array, kv: KV) -> tuple[Array, None]:
        return attention(q, kv, groups=segments, scale=config.head_dim**-0.5), None

    return _apply(params, config, tokens, positions, attend, dtype)[0]


def prefill(
    params: Params,
    config: Config,
    tokens: Array,
    *,
    positions: Array | None = None,
    branches: Array | None = None,
    prefix: Prefix | None = None,
    dtype: DTypeLike = jnp.float32,
) -> tuple[Array, tuple[KV, ...]]:
    """Read rows from their start: tokens `[B, T]` int32, padded on the right.

    Returns hidden states `[B, T, D]` (final norm applied; meaningless at padding) and per layer the keys
    and values `[B, K, T, H]`. positions `[B, T]` int32 count from the end of the prefix, by default
    0, 1, ...; branches `[B, T]` int32 marks alternative continuations (`attention`, groups).
    """
    positions = _count(tokens) if positions is None else positions

    def attend(layer: int, q: Array, kv: KV) -> tuple[Array, KV]:
        shared, scale = _shared(prefix, layer), config.head_dim**-0.5
        return attention(q, kv, groups=branches, scale=scale, prefix=shared), kv

    return _apply(params, config, tokens, _offset(prefix) + positions, attend, dtype)


def extend(
    params: Params,
    config: Config,
    tokens: Array,
    cache: tuple[KV, ...],
    starts: Array,
    *,
    positions: Array | None = None,
    groups: Array | None = None,
    key_positions: Array | None = None,
    prefix: Prefix | None = None,
    dtype: DTypeLike = jnp.float32,
) -> tuple[Array, tuple[KV, ...]]:
    """Append T tokens to rows whose first `starts` `[B]` int32 tokens the cache holds.

    The cache is `[B, K, S, H]` per layer. Returns hidden states `[B, T, D]` of tokens `[B, T]` int32, and
    the cache with their keys and values written in. Writes beyond S are dropped.

    Where a row holds alternative continuations, groups `[B, S]` int32 says which key belongs to which (`attention`),
    positions `[B, T]` int32 where the new tokens stand, by default at `starts` and on, and key_positions `[B, S]` where
    all do, the new ones included; both count from the end of the prefix.
    """
    positions = starts[:, None] + _count(tokens) if positions is None else positions

    def attend(layer: int, q: Array, kv: KV) -> tuple[Array, KV]:
        kept = KV(*(_write(old, new, starts) for old, new in zip(cache[layer], kv, strict=True)))
        seen = attention(
            q,
            kept,
            scale=config.head_dim**-0.5,
            starts=starts,
            groups=groups,
            positions=key_positions,
            prefix=_shared(prefix, layer),
        )
        return seen, kept

    return _apply(params, config, tokens, _offset(prefix) + positions, attend, dtype)


def trunk(params: Params) -> Params:
    """The parameters without an untied unembedding, which a scalar head takes the place of."""
    return {name: leaf for name, leaf in params.items() if name != "unembed"}


def unembed(params: Params, config: Config, hidden: Array) -> Array:
    """Logits of final hidden states: `[..., D]` -> `[..., V]` float32."""
    kernel = params["embed"].T if config.tie_embeddings else params["unembed"]
    flat = hidden.reshape(-1, hidden.shape[-1])
    logits = jnp.matmul(flat, kernel.astype(flat.dtype), preferred_element_type=jnp.float32)
    return logits.reshape(*hidden.shape[:-1], -1)


def _apply(
    params: Params, config: Config, tokens: Array, positions: Array, attend: Attend, dtype: DTypeLike
) -> tuple[Array, tuple[KV, ...]]:
    return Decoder(config, dtype).apply({"params": trunk(params)}, tokens, positions, attend)


def _write(cache: Array, new: Array, starts: Array) -> Array:
    """Put new `[B, K, T, H]` into cache `[B, K, S, H]` at each row's start."""
    rows = jnp.arange(cache.shape[0])[:, None]
    steps = starts[:, None] + jnp.arange(new.shape[2])
    return cache.at[rows, :, steps].set(new.transpose(0, 2, 1, 3), mode="drop")


def _count(tokens: Array) -> Array:
    return jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)


def _offset(prefix: Prefix | None) -> Array | int:
    return 0 if prefix is None else prefix.end()


def _shared(prefix: Prefix | None, layer: int) -> tuple[tuple[KV, Array], ...]:
    return () if prefix is None else prefix.parts(layer)
