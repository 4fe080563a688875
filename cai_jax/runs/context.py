"""What `stages.protocol` asks for, on top of the node cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cai_jax.errors import UserError
from cai_jax.lang.types import Node, Type
from cai_jax.parallel import processes
from cai_jax.runs import files
from cai_jax.runs.cache import CHECKPOINTS, METRICS, NOTES, Entry
from cai_jax.runs.checkpoints import Checkpoints
from cai_jax.runs.metrics import MetricsLog
from cai_jax.runs.signals import Interrupts

Row = dict[str, Any]
Progress = Callable[..., None]


class CachedArtefact:
    """A finished node (`stages.protocol.Artefact`)."""

    def __init__(self, entry: Entry, type: Type) -> None:
        self.key = entry.key
        self.type = type
        self.dir = entry.dir
        self.record: Mapping[str, Any] = entry.record()
        self.result: Mapping[str, Any] = self.record.get("result") or {}
        self._entry = entry

    def rows(self) -> list[Row]:
        """All rows.

        Raises:
          UserError: they are not there any more: another run makes the node anew, or they were deleted.
        """
        try:
            rows = self._entry.rows()
        except FileNotFoundError:
            rows = []
        if len(rows) != len(self) or not self._entry.done:
            raise UserError(
                f"the rows of {self.key} have gone or changed since this run found them",
                "another run may be making the node anew: when that is over, run again",
            )
        return rows

    def __len__(self) -> int:
        return int(self.record.get("rows", 0))

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows())

    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        return self.rows()[index]

    def __repr__(self) -> str:
        return f"<{self.type.kind} {self.key}: {len(self)} rows, result {dict(self.result)}>"

    @property
    def path(self) -> Path:
        return Path(self.result["path"]) if "path" in self.result else self.dir / "hf"


class RunContext:
    """One node while its stage runs (`stages.protocol.Context`).

    Of several processes the first alone writes, but for the checkpoints, to which each gives its parts.

    Args:
      node: what is made.
      entry: its folder, opened.
      inputs: its inputs' artefacts, by parameter.
      seed: the run's seed.
      interrupts: where a pending Ctrl-C is found.
      progress: called as `progress(done, total, tokens=…, unit=…)`.
    """

    def __init__(
        self,
        node: Node,
        entry: Entry,
        inputs: Mapping[str, Any],
        seed: int,
        interrupts: Interrupts,
        progress: Progress,
    ) -> None:
        self.node = node
        self.params = node.params
        self.inputs = inputs
        self.seed = seed
        self.dir = entry.dir
        noted = entry.dir / NOTES
        self.notes: list[dict[str, str]] = files.read_json(noted) if noted.exists() else []
        self.schedule: dict[str, Any] = dict(node.schedule)
        self._entry = entry
        self._interrupts = interrupts
        self._progress = progress
        # What an earlier attempt has left: the first process may be writing more by the time that others read it.
        self._found = entry.parts()
        self._parts = len(self._found)
        self._writes = processes.first()
        self._metrics = MetricsLog(entry.dir / METRICS)
        self._checkpoints = Checkpoints(entry.dir / CHECKPOINTS)

    @property
    def stopping(self) -> bool:
        return self._interrupts.pending

    def committed(self) -> list[Row]:
        return [row for part in self._found for row in files.read_lines(part)]

    def commit(self, rows: Sequence[Mapping[str, Any]]) -> None:
        if rows and self._writes:
            self._metrics.sync()
            self._entry.append(self._parts, rows)
            self._parts += 1

    def save(self, step: int, tree: Any) -> None:
        self._metrics.sync()
        self._checkpoints.save(step, tree)

    def restore(self, template: Any) -> tuple[int, Any] | None:
        step = processes.led(self._newest)
        return None if step is None else (step, self._checkpoints.load(step, template))

    def _newest(self) -> int | None:
        """The step to go on from; the metrics that were logged after it are dropped."""
        step, lost = self._checkpoints.newest(), self._checkpoints.damaged()
        if lost:
            begun = "the beginning" if step is None else f"the one of step {step}"
            which = f"checkpoint{'s' * (len(lost) > 1)} of step {' and '.join(map(str, lost))}"
            self.note("checkpoint", f"the {which} had lost files; training went on from {begun}")
        self._metrics.truncate(-1 if step is None else step)
        return step

    def log(self, step: int, **metrics: float) -> None:
        if self._writes:
            self._metrics.log(step, metrics)

    def note(self, code: str, message: str) -> None:
        note = {"code": code, "message": message}
        if note not in self.notes:
            self.notes.append(note)
            if self._writes:
                files.write_json(self.dir / NOTES, self.notes)

    def used(self, **schedule: Any) -> None:
        self.schedule |= schedule

    def progress(self, done: int, total: int, *, tokens: int = 0, unit: str = "rows") -> None:
        self._progress(done, total, tokens=tokens, unit=unit)
        self._interrupts.check()

    def close(self) -> None:
        """Ends what is still being written. Raises OSError if it could not be."""
        self._metrics.sync()
        self._checkpoints.wait()
