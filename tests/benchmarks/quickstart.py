"""Time and memory of the quickstart, from nothing, what of it is compiling, and how well `plan` foretells its times."""

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
# Of shorter nodes, compiling is most of the time.
LONG = 5.0


def figures() -> Iterator[Figure]:
    """Wall time of one run and of another out of its cache, and the most memory that the first held at one time.

    Of every node that takes over `LONG` seconds, by what factor the time that `plan` says is too long or too short.
    """
    with tempfile.TemporaryDirectory() as folder:
        planned = _planned(folder)
        wall, used, compiled = _run(folder)
        (manifest,) = Path(folder).glob("quickstart-*/manifest.json")
        taken = {node["key"]: node["seconds"] for node in json.loads(manifest.read_text())["nodes"]}
        again, _, _ = _run(folder)
    yield Figure("quickstart", "run time", (wall,), "s", "<= 360")
    yield Figure("quickstart", "of it compiling", (compiled["seconds"],), "s")
    yield Figure("quickstart", "functions compiled", (float(compiled["functions"]),))
    yield Figure("quickstart", "peak memory", (used.ru_maxrss / 2**20,), "GiB", "<= 4")
    yield Figure("quickstart", "run time of a second run", (again,), "s", "<= 5")
    for key, (label, foretold) in planned.items():
        seconds = taken[key]
        if seconds > LONG:
            what = f"`plan`: {label} takes {foretold:.0f} s; it took {seconds:.0f} s: wrong by a factor of"
            yield Figure("quickstart", what, (max(foretold / seconds, seconds / foretold),), "", "<= 2")


def _planned(out: str) -> dict[str, tuple[str, float]]:
    """Label and seconds of every node that computes, by its key, as `plan` says them of this machine."""
    call = [sys.executable, "-m", "cai_jax", "plan", str(PROGRAM), "--json", "--measure", "--out", out]
    done = subprocess.run(call, check=True, capture_output=True, text=True)
    nodes = json.loads(done.stdout)["nodes"]
    return {node["key"]: (node["label"], node["seconds"]) for node in nodes if node["seconds"]}


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
