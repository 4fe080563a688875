"""What loading a checkpoint of a few hundred MB takes: memory beside the weights as loaded, and time."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.figures import Figure

ROOT = Path(__file__).parents[2]
WAYS = (("float32", "float32"), ("bfloat16", "bfloat16"), ("bfloat16", "float32"))
TIMES = 5


def figures() -> Iterator[Figure]:
    """For every stored and asked-for dtype, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        for stored, asked in WAYS:
            path = Path(folder) / stored
            if not path.exists():
                _call("write", path, stored)
            runs = [json.loads(_call("load", path, asked)) for _ in range(TIMES)]
            work = f"loading {stored} as {asked}"
            size = runs[0]["bytes"] / 2**20
            peaks = tuple(run["peak"] / run["bytes"] for run in runs)
            yield Figure(work, f"peak memory beside the {size:.0f} MiB loaded", peaks, "×", "<= 1.3")
            peaks = tuple(run["saving"] / run["bytes"] for run in runs)
            yield Figure(f"{work}, and saving it", "peak memory beside the same", peaks, "×", "<= 1.3")
            rates = tuple(run["bytes"] / run["seconds"] / 1e9 for run in runs)
            yield Figure(work, "rate", rates, "GB/s")


def _call(*arguments: object) -> str:
    command = [sys.executable, "-m", "tests.benchmarks.loading", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def _write(path: Path, dtype: str) -> None:
    """A random Llama of 83 M weights, of which the embedding is a seventh."""
    import jax

    from cai_jax.models import checkpoint, decoder
    from cai_jax.models.config import Config
    from cai_jax.models.tokenizer import Tokenizer
    from tests.support import llama

    config = Config(16_000, 768, layers=10, heads=12, kv_heads=12, head_dim=64, intermediate_size=2048, eos_ids=(0,))
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), decoder.init(config, jax.random.key(0)))
    path.mkdir()
    llama.write_tokenizer(path)
    checkpoint.save(checkpoint.Model(config, params, Tokenizer.load(path, config)), path)


def _load(path: Path, dtype: str) -> dict[str, float]:
    """How much the process grew at most while it loaded the model, beside how large that is, and how long it took."""
    import jax

    import cai_jax

    cai_jax.load("builtin:tiny")  # whatever is imported, started and compiled once is no part of a model's memory
    before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    begun = time.monotonic()
    model = cai_jax.load(str(path), dtype=dtype)
    seconds, peak = time.monotonic() - begun, _peak() - before
    with tempfile.TemporaryDirectory() as folder:
        model.save(folder)
    size = sum(tensor.nbytes for tensor in jax.tree.leaves(model.params))
    return {"bytes": size, "peak": peak, "saving": _peak() - before, "seconds": seconds}


def _peak() -> int:
    """The most bytes that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    if sys.argv[1] == "write":
        _write(Path(sys.argv[2]), sys.argv[3])
    else:
        json.dump(_load(Path(sys.argv[2]), sys.argv[3]), sys.stdout)
