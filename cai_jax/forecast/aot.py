"""Steps compiled for a machine that is not there, from shapes alone, and what they would take of it.

TPU topologies come from libtpu's compiler, which needs no TPU; "cpu:8" are virtual devices of this machine.
"""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from cai_jax.errors import UserError
from cai_jax.forecast import hlo, machines
from cai_jax.forecast.machines import CHIPS, Chip


@dataclass(frozen=True)
class Topology:
    """A machine: its name, such as "v5e:4x4", its devices, and what its chips can do (None of a CPU)."""

    name: str
    devices: tuple[jax.Device, ...]
    chip: Chip | None


def topology(name: str) -> Topology:
    """The machine of this name.

    On CPU JAX must not have started yet: the number of virtual devices is settled then.

    Raises:
      UserError: there is none of this name, or its compiler is not installed.
    """
    kind, _, shape = name.partition(":")
    machine = machines.named(name)
    if machine.platform == "cpu":
        return Topology(name, _virtual(machine.devices), None)
    return Topology(name, _described(kind, shape), CHIPS[kind])


def _virtual(count: int) -> tuple[jax.Device, ...]:
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", count)
    found = jax.devices()
    if len(found) != count:
        raise UserError(f"this process has {len(found)} CPU devices already, not {count}", "begin a new process")
    return tuple(found)


def _described(kind: str, shape: str) -> tuple[jax.Device, ...]:
    from jax.experimental import topologies

    try:
        import libtpu  # noqa: F401
    except ImportError:
        raise UserError(
            f"compiling for {kind} needs the TPU compiler, which is not installed",
            'install it with  pip install "cai-jax[tpu]"',
        ) from None
    jax.config.update("jax_platforms", "cpu")
    # Without them libtpu asks Google Cloud's metadata server what machine this is; and several may compile at a time.
    os.environ["TPU_SKIP_MDS_QUERY"] = "1"
    for name, value in {
        "TPU_WORKER_HOSTNAMES": "localhost",
        "TPU_ACCELERATOR_TYPE": "v5litepod-8",
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    }.items():
        os.environ.setdefault(name, value)
    sizes = [int(side) for side in shape.split("x")]
    # A slice smaller than a host's board has to say so.
    board = {"chips_per_host_bounds": [1, 1, 1]} if sizes == [1, 1] else {}
    return tuple(topologies.get_topology_desc(f"{kind}:{shape}", platform="tpu", **board).devices)


@dataclass(frozen=True)
class Sizes:
    """What compiling a step has told of time and memory, per chip.

    Attributes:
      seconds: it took.
      arguments, outputs, temporaries: bytes; outputs without those that take an argument's place, temporaries with
        the program itself.
    """

    seconds: float
    arguments: int
    outputs: int
    temporaries: int


@dataclass(frozen=True)
class AotStep(Sizes):
    """A compiled step.

    Attributes:
      work: flops, bytes and collectives.
    """

    work: hlo.HloWork

    @property
    def memory(self) -> int:
        return self.arguments + self.outputs + self.temporaries

    def roofline(self, chip: Chip) -> float:
        """Seconds that the step takes at least: products, memory and links each at their best, side by side."""
        moved = sum(self.work.moved.values())
        return max(self.work.flops / chip.flops, self.work.bytes / chip.bandwidth, moved / chip.links)


class OutOfMemory(Exception):
    """The compiler has found that a step does not fit; `used` bytes of `limit` as far as it says."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        # "… required … (22.36G) exceeds available HBM (15.75G)", or "Used 22.36G of 15.75G hbm".
        sizes = re.search(r"([\d.]+)([KMGT])(?:\) exceeds [^(]*\(| of )([\d.]+)([KMGT])", message)
        unit = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
        self.used = float(sizes.group(1)) * unit[sizes.group(2)] if sizes else None
        self.limit = float(sizes.group(3)) * unit[sizes.group(4)] if sizes else None


def compiled(lowered: jax.stages.Lowered) -> tuple[Sizes, str]:
    """Compiles a step: its sizes and its text, of which `hlo.work` reads what it does.

    Raises:
      OutOfMemory: it does not fit the chip's memory.
    """
    begun = time.monotonic()
    try:
        made = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        # A kernel may run out of on-chip memory as well, which is a mistake of ours.
        if "RESOURCE_EXHAUSTED" not in str(error) or "hbm" not in str(error).lower():
            raise
        raise OutOfMemory(str(error)) from None
    seconds = time.monotonic() - begun
    sizes, text = made.memory_analysis(), made.as_text()
    assert sizes is not None and text is not None  # the compilers of CPUs and TPUs tell both
    found = Sizes(
        seconds,
        sizes.argument_size_in_bytes,
        sizes.output_size_in_bytes - sizes.alias_size_in_bytes,
        sizes.temp_size_in_bytes + sizes.generated_code_size_in_bytes,
    )
    return found, text


def bytes_per_chip(tree: Any) -> int:
    """What arrays, given as shapes with shardings, take of each chip; those without a sharding are whole everywhere."""
    return sum(map(_size, jax.tree.leaves(tree)))


def largest(tree: Any) -> tuple[str, int]:
    """Of such arrays the one that takes most of each chip: its path, as "state/params/embed", and its bytes."""
    sizes = [(_size(leaf), path) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]
    size, path = max(sizes, key=lambda each: each[0])
    return jax.tree_util.keystr(path, simple=True, separator="/"), size


def _size(leaf: Any) -> int:
    sharding = getattr(leaf, "sharding", None)
    shape = leaf.shape if sharding is None else sharding.shard_shape(leaf.shape)
    return int(np.prod(shape, dtype=np.int64)) * leaf.dtype.itemsize
