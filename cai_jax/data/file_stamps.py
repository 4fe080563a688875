"""Stamps of the files in a folder, which change with them; contents and loaded models are remembered by them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from cai_jax.errors import UserError

DEEPEST = 64
MOST = 100_000  # files of one folder; of datasets on the hub none has more, and a whole disk has

# Device, inode, size, and when content and inode last changed. Everybody can set the time of the content, to that of
# another file too (`cp -p`); the last one is the system's own.
Stamp = tuple[int, int, int, int, int]


def members(root: Path) -> Iterator[tuple[str, Path]]:
    """Every file below a folder, by its name within it, in the order of names; of a file, the file itself as "".

    What symbolic links lead to counts as if it were there. Hidden folders are left out, as by all that read folders:
    they belong to git and to download tools, and change by themselves.

    Raises:
      UserError: there are too many, or something is neither file nor folder, such as a FIFO.
    """
    count = 0
    for name, path in _walk(root, "", frozenset()):
        count += 1
        if count > MOST:
            raise UserError(f"{root} holds more than {MOST:,} files", "name the folder of the dataset or model itself")
        yield name, path


def _walk(path: Path, name: str, above: frozenset[str]) -> Iterator[tuple[str, Path]]:
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return  # a link that leads nowhere; whoever needs the file says so
    if stat.S_ISREG(mode):
        yield name, path
    elif stat.S_ISDIR(mode):
        real = os.path.realpath(path)
        if len(above) > DEEPEST:
            raise UserError(f"{path} lies more than {DEEPEST} folders deep", "name the folder of the data itself")
        if real not in above:  # else a link leads back to where it is
            for inner in sorted(os.listdir(path)):
                if not (inner.startswith(".") and (path / inner).is_dir()):
                    yield from _walk(path / inner, f"{name}/{inner}" if name else inner, above | {real})
    else:
        raise UserError(f"{path} is neither a file nor a folder", "take it out of there, or name another place")


def stamp_of(status: os.stat_result) -> Stamp:
    """A file's stamp: while it stays the same, so does what the file holds."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def stamps(root: Path) -> tuple[tuple[str, Stamp], ...]:
    """Name and stamp of every file below a folder."""
    return tuple((name, stamp_of(path.stat())) for name, path in members(root))
