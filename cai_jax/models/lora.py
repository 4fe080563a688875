"""Low-rank adapters of the decoder's linear layers: y = xW + s·(xA)B (Hu et al. 2021, arXiv 2106.09685, §4.1).

An adapter is a part of the decoder's tree of parameters: where that has a kernel `q_proj` [in, out], it has `q_proj_a`
[in, r] and `q_proj_b` [r, out]. The scale s = alpha / r is multiplied into B where an adapter is put on top, so that
the forward needs none, and two adapters are one of both ranks, A = [A1 | A2] and B = [B1; B2]. Parameters with an
adapter share every array of those without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

Params = Mapping[str, Any]

SIDES = ("_a", "_b")  # of a kernel's name
_KERNEL = "_proj"
_A, _B = (_KERNEL + side for side in SIDES)


def init(params: Params, rank: int, key: Array) -> Params:
    """Make a new adapter of every kernel of a decoder, float32: A normal of variance 1/in, B zero, so that it adds 0.

    Args:
      params: of the decoder, with or without an adapter.
      rank: r, at least 1.
      key: each kernel draws with a key folded from this one by its place in the sorted names.
    """
    found: dict[str, Any] = {}
    for number, (name, leaf) in enumerate(sorted(split(params)[0].items())):
        own = jax.random.fold_in(key, number)
        if isinstance(leaf, Mapping):
            inner = init(leaf, rank, own)
            found |= {name: inner} if inner else {}
        elif name.endswith(_KERNEL):
            inputs, outputs = leaf.shape
            found[f"{name}_a"] = inputs**-0.5 * jax.random.normal(own, (inputs, rank), jnp.float32)
            found[f"{name}_b"] = jnp.zeros((rank, outputs), jnp.float32)
    return found


def joined(params: Params | None, trained: Params, scale: float = 1.0) -> Params:
    """Return frozen parameters with the trained ones put on top.

    Args:
      params: a decoder's, with or without an adapter of their own; also a tree that holds such. None: nothing is
        frozen, and `trained` comes back.
      trained: an adapter, and whatever else is not in `params`, such as a head.
      scale: s, alpha / r of the adapter.
    """
    found = dict(params or {})
    for name, leaf in trained.items():
        if isinstance(leaf, Mapping):
            found[name] = joined(found.get(name), leaf, scale)
        elif name.endswith(_A):
            found[name] = jnp.concatenate([found[name], leaf], axis=1) if name in found else leaf
        elif name.endswith(_B):
            found[name] = jnp.concatenate([found[name], scale * leaf]) if name in found else scale * leaf
        else:
            found[name] = leaf
    return found


def split(params: Params) -> tuple[Params, Params]:
    """Split parameters into those without their adapter, and the adapter, {} if they have none."""
    base: dict[str, Any] = {}
    adapter: dict[str, Any] = {}
    for name, leaf in params.items():
        if isinstance(leaf, Mapping):
            base[name], inner = split(leaf)
            adapter |= {name: inner} if inner else {}
        else:
            (adapter if name.endswith((_A, _B)) else base)[name] = leaf
    return base, adapter


def merged(params: Params) -> Params:
    """Return the parameters of the same decoder without an adapter: every kernel as W + AB (`whole`)."""
    base, _ = split(params)
    return {
        name: merged(params[name]) if isinstance(leaf, Mapping) else whole(params, name) for name, leaf in base.items()
    }


def whole(leaves: Mapping[str, Array], name: str) -> Array:
    """The leaf `name`; for a kernel whose adapter is among the leaves W + AB, summed in float32, in W's dtype."""
    leaf = leaves[name]
    if f"{name}_a" not in leaves:
        return leaf
    a, b = (leaves[f"{name}{side}"].astype(jnp.float32) for side in SIDES)
    return (leaf.astype(jnp.float32) + jnp.matmul(a, b, precision="highest")).astype(leaf.dtype)
