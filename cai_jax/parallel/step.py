"""One pure step on one device, on a mesh, or with `jax.pmap`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any, Literal

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, Sharding, SingleDeviceSharding
from jax.sharding import PartitionSpec as P

from cai_jax.parallel import target
from cai_jax.parallel.mesh import ROWS, make_mesh, row_shards
from cai_jax.parallel.multihost import from_host
from cai_jax.parallel.sharding_rules import shardings

AXIS = "rows"  # the mapped axis under pmap

Make = Callable[[str | None], Callable]


class Out(StrEnum):
    """Kind of an output of a step, which decides its sharding."""

    STATE = "state"  # like the first argument
    BATCH = "batch"  # arrays [A, B, ...], split by rows
    METRICS = "metrics"  # scalars, the same everywhere


STEP = (Out.STATE, Out.METRICS)
PREPARE = (Out.STATE, Out.BATCH, Out.METRICS)
ROWWISE = (Out.BATCH,)


@dataclass(frozen=True)
class CompiledStep:
    """A step placed on devices: `compiled(state, batch)`, compiled at the first call for given shapes.

    Attributes:
      shards: number of parts into which the rows of a batch are split; B must be a multiple of it.
    """

    shards: int
    _where: Callable[[Any], Any]  # a state -> its shardings
    _rows: Sharding  # of a batch's arrays
    _call: Callable[[Any, Any], Any]
    _lower: Callable[[Any, Any], jax.stages.Lowered]

    def place(self, state: Any) -> Any:
        """Put the state (any pytree of host or device arrays) where the step needs it; makes no needless copy."""
        return jax.device_put(state, self._where(state))

    def shapes(self, state: Any, batch: Any) -> tuple[Any, Any]:
        """Return state and batch as shapes (pytrees of ShapeDtypeStruct) with the shardings that the step needs."""
        return _laid(state, self._where(state)), _laid(batch, {name: self._rows for name in batch})

    def lower(self, state: Any, batch: Any) -> jax.stages.Lowered:
        """Lower a call from `shapes` alone; the devices need not be there (forecast/aot.py)."""
        return self._lower(state, batch)

    def __call__(self, state: Any, batch: dict[str, Any]) -> Any:
        """Run the step; a state compiled to be donated must not be used again.

        Raises:
          ValueError: the rows of the batch do not divide over the devices.
        """
        rows = next(iter(batch.values())).shape[1]
        if rows % self.shards:
            raise ValueError(f"{rows} rows in a micro-batch do not divide over {self.shards} devices")
        return self._call(state, batch)


def compile_step(
    make: Make,
    mesh: Mesh | Literal["auto", "one", "pmap"] = "auto",
    *,
    out: tuple[Out, ...] = STEP,
    frozen: Any = None,
) -> CompiledStep:
    """Compile a step for some devices.

    Args:
      make: builds the step `(state, batch) -> outputs`, given the name of the mapped axis or None, for
        example `partial(sft.make_step, config, settings)`. The batch is a dict of `[A, B, ...]`, rows in B.
      mesh: "one" is this process's first device; "pmap" plain data parallelism over its devices with `jax.pmap`; a Mesh
        the global view, parameters laid out by sharding_rules.py; "auto" a mesh of all devices as "data", or "one".
      out: kinds of the step's outputs, in order; a step with a single output returns it bare. If a state comes
        back, the buffers of the one put in are donated to it.
      frozen: parameters that the step reads and leaves as they are: its third argument, placed like a state and never
        donated. None: the step has only two.
    """
    if mesh == "auto":
        mesh = make_mesh() if len(target.devices()) > 1 else "one"
    donated = (0,) if Out.STATE in out else ()
    rest = () if frozen is None else (frozen,)
    if mesh == "one":
        return _on_one(make(None), donated, rest)
    if mesh == "pmap":
        return _on_pmap(make(AXIS), out, donated, rest)
    return _on_mesh(make(None), mesh, out, donated, rest)


def _on_one(step: Callable, donated: tuple[int, ...], rest: tuple[Any, ...]) -> CompiledStep:
    here = SingleDeviceSharding(target.local_devices()[0])
    mapped = jax.jit(step, donate_argnums=donated)

    def where(tree: Any) -> Any:
        return jax.tree.map(lambda _: here, tree)

    placed = _there(rest, where)
    return CompiledStep(
        1,
        where,
        here,
        lambda state, batch: mapped(state, batch, *placed),
        lambda state, batch: _lowered(mapped, state, batch, *placed),
    )


def _laid(tree: Any, where: Any) -> Any:
    """Return shapes with shardings."""
    return jax.tree.map(lambda x, at: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=at), tree, where)


def _there(rest: tuple[Any, ...], where: Callable[[Any], Any]) -> tuple[Any, ...]:
    """Return the frozen parameters where the step needs them: arrays placed, or shapes with shardings."""
    abstract = any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(rest))
    return (_laid if abstract else jax.device_put)(rest, where(rest))


def _lowered(mapped: Any, *arguments: Any) -> jax.stages.Lowered:
    return mapped.trace(*arguments).lower(lowering_platforms=(target.platform(),))


def _on_mesh(
    step: Callable, mesh: Mesh, out: tuple[Out, ...], donated: tuple[int, ...], rest: tuple[Any, ...]
) -> CompiledStep:
    rows, everywhere = NamedSharding(mesh, P(None, ROWS)), NamedSharding(mesh, P())

    where = partial(shardings, mesh=mesh)
    placed = _there(rest, where)

    @partial(jax.jit, donate_argnums=donated)
    def mapped(state: Any, batch: dict[str, Any], *rest: Any) -> Any:
        # Constraining the outputs keeps the layout of the state from one step to the next.
        layouts = {Out.STATE: where(state), Out.BATCH: rows, Out.METRICS: everywhere}
        results = step(state, batch, *rest)
        pieces = results if len(out) > 1 else (results,)
        kept = tuple(jax.lax.with_sharding_constraint(x, layouts[kind]) for x, kind in zip(pieces, out, strict=True))
        return kept if len(out) > 1 else kept[0]

    def call(state: Any, batch: dict[str, Any]) -> Any:
        with jax.set_mesh(mesh):  # for kernels, which divide themselves (models/attention/splash.py)
            return mapped(state, {name: from_host(x, rows) for name, x in batch.items()}, *placed)

    def lower(state: Any, batch: dict[str, Any]) -> jax.stages.Lowered:
        with jax.set_mesh(mesh):
            return _lowered(mapped, state, batch, *placed)

    return CompiledStep(row_shards(mesh), where, rows, call, lower)


def _on_pmap(step: Callable, out: tuple[Out, ...], donated: tuple[int, ...], rest: tuple[Any, ...]) -> CompiledStep:
    devices = target.local_devices()
    axes = tuple(1 if kind == Out.BATCH else None for kind in out)
    mapped = jax.pmap(
        step,
        axis_name=AXIS,
        in_axes=(None, 1, *(None for _ in rest)),
        out_axes=axes if len(axes) > 1 else axes[0],
        donate_argnums=donated,
    )
    copies = Mesh(np.array(devices), (AXIS,))
    everywhere, rows = NamedSharding(copies, P()), NamedSharding(copies, P(None, AXIS))

    def where(tree: Any) -> Any:
        return jax.tree.map(lambda _: everywhere, tree)

    placed = _there(rest, where)

    def split(x: jax.Array) -> jax.Array:
        return x.reshape(x.shape[0], len(devices), -1, *x.shape[2:])

    def merge(x: jax.Array) -> jax.Array:
        return x.reshape(x.shape[0], -1, *x.shape[3:])

    def call(state: Any, batch: dict[str, Any]) -> Any:
        results = mapped(state, {name: split(x) for name, x in batch.items()}, *placed)
        pieces = results if len(out) > 1 else (results,)
        whole = tuple(jax.tree.map(merge, x) if kind == Out.BATCH else x for x, kind in zip(pieces, out, strict=True))
        return whole if len(out) > 1 else whole[0]

    def lower(state: Any, batch: dict[str, Any]) -> jax.stages.Lowered:
        return mapped.lower(state, {name: jax.eval_shape(split, x) for name, x in batch.items()}, *placed)

    return CompiledStep(len(devices), where, rows, call, lower)
