"""Leases: one process at a time works on a node or a run's folder, and a dead one's place can be taken.

A lease is a file that names its holder. On the holder's own machine the process table says if it is alive;
from elsewhere its heartbeat does, which is the file's modification time. The only requirement is that a file can be
created if there is none, which buckets can do as well as disks.
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

from cai_jax.runs import files
from cai_jax.runs.cache import LEASE, LEASE_TEMPORARY

# Seconds between two heartbeats; and after which a lease whose heart has not beaten is taken: nine missed beats, since
# buckets and network file systems may show a change tens of seconds late.
BEAT_S = 10.0
STALE_S = 90.0

_seen: dict[Path, tuple[float, float]] = {}  # lease -> its last heartbeat, and since when this process knows of it


@dataclass(frozen=True)
class Holder:
    """The holder of a lease: a process (and its start time, since ids are reused) on a machine."""

    host: str
    pid: int
    started: str
    token: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host.split('/')[0]}" if self.host else "another process"


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
        """Release the lease, if it is still this one's."""
        self._stop.set()
        self._thread.join()
        if read(self._path) == self._holder:
            self._path.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._stop.wait(BEAT_S):
            if read(self._path) == self._holder:
                os.utime(self._path)


def acquire(folder: Path) -> Lease | Holder:
    """The lease on a folder, or else the living holder that has it."""
    path, mine = folder / LEASE, this_process()
    holder = _take(path, mine)
    return Lease(path, mine) if holder == mine else holder


def read(path: Path) -> Holder | None:
    """The holder of the lease in this file; None if there is none.

    A holder without a host if it cannot be read: it is being written, or was damaged by a power loss.
    """
    try:
        match json.loads(path.read_text(encoding="utf-8")):
            # The token becomes part of a file's name.
            case {"host": str(host), "pid": int(pid), "started": str(started), "token": str(token)} if token.isalnum():
                return Holder(host, pid, started, token)
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError):
        pass
    return Holder("", 0, "", "unreadable")


def alive(holder: Holder, path: Path) -> bool:
    """True if the holder of the lease in this file still works; from elsewhere, if its heartbeat is recent.

    Clocks differ, and a time stamp may be in the future. So a heartbeat that was seen `STALE_S` ago by this process's
    own clock, and has not changed since, does not count either.
    """
    if holder.host == _machine():
        return _started(holder.pid) == holder.started
    try:
        beat = path.stat().st_mtime
    except FileNotFoundError:
        return False
    now = time.monotonic()
    seen, since = _seen.get(path, (None, now))
    _seen[path] = beat, since if seen == beat else now
    return time.time() - beat < STALE_S and now - _seen[path][1] < STALE_S


def _take(path: Path, mine: Holder) -> Holder:
    """Write `mine` as the lease `path`, replacing a dead holder's if need be; return the living holder."""
    while True:
        holder = read(path)
        if holder is None:
            if _create(path, mine):
                return mine
        elif alive(holder, path):
            return holder
        else:
            _break(path, holder, mine)


def _break(path: Path, dead: Holder, mine: Holder) -> None:
    """Remove a dead holder's lease.

    Between reading a file and removing it, others may have removed it and put their own in its place. So the process
    that breaks a lease holds another one meanwhile, which is named for it alone; should it die, that is broken
    likewise.
    """
    breaking = path.with_name(f"{LEASE_TEMPORARY}{dead.token}{path.name}")
    if _take(breaking, mine) != mine:
        time.sleep(0.001)
        return
    if read(path) == dead:
        path.unlink(missing_ok=True)
    breaking.unlink(missing_ok=True)


def _create(path: Path, mine: Holder) -> bool:
    """Make the lease, durable; False if there is one."""
    try:
        with open(path, "x", encoding="utf-8") as stream:
            stream.write(json.dumps(asdict(mine)))
            stream.flush()
            os.fsync(stream.fileno())
    except FileExistsError:
        return False
    files.sync(path.parent)
    return True


def _machine() -> str:
    """The host and, in containers, the process namespace: within it, process ids mean something."""
    try:
        return f"{socket.gethostname()}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def _started(pid: int) -> str | None:
    """The start time of a process, in its system's terms; "" where the system does not say, None if it has ended."""
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
