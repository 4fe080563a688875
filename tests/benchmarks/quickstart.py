"""Time and memory of the quickstart, from nothing, and what of it is compiling."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cai_jax.lang import assets
from tests.benchmarks.figures import Figure

PROGRAM = assets.find("programs") / "quickstart.cai"


def figures() -> Iterator[Figure]:
    """Wall time of one run and of another out of its cache, and the most memory that the first held at one time."""
    with tempfile.TemporaryDirectory() as folder:
        wall, used, compiled = _run(folder)
        again, _, _ = _run(folder)
    yield Figure("quickstart", "run time", (wall,), "s", "<= 360")
    yield Figure("quickstart", "of it compiling", (compiled["seconds"],), "s")
    yield Figure("quickstart", "functions compiled", (float(compiled["functions"]),))
    yield Figure("quickstart", "peak memory", (used.ru_maxrss / 2**20,), "GiB", "<= 4")
    yield Figure("quickstart", "run time of a second run", (again,), "s", "<= 5")


def _run(out: str) -> tuple[float, resource.struct_rusage, dict[str, Any]]:
    """Wall time in seconds of one run, what its process has used, and what it compiled (watched.py)."""
    told = Path(out) / "compiled.json"
    call = [sys.executable, "-m", "tests.benchmarks.watched", str(told), "run", str(PROGRAM), "--out", out]
    begun = time.monotonic()
    child = subprocess.Popen(call, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    wall = time.monotonic() - begun
    if code := os.waitstatus_to_exitcode(status):
        raise SystemExit(f"the quickstart ended with {code}")
    return wall, used, json.loads(told.read_text())
