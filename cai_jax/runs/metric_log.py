"""A node's metrics.jsonl: one object a line, `{"step": …, name: number, …}`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from cai_jax.runs import files

# Seconds after which what was logged is on the disk for those who watch; a batch or checkpoint brings it there sooner.
EVERY_S = 10.0


class MetricsLog:
    """Append to a metrics file that an earlier attempt may have begun.

    The file is written whole every time, since buckets cannot append, and never holds two histories: the first step
    logged by this attempt replaces everything that an earlier attempt logged from that step on.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines: list[dict[str, Any]] | None = None  # None until this attempt logs
        self._fresh = False
        self._written = time.monotonic()

    def log(self, step: int, metrics: dict[str, float]) -> None:
        """Add one line. Numbers that JSON lacks (NaN, infinities) are written as null."""
        if self._lines is None:
            self.truncate(step - 1)
        assert self._lines is not None  # `truncate` has read them
        self._lines.append({"step": int(step)} | {name: _number(value) for name, value in metrics.items()})
        self._fresh = True
        if time.monotonic() - self._written >= EVERY_S:
            self.sync()

    def truncate(self, step: int) -> None:
        """Keep the lines up to and including `step`."""
        self.sync()
        self._lines = [line for line in read(self._path) if line["step"] <= step]
        self._write()

    def sync(self) -> None:
        """Make the logged lines durable."""
        if self._fresh:
            self._write()

    def _write(self) -> None:
        files.write_text(self._path, files.json_lines(self._lines or ()))
        self._fresh, self._written = False, time.monotonic()


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics file; none if there is no file."""
    return files.lines(path.read_text(encoding="utf-8")) if path.exists() else []


def _number(value: Any) -> float | None:
    number = float(value)
    return number if number - number == 0.0 else None
