"""What `run (…)` and `with (…)` accept: settings of a run and of a node's schedule, which no stage declares."""

from __future__ import annotations

from typing import Any

from cai_jax.lang.types import Param

MESH = (
    Param(
        "mesh",
        "how a step is spread over devices",
        value="enum",
        default="auto",
        choices=("auto", "pmap", "one"),
    ),
    Param("data", "devices along the data axis; 0 takes those that are left", value="int", default=0, low=0),
    Param("fsdp", "devices over which parameters are split", value="int", default=1, low=1),
    Param("tensor", "devices over which each matrix is split", value="int", default=1, low=1),
)
WITH = (
    *MESH,
    Param("slots", "replies drawn at once", value="int", default=None, low=1, high=65536),
    Param("micro", "rows of a batch that are computed at once", value="int", default=None, low=1, unit="rows"),
)
RUN = (
    Param("seed", "of every random draw", value="int", default=0, low=0, high=2**32 - 1),
    *WITH,
)
MEANING = ("seed",)  # settings that belong to a node's key; the others are its schedule


def defaults() -> dict[str, Any]:
    """Every setting of a run that says nothing."""
    return {param.name: param.default for param in RUN}
