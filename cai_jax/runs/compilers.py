"""Steps compiled side by side, and what that told kept in a folder: a pod's program takes an hour once, not twice."""

from __future__ import annotations

import hashlib
import inspect
import os
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from cai_jax.parallel import aot, hlo
from cai_jax.runs import files
from cai_jax.runs.signals import Interrupts

if TYPE_CHECKING:
    import jax

    from cai_jax.stages.parts.steps import Step

Told = aot.Compiled | aot.OutOfMemory

# A large model's step takes gigabytes while it is compiled.
AT_ONCE = 8


class Compilers:
    """Compiles steps for a machine, each once, and remembers what was told.

    Args:
      folder: where that is kept, a file a step.
      machine: for which all are.
      interrupts: signals, after which no other step is begun, since none can be stopped.
    """

    def __init__(self, folder: Path, machine: aot.Topology, interrupts: Interrupts) -> None:
        self._folder, self._interrupts = folder, interrupts
        # All that decides what is told beside the step: the machine, the compiler, and how its text is read.
        kind, versions = machine.devices[0].device_kind, map(_version, ("jaxlib", "libtpu"))
        self._about = "\0".join([machine.name, kind, *versions, inspect.getsource(hlo)])
        self._begun: dict[str, Future[Told]] = {}
        self._pool = ThreadPoolExecutor(min(AT_ONCE, len(os.sched_getaffinity(0))), "compiler")

    def __enter__(self) -> Compilers:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._pool.shutdown(wait=kind is not KeyboardInterrupt, cancel_futures=True)

    def begin(self, step: Step) -> Callable[[], Told]:
        """Begins to compile a step; what comes back waits for what it told.

        Raises:
          Interrupted: a signal arrived; what comes back raises it too.
        """
        self._interrupts.check()
        lowered = step.lower()
        key = self._key(lowered, step.trips)
        if key not in self._begun:
            self._begun[key] = self._pool.submit(self._told, lowered, step.trips, self._folder / f"{key}.json")
        return self._begun[key].result

    def _key(self, lowered: jax.stages.Lowered, trips: int) -> str:
        """The name of what a step tells."""
        text = "\0".join([self._about, str(trips), lowered.as_text()])
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def _told(self, lowered: jax.stages.Lowered, trips: int, kept: Path) -> Told:
        with suppress(OSError, ValueError, KeyError, TypeError):  # it is not there, or damaged
            return _read(kept)
        self._interrupts.check()
        try:
            told = aot.compiled(lowered, trips)
            record = {**vars(told), "work": vars(told.work)}
        except aot.OutOfMemory as error:
            told, record = error, {"over": str(error)}
        kept.parent.mkdir(parents=True, exist_ok=True)
        files.write_json(kept, record)
        return told


def _read(kept: Path) -> Told:
    record = files.read_json(kept)
    if "over" in record:
        return aot.OutOfMemory(record["over"])
    work = record.pop("work")
    counted = {name: Counter(work.pop(name)) for name in ("counts", "moved")}
    return aot.Compiled(**record, work=hlo.Work(**work, **counted))


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
