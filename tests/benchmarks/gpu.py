"""Llamas of 1 B and 8 B parameters on a GPU: random weights in bfloat16, shares of what the device can do."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from cai_jax.models.config import parameters
from cai_jax.models.shapes import SHAPES
from tests.benchmarks import bounds, works
from tests.benchmarks.arena import Arena, against
from tests.benchmarks.figures import Figure
from tests.benchmarks.sides.worker import Process

# Published peaks of dense bfloat16, FLOP/s, and of memory, bytes a second, by a part of the device's name.
PEAKS = {"A100": (312e12, 2.04e12), "H100": (989e12, 3.35e12), "H200": (989e12, 4.8e12)}
TRAIN_BYTES = 16  # a parameter: float32 weight, gradient and two moments


@dataclass(frozen=True)
class Sizes:
    """`decode` continues its prompts; `prefill` only reads them and draws one token."""

    decode: works.Sampling = works.Sampling(rows=64, prompt=128, new=256)
    prefill: works.Sampling = works.Sampling(rows=16, prompt=2048, new=1)
    sft: works.Sft = works.Sft(rows=8, length=1024)
    times: int = 5


def figures() -> Iterator[Figure]:
    device, memory = _device()
    if not memory:
        yield Figure("large models on a GPU", "JAX finds none here", ())
        return
    for shape in ("llama-3.2-1b", "llama-3.1-8b"):
        with closing(Process("ours", shape)) as ours, closing(Process("theirs", shape)) as theirs:
            sides = Arena(SHAPES[shape], ours, theirs, times=Sizes.times, number_bytes=2)
            yield from compare(sides, shape, Sizes(), device, memory)


def compare(sides: Arena, shape: str, sizes: Sizes, device: str, memory: float) -> Iterator[Figure]:
    """Rows of one shape; `device` is its name, `memory` its bytes."""
    peaks = next((peak for name, peak in PEAKS.items() if name in device), None)
    flops, bandwidth = peaks or (max(sides.ceilings.gemm.values()), sides.ceilings.bandwidth)
    yield Figure(
        f"{shape} on {device}", "best product measured", (max(sides.ceilings.gemm.values()) / 1e12,), "TFLOP/s"
    )
    yield Figure(f"{shape} on {device}", "memory traffic measured", (sides.ceilings.bandwidth / 1e9,), "GB/s")
    yield from _decode(sides, shape, sizes.decode, bandwidth)
    yield from _prefill(sides, shape, sizes.prefill, flops)
    yield from _sft(sides, shape, sizes.sft, flops, memory)


def _decode(sides: Arena, shape: str, work: works.Sampling, bandwidth: float) -> Iterator[Figure]:
    """The difference between many new tokens and few, so that reading the prompts does not count."""
    title = f"{shape}, decode, {work.rows} rows, {work.prompt} + {work.new} tokens"
    few = replace(work, new=work.new // 8)
    options = {"batch": work.rows, "cache": "dynamic"}
    ours, ours_few, theirs, theirs_few = sides.compare(
        (sides.ours, "sampling", work, {}),
        (sides.ours, "sampling", few, {}),
        (sides.theirs, "sampling", work, options),
        (sides.theirs, "sampling", few, options),
    )
    ours, theirs = _less(ours, ours_few), _less(theirs, theirs_few)
    steps = work.new - few.new
    keys = work.rows * (work.prompt + (work.new + few.new) / 2)
    nbytes = steps * (sides.costs.read + sides.costs.key_bytes * keys)
    yield Figure(title, "tokens a second", tuple(work.rows * steps / seconds for seconds in ours))
    yield Figure(title, "share of the bandwidth", tuple(nbytes / bandwidth / each for each in ours), target=">= 0.6")
    yield from against(title, "transformers", theirs, ours, "")


def _prefill(sides: Arena, shape: str, work: works.Sampling, flops: float) -> Iterator[Figure]:
    title = f"{shape}, prefill, {work.rows} × {work.prompt} tokens"
    options = {"batch": work.rows, "cache": "dynamic"}
    ours, theirs = sides.compare((sides.ours, "sampling", work, {}), (sides.theirs, "sampling", work, options))
    texts = bounds.Texts.of(work.prompts())
    needed = sides.costs.flops(texts.tokens, texts.pairs, work.rows)
    yield Figure(title, "model FLOP utilisation", tuple(needed / flops / each for each in ours), target=">= 0.5")
    yield from against(title, "transformers", theirs, ours, "")


def _sft(sides: Arena, shape: str, work: works.Sft, flops: float, memory: float) -> Iterator[Figure]:
    title = f"{shape}, SFT step, {work.rows} × {work.length} tokens"
    needed = TRAIN_BYTES * parameters(sides.config)
    if 2 * needed > memory:  # each side keeps its own
        yield Figure(title, f"needs {needed / 1e9:.0f} GB for each side before activations: does not fit", ())
        return
    ours, theirs = sides.compare((sides.ours, "sft", work, {}), (sides.theirs, "sft", work, {}))
    needed = bounds.train_flops(sides.costs, work.rows, work.length)
    yield Figure(title, "model FLOP utilisation", tuple(needed / flops / each for each in ours), target=">= 0.5")
    yield from against(title, "transformers on torch, autocast", theirs, ours, "")


def _less(long: Sequence[float], short: Sequence[float]) -> tuple[float, ...]:
    return tuple(a - b for a, b in zip(long, short, strict=True))


def _device() -> tuple[str, float]:
    """Name and bytes of JAX's GPU; ("", 0) without one. Asked in another process, which then leaves the GPU free."""
    asked = (
        "import jax; gpu = jax.default_backend() == 'gpu'; device = jax.devices()[0]; "
        "print(device.device_kind if gpu else ''); print(device.memory_stats()['bytes_limit'] if gpu else 0)"
    )
    answer = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True).stdout
    name, memory = answer.split("\n")[:2]
    return name, float(memory)
