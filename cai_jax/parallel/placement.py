"""Steps that follow their weights: they run on the mesh of their parameters, with rows split over it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import AbstractMesh, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jax.typing import DTypeLike

from cai_jax.parallel import target
from cai_jax.parallel.mesh import AXES, HEADS, row_shards
from cai_jax.parallel.sharding_rules import SERVED, shardings, spec_that_divides


def mesh_of(params: Mapping[str, Any]) -> Mesh | None:
    """The mesh of a decoder's parameters; None where they are on one device, or are copied by pmap."""
    sharding = getattr(params["embed"], "sharding", None)
    mesh = sharding.mesh if isinstance(sharding, NamedSharding) else None
    return mesh if isinstance(mesh, Mesh) and mesh.axis_names == AXES else None


def on_mesh_of(params: Mapping[str, Any]) -> AbstractContextManager:
    """Set the mesh of these parameters for the steps that read them, so that `constrain` and kernels find it."""
    mesh = mesh_of(params)
    return nullcontext() if mesh is None else jax.set_mesh(mesh)


def shards_of(params: Mapping[str, Any]) -> int:
    """Number of parts into which the mesh of these parameters splits rows."""
    mesh = mesh_of(params)
    return 1 if mesh is None else row_shards(mesh)


def served(params: Any, dtype: DTypeLike) -> Any:
    """Return trained parameters in the form that inference reads: in its dtype, and on a mesh in its layout."""
    mesh, narrow = mesh_of(params), jax.tree.map(lambda leaf: leaf.astype(dtype), params)
    return narrow if mesh is None else jax.device_put(narrow, shardings(narrow, mesh, SERVED))


def lowered(function: Any, params: Mapping[str, Any], *arguments: Any) -> jax.stages.Lowered:
    """Lower a call of a jitted step from shapes alone, on the mesh of these parameters (forecast/aot.py)."""
    with on_mesh_of(params):
        return function.trace(*arguments).lower(lowering_platforms=(target.platform(),))


def like(x: Any, params: Mapping[str, Any], *axes: str | tuple[str, ...] | None) -> Any:
    """Return the shape x with the sharding that `constrain` with these axes would give it.

    The sharding is on the mesh of these parameters, or on their device.
    """
    mesh = mesh_of(params)
    if mesh is None:
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=params["embed"].sharding)
    spec = P(*axes, *[None] * (len(x.shape) - len(axes)))
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=NamedSharding(mesh, spec_that_divides(spec, x.shape, mesh)))


def mesh_set() -> AbstractMesh | None:
    """Within a jitted step: the mesh that is set for it; None without one, or on one of pmap's devices."""
    mesh = jax.sharding.get_abstract_mesh()
    return None if mesh.axis_names != AXES or mesh.manual_axes else mesh


def heads_split() -> bool:
    """Within a jitted step: True if the mesh that is set splits heads over devices."""
    mesh = mesh_set()
    return mesh is not None and mesh.shape[HEADS] > 1


def stacked(trees: Sequence[Any]) -> Any:
    """Within a jitted step, stack similar trees of parameters: leaves [N, …], whose parts keep their shardings."""
    mesh, whole = mesh_set(), jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)
    if mesh is None:
        return whole
    each = shardings(trees[0], mesh)
    return jax.tree.map(
        lambda x, at: jax.lax.with_sharding_constraint(x, NamedSharding(mesh, P(None, *at.spec))), whole, each
    )


def constrain(x: Array, *axes: str | tuple[str, ...] | None) -> Array:
    """Within a jitted step, return x with its first dimensions sharded over these axes of the mesh that is set.

    A dimension that its axes do not divide stays whole, and so do those without axes. Without a mesh, x is returned.
    """
    mesh = mesh_set()
    if mesh is None:
        return x
    spec = P(*axes, *[None] * (x.ndim - len(axes)))
    return jax.lax.with_sharding_constraint(x, spec_that_divides(spec, x.shape, mesh))
