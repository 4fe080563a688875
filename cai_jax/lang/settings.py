"""Settings of a run and of a node's schedule, given by `run (…)` and `with (…)`, which no stage declares."""

from __future__ import annotations

from typing import Any

from cai_jax.lang.signature import Kind, Param, Signature, Type

MESH = Signature(
    name="mesh",
    about="Devices in a grid: their number is the product of the three.",
    params=(
        Param("data", "parts of the rows, each with parameters of its own; 0 takes the devices that are left",
              value="int", default=0, low=0),
        Param("fsdp", "parts of the rows over which the parameters are split as well", value="int", default=1, low=1),
        Param("tensor", "parts of every matrix and of the heads", value="int", default=1, low=1),
    ),
    result=lambda call: Type(Kind.ERROR),
    example="mesh(fsdp=4, tensor=2)",
)  # fmt: skip
WITH = (
    Param(
        "mesh",
        "layout of a step over devices: all of them along `data`, one, by `jax.pmap`, or as `mesh(…)` says",
        value="enum",
        default="auto",
        choices=("auto", "pmap", "one"),
        record=MESH,
    ),
    Param("slots", "replies drawn at once", value="int", default=None, low=1, high=65536),
    Param("microbatch", "rows of a batch that are computed at once", value="int", default=None, low=1, unit="rows"),
    Param(
        "remat",
        "recompute activations in the backward pass, instead of keeping them in memory",
        value="bool",
        default=False,
    ),
)
RUN = (
    Param("seed", "of every random draw", value="int", default=0, low=0, high=2**32 - 1),
    Param(
        "seeds",
        "the program runs with each of these seeds, and claims are about the mean over them",
        value="range",
        default=None,
        low=0,
        high=2**32 - 1,
    ),
    Param(
        "overlap",
        "treatment of a metric of conversations of which some were trained on: an error before anything is trained, "
        "or a warning",
        value="enum",
        default="error",
        choices=("error", "allow"),
    ),
    *WITH,
)
MEANING = ("seed",)  # settings that belong to a node's key
SCHEDULE = tuple(param.name for param in WITH)  # those that say how a node is computed


def defaults() -> dict[str, Any]:
    """Every setting of a run that says nothing."""
    return {param.name: param.default for param in RUN}
