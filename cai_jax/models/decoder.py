"""The decoder of all families, in flax.linen, used purely.

Parameters are a plain nested dict; kernels are `[in, out]`, and `?` marks what only some families have:

    embed [V, D]                 unembed [D, V] ? (absent if tied)      final_norm [D]
    embed_positions [M, D] ?
    layers_<i>/attention_norm [D] ?     layers_<i>/attention_out_norm [D] ?     layers_<i>/mlp_norm, mlp_out_norm
    layers_<i>/attention/{q_proj [D, N*H], k_proj [D, K*H], v_proj [D, K*H], o_proj [N*H, D], q_bias, k_bias,
                          v_bias, o_bias ?, q_norm, k_norm [H] or [N*H], [K*H] ?}
    layers_<i>/mlp/{gate_proj [D, F] ?, up_proj [D, F], down_proj [F, D], gate_bias, up_bias, down_bias ?}

A LayerNorm also has a bias, as in attention_norm_bias [D], and a kernel that has an adapter its two sides, as in
up_proj_a [D, r] and up_proj_b [r, F] (models/lora.py).

Dimensions: B rows, T tokens, D width, N query heads, K key/value heads, H head width, F feed-forward,
V vocabulary, M positions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.linalg import block_diag
from jax.typing import DTypeLike

from cai_jax.models import lora
from cai_jax.models.attention import KV, Prefix, attention
from cai_jax.models.config import ACTIVATIONS, Config
from cai_jax.models.rope import Turn, rotate, rotation
from cai_jax.models.rope_scaling import LongRope
from cai_jax.parallel.mesh import HEADS, ROWS
from cai_jax.parallel.placement import constrain, heads_split, stacked

Params = Mapping[str, Any]

# The attention of a layer: (layer number, rotated q [B, T, N, H], rotated k and v [B, K, T, H]) -> output
# [B, T, N, H] and the keys and values to keep. Training, prefill and decode differ in nothing else.
Attend = Callable[[int, Array, KV], tuple[Array, KV | None]]


_ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = {
    "silu": jax.nn.silu,
    "relu": jax.nn.relu,
    "gelu": partial(jax.nn.gelu, approximate=False),
    "gelu_tanh": partial(jax.nn.gelu, approximate=True),
}


# Layers up to which nothing is looped: they compile in seconds, and nothing is copied. Chosen, not measured.
_UNROLLED = 8


def _fan_in(gain: float = 1.0) -> nn.initializers.Initializer:
    return nn.initializers.variance_scaling(gain, "fan_in", "normal")


class Kernel(NamedTuple):
    """A linear layer: its weight [in, out], and A [in, r] and B [r, out] of its adapter, None where it has none."""

    weight: Array
    a: Array | None
    b: Array | None


def _kernel(module: nn.Module, name: str, shape: tuple[int, int], gain: float = 1.0) -> Kernel:
    weight = module.param(name, _fan_in(gain), shape)
    a, b = lora.SIDES
    return Kernel(weight, module.get_variable("params", name + a), module.get_variable("params", name + b))


def _beside(kernels: Sequence[Kernel]) -> Kernel:
    """Concatenate layers of one input into one layer, their outputs in order."""
    weights, a, b = zip(*kernels, strict=True)
    weight = jnp.concatenate(weights, axis=1)
    return Kernel(weight, None, None) if a[0] is None else Kernel(weight, jnp.concatenate(a, axis=1), block_diag(*b))


def _dense(x: Array, kernel: Kernel, bias: Array | None = None) -> Array:
    """Apply a linear layer to x `[..., in]`: x W + (x A) B + bias, `[..., out]`, in x's dtype.

    Flattened to two dimensions: XLA's CPU backend runs the kernel's gradient, a contraction over all
    leading dimensions, twice as fast as one GEMM.
    """
    flat = x.reshape(-1, x.shape[-1])
    out = flat @ kernel.weight.astype(x.dtype)
    if kernel.a is not None and kernel.b is not None:
        out = out + flat @ kernel.a.astype(x.dtype) @ kernel.b.astype(x.dtype)
    out = out if bias is None else out + bias.astype(x.dtype)
    return out.reshape(*x.shape[:-1], -1)


# A norm's scale, and its bias if it has one.
NormParams = tuple[Array, Array | None]


def _norm_params(module: nn.Module, name: str, width: int) -> NormParams:
    kind = module.config.norm
    start = nn.initializers.zeros if kind == "rms_plus_one" else nn.initializers.ones
    scale = module.param(name, start, (width,))
    return scale, module.param(f"{name}_bias", nn.initializers.zeros, (width,)) if kind == "layer" else None


def _norm(x: Array, params: NormParams | None, config: Config) -> Array:
    """Apply the family's norm over the last dimension, in float32, returned in x's dtype; without params, x.

    RMSNorm (arXiv 1910.07467) is x / sqrt(mean(x²) + norm_eps) · scale; LayerNorm (arXiv 1607.06450) subtracts the mean
    first and adds a bias.
    """
    if params is None:
        return x
    scale, bias = params
    scale = scale.astype(jnp.float32) + (config.norm == "rms_plus_one")
    wide = x.astype(jnp.float32)
    if config.norm == "layer":
        wide = wide - jnp.mean(wide, axis=-1, keepdims=True)
    wide = wide * jax.lax.rsqrt(jnp.mean(wide * wide, axis=-1, keepdims=True) + config.norm_eps) * scale
    return (wide if bias is None else wide + bias.astype(jnp.float32)).astype(x.dtype)


class Attention(nn.Module):
    """Attention with K key/value heads for N query heads (arXiv 2305.13245): x `[B, T, D]` -> `[B, T, D]`."""

    config: Config

    def setup(self) -> None:
        c = self.config
        q, kv = c.heads * c.head_dim, c.kv_heads * c.head_dim
        self.q_proj = _kernel(self, "q_proj", (c.hidden_size, q))
        self.k_proj = _kernel(self, "k_proj", (c.hidden_size, kv))
        self.v_proj = _kernel(self, "v_proj", (c.hidden_size, kv))
        self.o_proj = _kernel(self, "o_proj", (q, c.hidden_size), 1 / (2 * c.layers))
        zeros = nn.initializers.zeros
        widths = {"q_bias": q, "k_bias": kv, "v_bias": kv} if c.qkv_bias else {}
        self.biases = [self.param(name, zeros, (width,)) for name, width in widths.items()]
        self.o_bias = self.param("o_bias", zeros, (c.hidden_size,)) if c.out_bias else None
        if c.qk_norm:
            q, kv = (q, kv) if c.qk_norm == "width" else (c.head_dim, c.head_dim)
            self.q_norm, self.k_norm = _norm_params(self, "q_norm", q), _norm_params(self, "k_norm", kv)

    def __call__(self, x: Array, turn: Turn | None, layer: int, attend: Attend) -> tuple[Array, KV | None]:
        c = self.config
        kernels, biases = (self.q_proj, self.k_proj, self.v_proj), self.biases or (None,) * 3
        if heads_split():  # which side by side would have to be moved between devices
            parts = [_dense(x, kernel, bias) for kernel, bias in zip(kernels, biases, strict=True)]
            q, k, v = (part.reshape(*x.shape[:2], -1, c.head_dim) for part in parts)
        else:
            # One product for q, k and v: on CPU a third of the passes over x, and a wider, faster GEMM.
            heads = _dense(x, _beside(kernels), jnp.concatenate(self.biases) if self.biases else None)
            heads = heads.reshape(*x.shape[:2], -1, c.head_dim)
            q, k, v = jnp.split(heads, [c.heads, c.heads + c.kv_heads], axis=2)
        if c.qk_norm:
            q, k = self._normed(q, self.q_norm), self._normed(k, self.k_norm)
        if turn is not None:
            q, k = rotate(q, turn), rotate(k, turn)
        seen, kept = attend(layer, q, KV(k.transpose(0, 2, 1, 3), v.transpose(0, 2, 1, 3)))
        return _dense(seen.reshape(*x.shape[:2], -1), self.o_proj, self.o_bias), kept

    def _normed(self, heads: Array, params: NormParams) -> Array:
        """Norm each of the heads `[B, T, heads, H]`, or all of them as one vector."""
        if self.config.qk_norm == "head":
            return _norm(heads, params, self.config)
        return _norm(heads.reshape(*heads.shape[:2], -1), params, self.config).reshape(heads.shape)


class FeedForward(nn.Module):
    """Feed-forward layer, x `[B, T, D]` -> `[B, T, D]`: down(act(gate(x)) * up(x)) where gated, else down(act(up(x))).

    The gated form is that of arXiv 2002.05202.
    """

    config: Config

    def setup(self) -> None:
        c = self.config
        d, f = c.hidden_size, c.intermediate_size
        self.gate_proj = _kernel(self, "gate_proj", (d, f)) if c.gated else None
        self.up_proj = _kernel(self, "up_proj", (d, f))
        self.down_proj = _kernel(self, "down_proj", (f, d), 1 / (2 * c.layers))
        zeros, biased = nn.initializers.zeros, c.mlp_bias
        self.gate_bias = self.param("gate_bias", zeros, (f,)) if biased and c.gated else None
        self.up_bias = self.param("up_bias", zeros, (f,)) if biased else None
        self.down_bias = self.param("down_bias", zeros, (d,)) if biased else None

    def __call__(self, x: Array) -> Array:
        activate = _ACTIVATIONS[ACTIVATIONS[self.config.activation]]
        up = _dense(x, self.up_proj, self.up_bias)
        if self.gate_proj is not None:
            inner = activate(_dense(x, self.gate_proj, self.gate_bias)) * up
        else:
            inner = activate(up)
        return _dense(inner, self.down_proj, self.down_bias)


class Block(nn.Module):
    """One layer, with residual connections: x + attention(norm(x)), then the same with the feed-forward layer.

    `Config.placement` says where the norms are, and `Config.parallel` that both parts read the same x.
    """

    config: Config

    def setup(self) -> None:
        c = self.config
        before, behind = c.placement != "post", c.placement != "pre"
        self.attention_norm = _norm_params(self, "attention_norm", c.hidden_size) if before else None
        self.attention = Attention(c)
        self.attention_out_norm = _norm_params(self, "attention_out_norm", c.hidden_size) if behind else None
        self.mlp_norm = _norm_params(self, "mlp_norm", c.hidden_size) if before else None
        self.mlp = FeedForward(c)
        self.mlp_out_norm = _norm_params(self, "mlp_out_norm", c.hidden_size) if behind else None

    def __call__(self, x: Array, turn: Turn | None, layer: int, attend: Attend) -> tuple[Array, KV | None]:
        c = self.config
        update, kept = self.attention(_norm(x, self.attention_norm, c), turn, layer, attend)
        attended = x + _norm(update, self.attention_out_norm, c)
        update = self.mlp(_norm(x if c.parallel else attended, self.mlp_norm, c))
        return attended + _norm(update, self.mlp_out_norm, c), kept


class Decoder(nn.Module):
    """Embedding, layers and final norm: tokens `[B, T]` -> hidden states `[B, T, D]` in `dtype`, keys and values.

    `remat` and `looped` are those of `hidden`.
    """

    config: Config
    dtype: DTypeLike = jnp.float32
    remat: bool = False
    looped: bool = False

    def setup(self) -> None:
        c = self.config
        # Rows of length about one, so that logits of a tied model have unit variance at the start.
        narrow = nn.initializers.normal(c.hidden_size**-0.5)
        self.embed = self.param("embed", narrow, (c.vocab_size, c.hidden_size))
        if c.learned_positions:
            self.embed_positions = self.param("embed_positions", narrow, (c.max_position, c.hidden_size))
        # The layer's number and how it attends are no arrays.
        block = nn.remat(Block, static_argnums=(3, 4)) if self.remat else Block
        self.layers = [block(c) for _ in range(c.layers)]
        self.looped_layers = c.layers // c.period * c.period if self.looped and c.layers > _UNROLLED else 0
        self.final_norm = _norm_params(self, "final_norm", c.hidden_size)

    def __call__(
        self, tokens: Array, positions: Array, attend: Attend, ends: Array | None = None
    ) -> tuple[Array, tuple[KV | None, ...]]:
        c = self.config
        x = constrain(self.embed.astype(self.dtype), HEADS)[tokens]
        if c.scale_embeddings:
            x = x * jnp.asarray(c.hidden_size**0.5, self.dtype)
        turn = local = None
        if c.learned_positions:
            x = x + self.embed_positions.astype(self.dtype)[positions]
        else:
            turn = local = rotation(c, positions, ends)
        if c.local_rope_theta is not None:
            local = rotation(c, positions, local=True)
        turns = [turn if c.window(number) is None else local for number in range(c.layers)]
        if self.looped_layers:
            x = self._loop(x, turns, attend)
        kept = []
        for number, layer in enumerate(self.layers[self.looped_layers :], self.looped_layers):
            # Between layers rows are split and nothing else: weights are gathered, which are less than what they make.
            x, kv = layer(constrain(x, ROWS), turns[number], number, attend)
            kept.append(kv)
        return _norm(x, self.final_norm, c), tuple(kept)

    def _loop(self, x: Array, turns: Sequence[Turn | None], attend: Attend) -> Array:
        """Return x after the layers that a loop runs, `period` of them at a time: as many are compiled."""
        period = self.config.period

        def some(x: Array, layers: Sequence[Params]) -> tuple[Array, None]:
            for place, params in enumerate(layers):
                block = Block(self.config, parent=None)
                x, _ = block.apply({"params": params}, constrain(x, ROWS), turns[place], place, attend)
            return x, None

        params = [self.variables["params"][f"layers_{number}"] for number in range(self.looped_layers)]
        groups = [stacked([self._narrow(one) for one in params[place::period]]) for place in range(period)]
        # Within a loop the compiler has no forward next to the backward to merge with it.
        step = jax.checkpoint(some, prevent_cse=False) if self.remat else some
        return jax.lax.scan(step, x, groups)[0]

    def _narrow(self, layer: Params) -> Params:
        """A layer with its kernels in the dtype in which they are multiplied, so that their copies are no larger."""
        return jax.tree.map(lambda leaf: leaf.astype(self.dtype) if leaf.ndim == 2 else leaf, layer)


@partial(jax.jit, static_argnums=0)
def init(config: Config, key: Array) -> Params:
    """Make new float32 parameters.

    Kernels are normal with variance 1 / in (of o_proj and down_proj 1 / (2 layers · in), so that the residual stream
    keeps its size), embeddings normal with variance 1 / D, scales of norms 1 and biases 0.
    """
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
    lengths: Array | None = None,
    dtype: DTypeLike = jnp.float32,
    remat: bool = False,
    looped: bool = False,
) -> Array:
    """Training forward: tokens `[B, T]` int32 -> final hidden states `[B, T, D]`, normed, in `dtype`.

    A token attends to itself and to earlier tokens of its segment.

    Args:
      positions: int32 `[B, T]`; restart at 0 in every segment. By default they count from the start of the row.
      segments: int32 `[B, T]`, numbers the documents packed into a row; 0 marks padding. By default the whole row is
        one.
      lengths: int32 `[B]`, rows' real tokens, where rows are padded without segments: the embedding of long texts
        depends on them (LongRope).
      dtype: of activations.
      remat: compute every layer again in the backward pass, from its input, which is all that is kept
        (arXiv 1604.06174).
      looped: run many layers in one loop, which compiles in the time of one of them, and copies their weights.
    """
    if positions is None:
        positions = _count(tokens)

    def attend(layer: int, q: Array, kv: KV) -> tuple[Array, None]:
        return attention(q, kv, segments=segments, **_how(config, layer)), None

    ends = _ends(config, positions, segments, lengths)
    return _apply(params, config, tokens, positions, attend, dtype, ends, remat, looped)[0]


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

    Where the rotary embedding depends on a text's length, config says for which (`Config.reaching`).

    Args:
      positions: int32 `[B, T]`, counted from the end of the prefix; by default 0, 1, ...
      branches: int32 `[B, T]`, marks alternative continuations (`attention`, groups).
      prefix: of all rows, or one for each (`Prefix`).
      dtype: of activations.

    Returns:
      hidden states `[B, T, D]` (final norm applied; meaningless at padding), and per layer the keys and values
      `[B, K, T, H]`.
    """
    positions = _count(tokens) if positions is None else positions

    def attend(layer: int, q: Array, kv: KV) -> tuple[Array, KV]:
        places = None if branches is None else positions
        how = _how(config, layer)
        return attention(q, kv, groups=branches, positions=places, prefix=_shared(prefix, layer), **how), kv

    return _apply(params, config, tokens, _offset(prefix) + positions, attend, dtype)


