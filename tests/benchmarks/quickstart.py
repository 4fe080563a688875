"""Time and memory of the quickstart, from nothing."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

from cai_jax.lang import assets
from tests.benchmarks.figures import Figure

PROGRAM = assets.find("programs") / "quickstart.cai"


def figures() -> Iterator[Figure]:
    """Wall time of one run and of another out of its cache, and the most memory that the first held at one time."""
    with tempfile.TemporaryDirectory() as folder:
        wall, used = _run(folder)
        again, _ = _run(folder)
    yield Figure("quickstart", "run time", (wall,), "s", "<= 360")
    yield Figure("quickstart", "peak memory", (used.ru_maxrss / 2**20,), "GiB", "<= 4")
    yield Figure("quickstart", "run time of a second run", (again,), "s", "<= 5")


def _run(out: str) -> tuple[float, resource.struct_rusage]:
    """Wall time in seconds of one run, and what its process has used."""
    call = [sys.executable, "-m", "cai_jax", "run", str(PROGRAM), "--out", out]
    begun = time.monotonic()
    child = subprocess.Popen(call, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    wall = time.monotonic() - begun
    if code := os.waitstatus_to_exitcode(status):
        raise SystemExit(f"the quickstart ended with {code}")
    return wall, used
