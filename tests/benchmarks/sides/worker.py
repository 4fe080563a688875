"""A side in a process of its own.

Why processes: XLA's and torch's thread pools keep spinning for a while after their last call, so that in one
process each would disturb the other's measurement; google-tunix may need another Python; and a side's memory
cannot hem another's. A side that waits for its next work sleeps in a read.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.benchmarks import works

ROOT = Path(__file__).parents[3]


class Worker:
    """A side in this process: `measure` prepares and warms up a work when it meets it first, then times it."""

    def __init__(self, side: str, source: str) -> None:
        self.side = importlib.import_module(f"tests.benchmarks.sides.{side}")
        self.model = self.side.load(source)
        self.calls = {}

    def measure(self, name: str, work: works.Work, **options: Any) -> tuple[float, Any]:
        """Seconds that the work took, and what came of it; options are the side's own, such as a batch size."""
        key = (name, work, tuple(options.items()))
        if key not in self.calls:
            self.calls[key] = getattr(self.side, name)(self.model, work, **options)
            self.calls[key]()
        begun = time.perf_counter()
        output = self.calls[key]()
        return time.perf_counter() - begun, output


class Process:
    """The same, in a process that `python` runs with additions to the environment."""

    def __init__(self, side: str, source: str, python: str = sys.executable, **environment: str) -> None:
        # Memory of a GPU is left to the other side; paths of the host's packages are left to the other python.
        added = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "PYTHONPATH": str(ROOT), **environment}
        call = [python, "-m", "tests.benchmarks.sides.worker", side, source]
        self.side = side
        self.child = subprocess.Popen(
            call, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **added}, cwd=ROOT, text=True
        )

    def measure(self, name: str, work: works.Work, **options: Any) -> tuple[float, Any]:
        asked = {"name": name, "kind": type(work).__name__, "work": dataclasses.asdict(work), "options": options}
        try:
            self.child.stdin.write(json.dumps(asked) + "\n")
            self.child.stdin.flush()
        except BrokenPipeError:
            pass  # it ended before it read anything, and the reply's absence says so
        answer = self.child.stdout.readline()
        if not answer:
            raise SystemExit(f"the side {self.side!r} ended with {self.child.wait()} in {name!r}; see its output above")
        return tuple(json.loads(answer))

    def close(self) -> None:
        self.child.stdin.close()
        self.child.wait()
        self.child.stdout.close()


def _serve(side: str, source: str) -> None:
    """Answers lines of `Process.measure` until its input ends."""
    # What libraries print must not mix with the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    worker = Worker(side, source)
    for line in sys.stdin:
        asked = json.loads(line)
        values = {name: tuple(value) if isinstance(value, list) else value for name, value in asked["work"].items()}
        measured = worker.measure(asked["name"], works.WORKS[asked["kind"]](**values), **asked["options"])
        print(json.dumps(measured), file=answers, flush=True)


if __name__ == "__main__":
    _serve(*sys.argv[1:])