def extend(
    params: Params,
    config: Config,
    tokens: Array,
    cache: tuple[KV, ...],
    starts: Array,
    *,
    prefix: Prefix | None = None,
    dtype: DTypeLike = jnp.float32,
) -> tuple[Array, tuple[KV, ...]]:
    """Append T tokens, int32 `[B, T]`, to rows whose first `starts` `[B]` int32 tokens the cache holds.

    Args:
      cache: keys and values `[B, K, S, H]` per layer. Writes beyond S are dropped.
      prefix: of all rows, or one for each (`Prefix`).
      dtype: of activations.

    Returns:
      hidden states `[B, T, D]`, and the cache with the keys and values of the tokens written in.
    """

    def attend(layer: int, q: Array, kv: KV) -> tuple[Array, KV]:
        kept = KV(*(_write(old, new, starts) for old, new in zip(cache[layer], kv, strict=True)))
        how = _how(config, layer)
        return attention(q, kept, starts=starts, prefix=_shared(prefix, layer), **how), kept

    positions = _offset(prefix) + starts[:, None] + _count(tokens)
    return _apply(params, config, tokens, positions, attend, dtype)


def trunk(params: Params) -> Params:
    """Return the parameters without an untied unembedding, which a scalar head replaces."""
    return {name: leaf for name, leaf in params.items() if name != "unembed"}


