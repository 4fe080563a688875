"""Runs that are killed: when, and what they leave."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cai_jax.runs import leases
from cai_jax.runs.cache import DONE, LEASE, NODE
from tests.programs import _running as running


def started(page: Path, out: Path, python: tuple[str, ...] = running.CAI_JAX) -> subprocess.Popen:
    """A run that has begun."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(running.command(page, out, python=python), env=running.clean(), **pipes)


def at_work(out: Path, pid: int) -> Path | None:
    """The node on which a process works now."""
    for lease in (out / "cache").glob(f"*-*/{LEASE}"):
        holder = leases.read(lease)
        if holder is not None and holder.pid == pid:
            return lease.parent
    return None


def there(out: Path, *patterns: str) -> set[Path]:
    """What there is in the folders of nodes."""
    return {path for pattern in patterns for path in (out / "cache").glob(f"*/{pattern}")}


def waited(process: subprocess.Popen, ready: Callable[[], Any], seconds: float = 300.0) -> None:
    """Waits until something is ready, the process has ended, or the time is over."""
    end = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < end and not ready():
        time.sleep(0.002)


def made(out: Path) -> Iterator[tuple[str, bytes]]:
    """Everything that the nodes are made of; node.json, which says when, and DONE with its hash are left out."""
    for path in sorted((out / "cache").rglob("*")):
        if path.is_file() and path.name not in (NODE, DONE) and path.parent != out / "cache":
            yield str(path.relative_to(out)), path.read_bytes()
