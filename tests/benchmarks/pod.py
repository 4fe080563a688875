"""What the paper's page takes of a pod: model size × topology, compiled ahead of time; no TPU is needed.

POD names what to compile, as "SHAPE TOPOLOGY FSDP TENSOR; …".
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator

from cai_jax.lang import assets
from tests.benchmarks.compiled import compiled
from tests.benchmarks.figures import Figure

PODS = (
    "llama-3.2-1b v5e:2x4 8 1; llama-3.2-1b v5e:4x4 16 1; llama-3.1-8b v5e:8x8 8 8; llama-3.1-8b v5p:4x4x4 8 8; "
    "llama-3.1-70b v5p:4x4x8 16 8"
)
# Nodes of the page that train on batches read from a file, and what a batch is.
TRAINING = {"sl": "SFT, 1,024 rows", "rm": "preference model, 512 pairs"}


def figures() -> Iterator[Figure]:
    """Of every pod the most memory of a chip, and the least time of training and of a run where all fits."""
    if importlib.util.find_spec("libtpu") is None:
        yield Figure("the paper's page on a pod", "left out: needs the TPU compiler, pip install '.[tpu]'", ())
        return
    for pod in os.environ.get("POD", PODS).split(";"):
        shape, topology, fsdp, tensor = pod.split()
        found = compiled(laid(shape, int(fsdp), int(tensor)), topology)
        yield from told(f"{shape} on {topology}, fsdp={fsdp}, tensor={tensor}", found)


def told(work: str, found: dict) -> Iterator[Figure]:
    """The figures of one pod.

    Args:
      found: what `cai-jax compile --json` tells.
    """
    over = [step for step in found["steps"] if not step["fits"]]
    most = max(over or found["steps"], key=lambda step: step["memory"] or 0)
    where = f"memory per chip, most in {most['node']}: {most['step']}"
    values = () if most["memory"] is None else (most["memory"] / 2**30,)
    yield Figure(work, where, values, "GiB", f"<= {found['memory'] / 2**30:.2f}")
    if over:
        return
    for node, batch in TRAINING.items():
        (step,) = [step for step in found["steps"] if (step["node"], step["step"]) == (node, "train")]
        yield Figure(work, f"least time: {batch}", (step["seconds"],), "s")
    steps = [step for step in found["steps"] if step["node"] == "rl"]
    (rollouts,) = [step["calls"] for step in steps if step["step"] == "prepare"]
    once = sum(step["seconds"] * step["calls"] for step in steps) / rollouts
    yield Figure(work, "least time: PPO, 512 replies drawn, scored and trained on", (once,), "s")
    hours = found["seconds"] / 3600
    yield Figure(work, "least time: a run", (hours,), "h")
    yield Figure(work, "chip-hours of a run", (hours * found["devices"],))


def laid(shape: str, fsdp: int, tensor: int) -> str:
    """The paper's program with models of another shape on another mesh.

    Raises:
      ValueError: the program says them in another way.
    """
    text = (assets.find("programs") / "paper.cai").read_text()
    for old, new in (
        ('shape="llama-3.1-8b"', f'shape="{shape}"'),
        ("mesh(fsdp=8, tensor=8)", f"mesh(fsdp={fsdp}, tensor={tensor})"),
    ):
        if old not in text:
            raise ValueError(f"programs/paper.cai does not say {old}")
        text = text.replace(old, new)
    return text