def unembed(params: Params, config: Config, hidden: Array) -> Array:
    """Compute logits of final hidden states: `[..., D]` -> `[..., V]` float32.

    h · unembed, or h · embedᵀ if tied; then c tanh(x / c) where the config has a logit_softcap c.
    """
    return unembedding(params, config)(hidden)


def unembedding(params: Params, config: Config) -> Callable[[Array], Array]:
    """Return `unembed` as a function of the hidden states, for several calls that share one placement of the kernel."""
    kernel = params["embed"].T if config.tie_embeddings else params["unembed"]
    kernel = constrain(kernel, None, HEADS)

    def logits(hidden: Array) -> Array:
        flat = hidden.reshape(-1, hidden.shape[-1])
        found = jnp.matmul(flat, kernel.astype(flat.dtype), preferred_element_type=jnp.float32)
        if config.logit_softcap is not None:
            found = config.logit_softcap * jnp.tanh(found / config.logit_softcap)
        return found.reshape(*hidden.shape[:-1], -1)

    return logits


def _apply(
    params: Params,
    config: Config,
    tokens: Array,
    positions: Array,
    attend: Attend,
    dtype: DTypeLike,
    ends: Array | None = None,
    remat: bool = False,
    looped: bool = False,
) -> tuple[Array, tuple[KV, ...]]:
    module = Decoder(config, dtype, remat, looped)
    found: Any = module.apply({"params": trunk(params)}, tokens, positions, attend, ends)  # what its __call__ returns
    return found


