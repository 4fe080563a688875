"""The machines that steps can be planned and compiled for, by name. Imports no JAX."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from cai_jax.errors import UserError

# Slices that can be had, chips along each side of the torus.
_FLAT = ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
_DEEP = ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8", "8x8x8", "8x8x16", "8x16x16")
SLICES = {"v5e": _FLAT, "v5p": _DEEP, "v6e": _FLAT}


# Of 128 MiB of memory on a v5e's chip ("How to Scale Your Model", jax-ml.github.io/scaling-book/tpus), what XLA's text
# shows to hold what programs make. A v5p's text keeps nothing there that products make; v6e is taken to be like v5e.
ON_CHIP = {"v5e": 108 * 2**20, "v5p": 0, "v6e": 108 * 2**20}


@dataclass(frozen=True)
class Machine:
    """A platform as `jax.default_backend()` names it, "cpu" or "tpu".

    Attributes:
      devices: how many there are.
      on_chip: bytes of memory on a chip that what a program makes may take, instead of main memory.
    """

    platform: str
    devices: int
    on_chip: int = 0


def named(name: str) -> Machine:
    """The machine called "cpu:8", for eight devices, or "v5e:4x4", for chips along each side.

    Raises:
      UserError: none has this name; lists those that there are.
    """
    kind, _, shape = name.partition(":")
    if kind == "cpu" and re.fullmatch(r"[1-9]\d{0,2}", shape):
        return Machine("cpu", int(shape))
    if shape in SLICES.get(kind, ()):
        return Machine("tpu", math.prod(map(int, shape.split("x"))), ON_CHIP[kind])
    known = "; ".join(f"{kind}: {', '.join(shapes)}" for kind, shapes in SLICES.items())
    raise UserError(f"there is no topology {name!r}", f"known are cpu:N and, by chips along each side, {known}")
