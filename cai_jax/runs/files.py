"""Files that are there whole or not at all: written beside, flushed to the disk, then renamed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

TEMPORARY = ".tmp-"


def write_text(path: Path, text: str) -> None:
    """Replaces `path` atomically; durable when this returns, and raises OSError if it cannot be."""
    beside = path.with_name(f"{TEMPORARY}{os.getpid()}-{path.name}")
    try:
        with open(beside, "w", encoding="utf-8", newline="") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Makes renames and removals in `folder` durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def json_lines(rows: Iterable[Mapping[str, Any]]) -> str:
    """One compact JSON object a line; raises ValueError for a NaN, TypeError for what JSON cannot hold."""
    return "".join(json.dumps(row, ensure_ascii=False, separators=(",", ":"), allow_nan=False) + "\n" for row in rows)


def read_lines(path: Path) -> list[dict[str, Any]]:
    # Not `splitlines`, which also breaks at the Unicode separators that a JSON string may hold.
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
