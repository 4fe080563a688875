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

Reduce = Callable[[Any], Any]


def over(axis: str | None) -> Reduce:
    """Sums a pytree over the mapped axis `axis`; the identity where there is none."""
    return (lambda tree: jax.lax.psum(tree, axis)) if axis else (lambda tree: tree)


def gradients(loss: Callable, params, batch, reduce: Reduce):
    """Gradient of a loss that is a sum over rows, accumulated over micro-batches and devices.

    Args:
      loss: `(params, micro) -> (loss, sums)`: a scalar already divided by the global count, and a dict
        of scalar sums to be added up.
      params: what to differentiate by.
      batch: dict of arrays `[A, B, ...]`, A micro-batches of B rows.
      reduce: from `over`.

    Returns:
      gradients like `params`, the total loss [], the summed dict.
    """
    grad = jax.value_and_grad(loss, has_aux=True)

    def one(micro):
        (value, sums), grads = grad(params, micro)
        return grads, value, sums

    first = jax.tree.map(lambda x: x[0], batch)
    if next(iter(batch.values())).shape[0] == 1:
        return reduce(one(first))
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(one, first))
    total, _ = jax.lax.scan(lambda sum_, micro: (jax.tree.map(jnp.add, sum_, one(micro)), None), zeros, batch)
    return reduce(total)
