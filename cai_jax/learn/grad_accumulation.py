"""Sums over micro-batches and devices: one code path for one device, a mesh and pmap.

Under `jax.jit`, on one device or a mesh, arrays are global and a sum is a sum. Under `jax.pmap` a step sees
its own rows only, and sums must cross the mapped axis. Steps therefore never take means: they reduce sums
through the `Reduce` that their factory was given, and divide by a global count.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from cai_jax.learn.state import Batch, Params

Reduce = Callable[[Any], Any]
Sums = dict[str, jax.Array]


def over(axis: str | None) -> Reduce:
    """Return a function that sums a pytree over the mapped axis `axis`; the identity where that is None."""
    return (lambda tree: jax.lax.psum(tree, axis)) if axis else (lambda tree: tree)


def gradients(
    loss: Callable[[Params, Batch], tuple[jax.Array, Sums]], params: Params, batch: Batch, reduce: Reduce
) -> tuple[Params, jax.Array, Sums]:
    """Compute the gradient of a loss that is a sum over rows, accumulated over micro-batches and devices.

    Args:
      loss: `(params, micro) -> (loss, sums)`: a scalar already divided by the global count, and a dict
        of scalar sums to be added up.
      params: the parameters to differentiate by.
      batch: dict of arrays `[A, B, ...]`, A micro-batches of B rows.
      reduce: from `over`.

    Returns:
      gradients like `params`, the total loss [], the summed dict.
    """
    grad = jax.value_and_grad(loss, has_aux=True)

    def body(total: Params, micro: Batch) -> tuple[Params, tuple[jax.Array, Sums]]:
        measured, grads = grad(params, micro)
        return jax.tree.map(jnp.add, total, grads), measured

    if next(iter(batch.values())).shape[0] == 1:  # a loop of one would cost a set of zeros and an addition
        (value, sums), grads = grad(params, jax.tree.map(lambda x: x[0], batch))
        return reduce((grads, value, sums))
    grads, measured = jax.lax.scan(body, jax.tree.map(jnp.zeros_like, params), batch)
    value, sums = jax.tree.map(lambda x: jnp.sum(x, axis=0), measured)
    return reduce((grads, value, sums))


def finite(grads: Params) -> jax.Array:
    """Tell for each leaf, in the tree's order, if it holds finite numbers only (no NaN, no infinity): bool [leaves]."""
    return jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(grads)])
