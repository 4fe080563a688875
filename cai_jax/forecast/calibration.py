"""This machine's rates, measured: `python -m cai_jax.forecast.calibration` prints them as JSON.

From two rates `plan` computes times: FLOP/s, as a training step of a decoder reaches them, and bytes a second, as
attention in decoding reaches them (one query, and keys that are read once a token). Both are what programs reach on the
machine, not what its maker says.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from cai_jax.forecast.decoder_cost import DecoderCost
from cai_jax.learn import chunks, optim, sft
from cai_jax.learn.state import TrainState
from cai_jax.models import decoder
from cai_jax.models.config import Config

# Width of the decoder that is trained. On two cores a width of 128 reaches 63 GFLOP/s, 512 109 and 1024 129, so that
# the middle one is right within a factor of two for all; accelerators train wider ones.
WIDTH, WIDTH_ON_ACCELERATORS = 512, 2048
LAYERS, TOKENS, VOCABULARY = 2, 256, 2048
# Bytes of keys that are read: more than the caches of processors hold.
STREAM = 2**28
# The fastest of so many calls counts, which other work on the machine has disturbed least; each takes at least so many
# seconds, beside which starting it is nothing.
CALLS, LEAST = 5, 0.05


def measured() -> dict[str, Any]:
    """Return platform and number of devices, and of one device memory in bytes, FLOP/s by dtype, and bytes a second."""
    platform = jax.default_backend()
    width = WIDTH if platform == "cpu" else WIDTH_ON_ACCELERATORS
    return {
        "platform": platform,
        "devices": jax.device_count(),
        "memory": memory(jax.devices()[0]),
        "flops": {dtype: training(dtype, width) for dtype in ("float32", "bfloat16")},
        "bandwidth": decoding(),
    }


def training(dtype: str, width: int) -> float:
    """FLOP/s of a step of supervised training, of so many rows that it takes `LEAST` seconds."""
    head = 64
    config = Config(
        vocab_size=VOCABULARY,
        hidden_size=width,
        layers=LAYERS,
        heads=width // head,
        kv_heads=width // head,
        head_dim=head,
        intermediate_size=3 * width,
        max_position=TOKENS,
    )
    settings = sft.SFT(optim.Optim(1e-3), dtype=dtype, looped=True)
    state = TrainState.create(decoder.init(config, jax.random.key(0)), optim.optimizer(settings.optim))
    cost, step, rows = DecoderCost(config, 4, 4, jax.default_backend()), jax.jit(sft.make_step(config, settings)), 4
    while True:
        tokens = jnp.ones((1, rows, TOKENS), jnp.int32)  # one micro-batch
        places = jnp.broadcast_to(jnp.arange(TOKENS, dtype=jnp.int32), tokens.shape)
        batch = {"tokens": tokens, "segments": tokens, "positions": places, "weights": tokens.astype(jnp.float32)}
        seconds = _seconds(step, state, batch)
        if seconds >= LEAST or rows >= 256:
            blocks = -(-(TOKENS - 1) // chunks.SFT)
            return cost.train(rows, TOKENS).plus(cost.learn(rows * chunks.SFT, blocks)).flops / seconds
        rows *= 4


def decoding() -> float:
    """Bytes a second of the products of 64 queries, each with its own keys `[positions, 64]` in float32."""
    rows, width = 64, 64
    keys = jnp.full((rows, STREAM // (rows * width * 4), width), 0.01)
    look = jax.jit(lambda queries, keys: jnp.einsum("bh,bkh->bk", queries, keys))
    return keys.nbytes / _seconds(look, jnp.full((rows, width), 0.01), keys)


def memory(device: jax.Device) -> float:
    """Bytes of a device's memory: of an accelerator as JAX may use it, of a CPU as this process may."""
    told = device.memory_stats() or {}
    if "bytes_limit" in told:
        return float(told["bytes_limit"])
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return float(min([installed, *_allowed()]))


def _allowed() -> list[int]:
    """Bytes that the control groups of a container allow; none outside of one."""
    files = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
    texts = [file.read_text().strip() for file in files if file.is_file()]
    return [int(text) for text in texts if text.isdigit()]  # "max": no limit


def _seconds(call: Callable[..., Any], *given: Any) -> float:
    """The time of the fastest of several calls after a first one, which compiles."""
    jax.block_until_ready(call(*given))
    times = []
    for _ in range(CALLS):
        begun = time.perf_counter()
        jax.block_until_ready(call(*given))
        times.append(time.perf_counter() - begun)
    return min(times)


if __name__ == "__main__":
    print(json.dumps(measured()))