def _ends(config: Config, positions: Array, segments: Array | None, lengths: Array | None) -> Array | None:
    """The last position of every token's text, `[B, T]` or `[B, 1]`; None where it is the row's last, or not needed."""
    if not isinstance(config.rope_scaling, LongRope):
        return None
    if segments is None:
        return None if lengths is None else lengths[:, None] - 1

    def last(places: Array, numbers: Array) -> Array:
        return jax.ops.segment_max(places, numbers, num_segments=numbers.size + 1)[numbers]

    return jax.vmap(last)(positions, segments)


def _how(config: Config, layer: int) -> dict[str, Any]:
    """Return those of `attention`'s arguments that a layer fixes."""
    window, softcap = config.window(layer), config.attention_softcap
    return {"scale": config.attention_scale, "window": window, "softcap": softcap}


def _write(cache: Array, new: Array, starts: Array) -> Array:
    """Write new `[B, K, T, H]` into cache `[B, K, S, H]` at each row's start."""
    places = jnp.arange(new.shape[2])

    # Row by row in form, so that rows on several devices stay there.
    def put(row: Array, more: Array, start: Array) -> Array:
        return row.at[:, start + places].set(more, mode="drop")

    return jax.vmap(put)(cache, new, starts)


def _count(tokens: Array) -> Array:
    return jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)


def _offset(prefix: Prefix | None) -> Array | int:
    return 0 if prefix is None else prefix.end()


def _shared(prefix: Prefix | None, layer: int) -> tuple[tuple[KV, Array], ...]:
    return () if prefix is None else prefix.parts(layer)
