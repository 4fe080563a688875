"""Memory kept by the process instead of being handed back and faulted in again, for XLA on the CPU."""

from __future__ import annotations

import ctypes
import sys

# Parameters of glibc's mallopt(3).
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_NEVER = 2**31 - 1


def keep_memory() -> None:
    """Make glibc keep freed memory; elsewhere, do nothing.

    XLA allocates its temporaries at every step. Past 32 MB glibc maps them again each time, and the kernel
    clears every page that is touched, which can cost as much as the arithmetic.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is not None:
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, _NEVER)
