"""What the paper's stages take of a pod: model size × topology, compiled ahead of time; no TPU is needed.

POD names what to compile, as "SHAPE TOPOLOGY FSDP TENSOR; …", and POD_NODES of which nodes of programs/paper.cai.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator

from cai_jax.lang import assets
from tests.benchmarks.compiled import steps
from tests.benchmarks.figures import Figure

PODS = "llama-3.1-8b v5e:8x8 8 8; llama-3.1-8b v5p:4x4x4 16 4; llama-3.1-70b v5p:4x4x8 16 8"
NODES = {"chat": "sampling", "labels": "judging", "sl": "SFT", "rm": "preference model", "rl": "PPO"}


def figures() -> Iterator[Figure]:
    """Memory and the least time of every step, per chip; one whose memory is too small is told with what it needs."""
    if importlib.util.find_spec("libtpu") is None:
        yield Figure("the paper's stages on a pod", "left out: needs the TPU compiler, pip install '.[tpu]'", ())
        return
    for pod in os.environ.get("POD", PODS).split(";"):
        shape, topology, fsdp, tensor = pod.split()
        program = laid(shape, int(fsdp), int(tensor))
        for node in os.environ.get("POD_NODES", " ".join(NODES)).split():
            for step in steps(program, topology, "--only", node):
                work = f"{shape} on {topology}, {NODES[node]}: {step['step'].rpartition(': ')[2]}"
                fits = "" if step["fits"] else ", does not fit"
                yield Figure(work, f"memory per chip{fits}", (step["memory"] / 2**30,), "GiB")
                if step["fits"]:
                    yield Figure(work, "least time", (step["seconds"] * 1e3,), "ms")


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
