"""What more devices save and what they send: a small model on virtual CPU devices, compiled and not run."""

from __future__ import annotations

from collections.abc import Iterator

from tests.benchmarks.compiled import compiled
from tests.benchmarks.figures import Figure

DEVICES = (1, 2, 4, 8)
HEADS = 4  # of the model, over which "tensor" splits it

PROGRAM = """\
run (slots=64)
world = documents("builtin:world", rows=64)
red = prompts("builtin:red_team")
base = model("init:tiny")
"""
# Seeds tell apart what would else be computed once.
NODES = """\
sft_{axis} = world |> finetune(base, steps=1, batch=16, length=128, seed={seed}) with (mesh=mesh({axis}={size}))
draw_{axis} = red.train |> sample(base, seed={seed}) with (mesh=mesh({axis}={size}))
expect refusal_rate(draw_{axis}) < 100%
"""


def figures() -> Iterator[Figure]:
    """The same 16 rows of training and 64 of sampling, however many devices share them."""
    for size in DEVICES:
        axes = ["data", "fsdp", *(["tensor"] if HEADS % size == 0 else [])] if size > 1 else ["data"]
        program = PROGRAM + "".join(NODES.format(axis=axis, size=size, seed=seed) for seed, axis in enumerate(axes))
        for step in compiled(program, f"cpu:{size}", "--prompt-tokens", "128")["steps"]:
            axis = step["node"].rpartition("_")[2]
            if step["step"] == "train":
                yield from _figures(f"SFT step, {axis}={size}", step)
            elif "decode" in step["step"]:
                yield from _figures(f"decode chunk, {axis}={size}", step)


def _figures(work: str, step: dict) -> Iterator[Figure]:
    yield Figure(work, "products per device", (step["flops"] / 1e9,), "GFLOP")
    yield Figure(work, "sent per device", (sum(step["collective_bytes"].values()) / 1e6,), "MB")
