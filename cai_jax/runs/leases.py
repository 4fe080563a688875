"""Leases: one process at a time works on a node, and a dead one's place can be taken.

A lease is a file that names its holder. On the holder's own machine the process table says whether it lives;
from elsewhere its heartbeat does, which is the file's modification time.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

from cai_jax.runs.cache import LEASE, LEASE_TEMPORARY

BEAT_S = 10.0
STALE_S = 90.0


@dataclass(frozen=True)
class Holder:
    """Who holds a lease: a process (and when it started, since ids are reused) on a machine."""

    host: str
    pid: int
    started: str
    token: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host.split('/')[0]}"


def this_process() -> Holder:
    return Holder(_machine(), os.getpid(), _started(os.getpid()) or "", uuid.uuid4().hex)


class Lease:
    """A held lease; keeps its heartbeat until `release`."""

    def __init__(self, path: Path, holder: Holder) -> None:
        self._path = path
        self._holder = holder
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True, name="lease")
        self._thread.start()

    def release(self) -> None:
        """Gives the lease up, if it is still this one's."""
        self._stop.set()
        self._thread.join()
        if read(self._path) == self._holder:
            self._path.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._stop.wait(BEAT_S):
            if read(self._path) == self._holder:
                os.utime(self._path)


def acquire(folder: Path) -> Lease | Holder:
    """The lease on a node's folder, or else the living holder that has it."""
    path = folder / LEASE
    mine = this_process()
    while True:
        holder = read(path)
        if holder is not None and alive(holder, path):
            return holder
        if holder is not None:
            _break(path, holder)
        beside = folder / f"{LEASE_TEMPORARY}{mine.token}"
        beside.write_text(json.dumps(asdict(mine)), encoding="utf-8")
        try:
            os.link(beside, path)  # fails if somebody was faster, unlike a rename
            return Lease(path, mine)
        except FileExistsError:
            continue
        finally:
            beside.unlink()


def read(path: Path) -> Holder | None:
    """Who holds the lease in this file; None if there is none."""
    try:
        return Holder(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None


def alive(holder: Holder, path: Path) -> bool:
    if holder.host == _machine():
        return _started(holder.pid) == holder.started
    try:
        return time.time() - path.stat().st_mtime < STALE_S
    except FileNotFoundError:
        return False


def _break(path: Path, dead: Holder) -> None:
    """Takes a dead holder's lease away, and only that: another process may have retaken it already."""
    aside = path.with_name(f"{LEASE_TEMPORARY}{uuid.uuid4().hex}")
    try:
        os.rename(path, aside)
    except FileNotFoundError:
        return
    if read(aside) != dead:
        try:
            os.link(aside, path)
        except FileExistsError:
            pass
    aside.unlink()


def _machine() -> str:
    """The host and, in containers, the process namespace: within it, process ids mean something."""
    try:
        return f"{socket.gethostname()}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def _started(pid: int) -> str | None:
    """When a process began, in its system's terms; "" where that is not said, None if it is no more."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
            state, *fields = stream.read().rpartition(")")[2].split()
        return None if state in "ZX" else fields[18]
    except FileNotFoundError:
        if os.path.exists("/proc/self/stat"):
            return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return ""
