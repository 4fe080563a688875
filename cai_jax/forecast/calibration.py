"""What this machine can do, measured: `python -m cai_jax.forecast.calibration` prints it as JSON.

Two rates, from which `plan` works out times: products a second, as prompts and training take them (a matrix of weights
times many rows), and bytes a second, as decoding takes them (a row times its own keys, which are read once a token).
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

# Of the matrix of weights: as wide as a decoder of about a billion parameters has them.
WIDTH = 2048
# Bytes that are read: more than the caches of processors hold.
STREAM = 2**28
# A measurement takes so many calls, of at least so many seconds each, of which the median counts: short enough that
# all of them take about two seconds, long enough that starting a call is nothing beside it.
CALLS, LEAST = 5, 0.02


def measured() -> dict[str, Any]:
    """Platform, kind and number of devices, and of one device memory in bytes, FLOP/s by dtype, and bytes a second."""
    device = jax.devices()[0]
    return {
        "platform": jax.default_backend(),
        "kind": device.device_kind,
        "devices": jax.device_count(),
        "memory": memory(device),
        "flops": {dtype: products(dtype) for dtype in ("float32", "bfloat16")},
        "bandwidth": bandwidth(),
    }


def products(dtype: str) -> float:
    """FLOP/s of `[rows, WIDTH] x [WIDTH, WIDTH]`, of so many rows that a call takes `LEAST` seconds."""
    rows, multiply = 256, jax.jit(jnp.matmul)
    weights = jnp.full((WIDTH, WIDTH), 0.01, dtype)
    while True:
        seconds = _seconds(multiply, jnp.full((rows, WIDTH), 0.01, dtype), weights)
        if seconds >= LEAST or rows >= 2**18:
            return 2.0 * rows * WIDTH * WIDTH / seconds
        rows *= 4


def bandwidth() -> float:
    """Bytes a second of the product of 64 queries, each with keys of its own `[positions, 64]` in float32."""
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


def _seconds(call: Callable[..., jax.Array], *given: jax.Array) -> float:
    """The median of several calls behind a first one, which compiles."""
    call(*given).block_until_ready()
    times = []
    for _ in range(CALLS):
        begun = time.perf_counter()
        call(*given).block_until_ready()
        times.append(time.perf_counter() - begun)
    return sorted(times)[CALLS // 2]


if __name__ == "__main__":
    print(json.dumps(measured()))
