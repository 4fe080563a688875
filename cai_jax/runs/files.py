"""Files that are there whole or not at all: written beside, flushed to the disk, then renamed."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

TEMPORARY = ".tmp-"


def write_bytes(path: Path, data: bytes) -> None:
    """Replaces `path` atomically; durable when this returns, and raises OSError if it cannot be.

    A file that is there keeps its mode, and a symbolic link goes on pointing to it.
    """
    path = Path(os.path.realpath(path))
    beside = path.with_name(f"{TEMPORARY}{uuid.uuid4().hex}")
    try:
        with open(beside, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        if path.exists():
            shutil.copymode(path, beside)
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    sync(path.parent)


def write_text(path: Path, text: str) -> None:
    """`write_bytes`, in UTF-8."""
    write_bytes(path, text.encode("utf-8"))


def sync(path: Path) -> None:
    """Makes a file's contents durable, or the renames and removals in a folder."""
    handle = os.open(path, os.O_RDONLY)
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


def sizes(folder: Path, paths: Iterable[Path]) -> dict[str, int]:
    """Bytes of those of the paths that are files, by their name within `folder`; what `intact` asks for."""
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in paths if path.is_file()}


def intact(folder: Path, known: Mapping[str, int]) -> bool:
    """Whether every file is there in full; raises OSError if one cannot be found."""
    return all((folder / name).stat().st_size == size for name, size in known.items())


def read_lines(path: Path) -> list[dict[str, Any]]:
    # Not `splitlines`, which also breaks at the Unicode separators that a JSON string may hold.
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
