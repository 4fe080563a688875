"""A node's metrics.jsonl: one object a line, `{"step": …, name: number, …}`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from cai_jax.runs import files


class MetricsLog:
    """Appends to a metrics file that an earlier attempt may have begun.

    The file never holds two histories: the first step logged by this attempt replaces everything that an
    earlier attempt logged from that step on.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stream = None

    def log(self, step: int, metrics: dict[str, float]) -> None:
        """Adds one line. Numbers that JSON does not know (NaN, infinities) are written as null."""
        if self._stream is None:
            self.truncate(step - 1)
            self._stream = open(self._path, "a", encoding="utf-8")
        line = {"step": int(step)} | {name: _number(value) for name, value in metrics.items()}
        self._stream.write(files.json_lines([line]))
        self._stream.flush()

    def truncate(self, step: int) -> None:
        """Keeps what was logged up to and including `step`."""
        self.close()
        kept = [line for line in read(self._path) if line["step"] <= step]
        files.write_text(self._path, files.json_lines(kept))

    def sync(self) -> None:
        """Makes what was logged durable."""
        if self._stream is not None:
            os.fsync(self._stream.fileno())

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics file; a last line that a killed writer left unfinished is dropped."""
    if not path.exists():
        return []
    whole, _, _ = path.read_text(encoding="utf-8").rpartition("\n")
    return [json.loads(line) for line in whole.split("\n") if line]


def _number(value: Any) -> float | None:
    number = float(value)
    return number if number - number == 0.0 else None
