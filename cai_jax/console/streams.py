"""The standard streams, made safe to use: open, in any encoding, and harmless where there is no reader."""

from __future__ import annotations

import io
import os
import sys
from typing import Any, TextIO


class _Tolerant(io.FileIO):
    """Bytes to a file descriptor; bytes that cannot be written are dropped."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


def prepare() -> None:
    """Make stdin, stdout and stderr usable, whatever they were started with; replaced ones are left as they are.

    One that is closed is /dev/null from here on: else the next file opened would get its number, and messages of C++ or
    of a signal handler would be written into it. Output that stderr cannot take, because its disk is full or its
    reader has gone, is dropped: a run is not to fail for it. Characters that an encoding lacks are written as escapes.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, _nowhere(number))
    out, err = sys.__stdout__, sys.__stderr__
    if out is not None and sys.stdout is out:
        out.reconfigure(errors="backslashreplace")
    if err is not None and sys.stderr is err:
        raw = io.BufferedWriter(_Tolerant(err.fileno(), "wb", closefd=False))
        sys.stderr = io.TextIOWrapper(raw, err.encoding, "backslashreplace", line_buffering=True, write_through=True)


def finish() -> None:
    """Write out stdout; if that fails, keep Python from complaining again when it ends.

    Raises:
      OSError: it could not be written.
    """
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise


def _nowhere(number: int) -> TextIO:
    """/dev/null as the stream of this number, or of another one where that is taken already."""
    opened = os.open(os.devnull, os.O_RDWR)
    return open(opened, "w" if number else "r", encoding="utf-8", errors="surrogateescape", closefd=False)
