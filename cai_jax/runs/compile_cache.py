"""Parallel compilation of steps, and a folder that keeps the reports: a pod's program takes an hour once, not twice."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import threading
import zlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cai_jax.forecast import aot, hlo
from cai_jax.forecast.this_machine import version_of
from cai_jax.runs import files
from cai_jax.runs.signals import Interrupts

if TYPE_CHECKING:
    import jax

    from cai_jax.forecast.compile_context import Step

Told = aot.AotStep | aot.OutOfMemory

# A large model's step takes gigabytes while it is compiled.
AT_ONCE = 8
# Bytes of a thread's stack, of which only what is used is taken: XLA goes deep, and the usual 8 MiB have overflowed.
STACK = 512 * 2**20


class Compilers:
    """Compile steps for a machine, each once, and remember the reports.

    Args:
      folder: keeps the reports, a file a step.
      machine: for which all are.
      interrupts: signals, after which no further step is begun, since none can be stopped.
    """

    def __init__(self, folder: Path, machine: aot.Topology, interrupts: Interrupts) -> None:
        self._folder, self._interrupts = folder, interrupts
        # What decides beside the step what is told: the machine and its compiler.
        kind, versions = machine.devices[0].device_kind, map(version_of, ("jaxlib", "libtpu"))
        self._about = "\0".join([machine.name, kind, *versions])
        self._begun: dict[str, Future[Told]] = {}
        self._pool = ThreadPoolExecutor(min(AT_ONCE, len(os.sched_getaffinity(0))), "compiler")

    def __enter__(self) -> Compilers:
        self._before = threading.stack_size(STACK)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        threading.stack_size(self._before)
        self._pool.shutdown(wait=kind is not KeyboardInterrupt, cancel_futures=True)

    def begin(self, step: Step) -> Callable[[], Told]:
        """Begin to compile a step; the returned function waits for the report.

        Raises:
          Interrupted: a signal arrived; the returned function raises it too.
        """
        self._interrupts.check()
        lowered = step.lower()
        key = self._key(lowered, step.trips)
        if key not in self._begun:
            self._begun[key] = self._pool.submit(self._told, lowered, step.trips, self._folder / f"{key}.json.gz")
        return self._begun[key].result

    def _key(self, lowered: jax.stages.Lowered, trips: int) -> str:
        """The name of a step's report."""
        text = "\0".join([self._about, str(trips), lowered.as_text()])
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def _told(self, lowered: jax.stages.Lowered, trips: int, kept: Path) -> Told:
        with suppress(OSError, EOFError, zlib.error, ValueError, KeyError, TypeError):  # it is not there, or damaged
            return _counted(json.loads(gzip.decompress(kept.read_bytes())), trips)
        self._interrupts.check()
        try:
            sizes, text = aot.compiled(lowered)
            record = {**vars(sizes), "text": text}
        except aot.OutOfMemory as error:
            record = {"over": str(error)}
        kept.parent.mkdir(parents=True, exist_ok=True)
        files.write_bytes(kept, gzip.compress(json.dumps(record).encode()))
        return _counted(record, trips)


def _counted(record: dict[str, Any], trips: int) -> Told:
    if "over" in record:
        return aot.OutOfMemory(record["over"])
    return aot.AotStep(work=hlo.work(record.pop("text"), trips), **record)
