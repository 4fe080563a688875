"""Time and memory of the quickstart, from nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

from cai_jax.lang import assets
from tests.benchmarks.figures import Figure

PROGRAM = assets.find("programs") / "quickstart.cai"


def figures() -> Iterator[Figure]:
    """Wall time of one run, and the most memory that it held at one time."""
    with tempfile.TemporaryDirectory() as folder:
        call = [sys.executable, "-m", "cai_jax", "run", str(PROGRAM), "--out", folder]
        begun = time.monotonic()
        child = subprocess.Popen(call, stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(child.pid, 0)
        wall = time.monotonic() - begun
    if code := os.waitstatus_to_exitcode(status):
        raise SystemExit(f"the quickstart ended with {code}")
    yield Figure("quickstart", "run time", (wall,), "s", "<= 360")
    yield Figure("quickstart", "peak memory", (used.ru_maxrss / 2**20,), "GiB", "<= 4")
