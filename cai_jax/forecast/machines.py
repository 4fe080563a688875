"""The machines that steps can be planned and compiled for: what each holds, and how fast it is. Imports no JAX."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from cai_jax.errors import UserError

# Of a number, by dtype.
BYTES = {"float32": 4, "bfloat16": 2}
# Slices that can be had, chips along each side of the torus.
_FLAT = ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
_DEEP = ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8", "8x8x8", "8x8x16", "8x16x16")
SLICES = {"v5e": _FLAT, "v5p": _DEEP, "v6e": _FLAT}


@dataclass(frozen=True)
class Chip:
    """Of one chip: memory in bytes, bfloat16 products in FLOP/s, bandwidths of its memory and its links in B/s."""

    memory: float
    flops: float
    bandwidth: float
    links: float


# Google Cloud's documentation, "TPU v5e", "TPU v5p", "TPU v6e" (2026-11): peak compute (bf16), HBM bandwidth, and half
# of the bidirectional interchip bandwidth. Of the memory, what the compiler says is available.
CHIPS = {
    "v5e": Chip(15.75 * 2**30, 197e12, 819e9, 200e9),
    "v5p": Chip(95.74 * 2**30, 459e12, 2765e9, 600e9),
    "v6e": Chip(31.25 * 2**30, 918e12, 1600e9, 400e9),
}


@dataclass(frozen=True)
class Machine:
    """What a plan is worked out for.

    Attributes:
      name: as people call it.
      platform: as `jax.default_backend()` names it: "cpu", "gpu" or "tpu".
      devices: how many there are.
      memory: bytes of a device; devices of a CPU share those of the machine. None: not known.
      flops: a device's products in FLOP/s, by the bytes of a number. Empty: not known.
      bandwidth: bytes a second between a device and its memory.
      measured: whether both were measured (calibration.py); else they are what a maker says, which nothing reaches.
    """

    name: str
    platform: str
    devices: int
    memory: float | None = None
    flops: Mapping[int, float] | None = None
    bandwidth: float = 0.0
    measured: bool = False

    def seconds(self, flops: float, moved: float, size: int) -> float | None:
        """Time of one device for so many FLOPs on numbers of `size` bytes and for so many bytes (roofline).

        Products and memory are taken to work side by side (Williams et al. 2009). None: rates are not known.
        """
        if not self.flops:
            return None
        return max(flops / self.flops[size], moved / self.bandwidth)


def named(name: str) -> Machine:
    """The machine called "cpu:8", for eight devices, or "v5e:4x4", for chips along each side.

    Of a CPU nothing is known but its devices (this_machine.py).

    Raises:
      UserError: none has this name; lists those that there are.
    """
    kind, _, shape = name.partition(":")
    if kind == "cpu" and re.fullmatch(r"[1-9]\d{0,2}", shape):
        return Machine(name, "cpu", int(shape))
    if shape in SLICES.get(kind, ()):
        chip = CHIPS[kind]
        # float32 is multiplied in bfloat16 (JAX's default precision on TPUs).
        rates = dict.fromkeys((2, 4), chip.flops)
        return Machine(name, "tpu", math.prod(map(int, shape.split("x"))), chip.memory, rates, chip.bandwidth)
    known = "; ".join(f"{kind}: {', '.join(shapes)}" for kind, shapes in SLICES.items())
    raise UserError(f"there is no topology {name!r}", f"known are cpu:N and, by chips along each side, {known}")
