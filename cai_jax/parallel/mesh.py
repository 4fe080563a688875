"""The mesh every global-view step runs on: axes ("data", "fsdp", "tensor").

"fsdp" shards parameters and optimiser state (arXiv 1910.02054), "tensor" attention heads and feed-forward units
(arXiv 1909.08053).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh

from cai_jax.parallel import target

AXES = ("data", "fsdp", "tensor")

# What splits rows (both kinds of data parallelism), and what splits heads.
ROWS = ("data", "fsdp")
HEADS = "tensor"


def make_mesh(data: int = -1, fsdp: int = 1, tensor: int = 1, *, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Make a mesh of these sizes over `devices` (all of them by default).

    Args:
      data: copies of the parameters, each with rows of its own. fsdp: devices over which the parameters and
        the rows are split. tensor: devices over which heads and feed-forward units are split.
        At most one size may be -1: the rest of the devices.

    Raises:
      ValueError: the sizes do not multiply to the number of devices.
    """
    devices = target.devices() if devices is None else list(devices)
    sizes = [data, fsdp, tensor]
    wild = [i for i, size in enumerate(sizes) if size == -1]
    known = int(np.prod([size for size in sizes if size != -1]))
    if len(wild) == 1 and known > 0 and len(devices) % known == 0:
        sizes[wild[0]] = len(devices) // known
    if min(sizes) < 1 or int(np.prod(sizes)) != len(devices):
        raise ValueError(f"mesh data={data} fsdp={fsdp} tensor={tensor} does not fit {len(devices)} devices")
    # A torus whose sides are not products of these sizes, such as 4x4x4 for 8 x 8, has its sides split.
    grid = mesh_utils.create_device_mesh(sizes, devices, allow_split_physical_axes=True)
    return Mesh(grid, AXES, axis_types=(AxisType.Auto,) * 3)


def row_shards(mesh: Mesh) -> int:
    """Number of parts into which this mesh splits the rows of a batch."""
    return math.prod(mesh.shape[axis] for axis in ROWS)
