"""`cai-jax compile`: every jitted step of a program, compiled for a topology, and what it takes of a chip."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cai_jax.errors import UserError
from cai_jax.exit_codes import StageFailed
from cai_jax.forecast import aot
from cai_jax.forecast.compile_context import CompileContext, Step
from cai_jax.forecast.node_view import Input, ResidentModels, connected
from cai_jax.lang.plan import Plan
from cai_jax.parallel import target
from cai_jax.report.quantities import duration, quantity, size
from cai_jax.report.tables import folded, table
from cai_jax.runs.compile_cache import Compilers, Told
from cai_jax.runs.node_labels import every, labels
from cai_jax.runs.signals import Interrupts
from cai_jax.stages.protocol import Stage

if TYPE_CHECKING:
    from cai_jax.forecast.aot import AotStep, Topology
    from cai_jax.forecast.machines import Chip
    from cai_jax.models.checkpoint import Model

Say = Callable[[str], None]


@dataclass(frozen=True)
class Row:
    """One step of one node.

    Attributes:
      node, step, calls: the node, the step's description, and the number of calls in a run.
      compiled: the compiler's report; None where it does not fit.
      beside: bytes per chip of other data in memory, by name.
      wanted: bytes per chip of its arguments, by name.
      largest: the largest array among them, by its path, and its bytes per chip.
      over: the compiler's message where it does not fit.
      cure: a schedule with which its node fits, as written in a program; "" if it fits or none was found.
    """

    node: str
    step: str
    calls: float
    compiled: AotStep | None
    beside: Mapping[str, int]
    wanted: Mapping[str, int]
    largest: tuple[str, int]
    over: aot.OutOfMemory | None = None
    cure: str = ""

    @property
    def memory(self) -> float | None:
        """Bytes per chip, other data in memory (`beside`) included; None if unknown."""
        own = self.compiled.memory if self.compiled else self.over.used if self.over else None
        return None if own is None else own + sum(self.beside.values())

    @property
    def made(self) -> float | None:
        """Bytes per chip of its results and temporaries, without its arguments; None if unknown."""
        return None if self.memory is None else self.memory - sum((*self.beside.values(), *self.wanted.values()))

    def fits(self, chip: Chip | None) -> bool:
        memory = self.memory  # of what is compiled it is known
        return self.compiled is not None and memory is not None and (chip is None or memory <= chip.memory)

    def seconds(self, chip: Chip | None) -> float | None:
        """Roofline of one call."""
        return None if chip is None or self.compiled is None else self.compiled.roofline(chip)


def rows(
    plan: Plan,
    registry: Mapping[str, Stage],
    machine: Topology,
    prompt: int,
    say: Say,
    folder: Path,
    interrupts: Interrupts,
    only: str = "",
) -> Iterator[Row]:
    """Every step of a plan, compiled, in order; equal ones are compiled once.

    Args:
      prompt: tokens of the longest prompt.
      folder: keeps the compiler's reports.
      say: called with every step, once it is compiled.
      only: the key of the one node whose steps are compiled; "" for all.

    Raises:
      UserError: a model's shape is not known, or a schedule does not suit the devices.
      Interrupted: a signal arrived.
    """
    begun = []
    with target.compiling_for(machine.devices), Compilers(folder, machine, interrupts) as compilers:
        for label, make in described(plan, registry, prompt, only):
            try:
                steps = make({})
            except UserError as error:
                raise UserError(f"{label}: {error.message}", error.hint) from None
            begun.append((label, make, steps, [compilers.begin(step) for step in steps]))
        for label, make, steps, waiting in begun:
            found = [
                _announced(_row(label, step, told()), machine, say) for step, told in zip(steps, waiting, strict=True)
            ]
            over = [number for number, row in enumerate(found) if not row.fits(machine.chip)]
            cure = _cure(make, steps, over, machine, say, compilers) if over else ""
            yield from (row if row.fits(machine.chip) else replace(row, cure=cure) for row in found)


def described(plan: Plan, registry: Mapping[str, Stage], prompt: int, only: str = "") -> Iterator[tuple[str, Callable]]:
    """The label of every node that has steps (or of this one), and its steps with its schedule changed as given."""
    called = labels(plan, registry)
    memory: ResidentModels[Model] = ResidentModels()
    for each in connected(every(plan), called):
        describe = getattr(registry.get(each.node.stage), "steps", None)  # none makes the prompts of a flow
        if describe is None:
            continue
        before = memory.copy()

        def make(
            schedule: Mapping[str, Any],
            each: Input = each,
            describe: Callable[[CompileContext], list[Step]] = describe,
            before: ResidentModels[Model] = before,
        ) -> list[Step]:
            loaded = before.copy() if schedule else memory
            node = replace(each.node, schedule={**each.node.schedule, **schedule})
            return describe(CompileContext(node, each.inputs, prompt, loaded))

        if only in ("", each.node.key):
            yield each.label, make
        else:  # its models stay loaded beside those of later nodes
            with suppress(UserError):
                make({})


def _announced(row: Row, machine: Topology, say: Say) -> Row:
    """The row of a step that has been compiled, of which a line is said."""
    told = [
        _known(size, row.memory),
        _known(duration, row.seconds(machine.chip), ""),
        f"compiled in {row.compiled.seconds:.0f} s" if row.compiled else "does not fit",
    ]
    say(f"{row.node}: {row.step}: {', '.join(each for each in told if each)}")
    return row


def _row(label: str, step: Step, found: Told) -> Row:
    beside = {name: aot.bytes_per_chip(tree) for name, tree in step.others().items()}
    wanted = {name: aot.bytes_per_chip(tree) for name, tree in step.given.items() if tree is not None}
    made, over = (None, found) if isinstance(found, aot.OutOfMemory) else (found, None)
    return Row(label, step.name, step.calls, made, beside, wanted, aot.largest(dict(step.given)), over)


def _cure(
    make: Callable, steps: Sequence[Step], over: Sequence[int], machine: Topology, say: Say, compilers: Compilers
) -> str:
    """The first schedule with which all steps of a node fit; "" if there is none.

    From mild to harsh, since it takes the compiler long to compile what fits, and not to see what does not.

    Args:
      steps: under its own schedule. over: the numbers of those that do not fit, which are tried first.
    """
    order = sorted(range(len(steps)), key=lambda number: number not in over)
    for grid in _grids(len(machine.devices)):
        for saving in _savings(steps, grid["fsdp"]):
            schedule = {"mesh": grid, **saving}
            try:
                found = make(schedule)
            except UserError:  # it suits the batch or the devices no better
                continue
            label = f"with ({_said(schedule)})"
            tried = (
                _announced(_row(label, found[number], compilers.begin(found[number])()), machine, say)
                for number in order
            )
            if _could_fit(found, machine.chip) and all(row.fits(machine.chip) for row in tried):
                return _said(schedule)
    return ""


def _could_fit(steps: Sequence[Step], chip: Chip | None) -> bool:
    """True if the arguments and the other data in memory leave any room; on a CPU always."""
    if chip is None:
        return True
    sizes = ([aot.bytes_per_chip(tree) for tree in (dict(step.given), step.others())] for step in steps)
    return max(map(sum, sizes)) <= chip.memory


def _grids(devices: int) -> Iterator[dict[str, int]]:
    """Meshes that split parameters over all devices, and more and more by columns, of which inference has no copies."""
    for split in (1, 2, 4, 8, 16):
        if devices % split == 0:
            yield {"data": 0, "fsdp": devices // split, "tensor": split}


def _savings(steps: Sequence[Step], parts: int) -> list[dict[str, Any]]:
    """Schedules with which a node takes less and less memory on a mesh that splits rows into so many parts.

    Layers are computed again, then fewer rows are computed at once, and fewer replies drawn.
    """
    given = {name for step in steps for name in step.given}
    again = {"remat": True} if "state" in given else {}
    found: list[dict[str, Any]] = [{}, again]
    for rows, slots in ((8, 32), (4, 16), (2, 8), (1, 4)):
        fewer = {"microbatch": rows * parts} if again else {}
        found.append({**again, **fewer, **({"slots": slots * parts} if "cache" in given else {})})
    return [each for number, each in enumerate(found) if each not in found[:number]]


def _said(schedule: Mapping[str, Any]) -> str:
    grid = ", ".join(f"{axis}={count}" for axis, count in schedule["mesh"].items() if count)
    rest = [f"{name}={str(value).lower()}" for name, value in schedule.items() if name != "mesh"]
    return ", ".join([f"mesh=mesh({grid})", *rest])


def text(found: Sequence[Row], machine: Topology, width: int | None = None) -> str:
    """The steps as a table of that width (`tables.table`), with the time of a run below it."""
    rows = [["node", "step", "memory", "beside", "FLOPs", "bytes", "collectives", "compile", "step", "calls"]]
    for row in found:
        made = row.compiled
        work = ["", "", "", ""]
        if made is not None:
            moved = sum(made.work.moved.values())
            count = int(sum(made.work.counts.values()))
            sent = f"{count}: {quantity(moved)}B" if count else ""
            work = [quantity(made.work.flops), quantity(made.work.bytes), sent, f"{made.seconds:.0f} s"]
        rows.append(
            [row.node, row.step, _known(size, row.memory), size(sum(row.beside.values())), *work,
             _known(duration, row.seconds(machine.chip), ""), f"{row.calls:.0f}"]
        )  # fmt: skip
    chips = len(machine.devices)
    of = f" of {size(machine.chip.memory)}" if machine.chip else ""
    head = f"{machine.name}: {chips} device{'s' * (chips != 1)}; per device, memory{of}"
    parts = [folded(head, width), table(rows, rule_after=1, width=width)]
    total = run_seconds(found, machine)
    if total is not None:
        least = f"a run takes at least {duration(total)}, {total * chips / 3600:.1f} chip-hours (roofline)"
        parts.append(folded(least, width))
    return "\n\n".join(parts)


def run_seconds(found: Sequence[Row], machine: Topology) -> float | None:
    """Roofline of the whole run; None where the chip is not known or a step does not fit."""
    total: float = 0
    for row in found:
        seconds = row.seconds(machine.chip) if row.fits(machine.chip) else None
        if seconds is None:
            return None
        total += seconds * row.calls
    return total


def as_json(found: Sequence[Row], machine: Topology) -> dict[str, Any]:
    """The same as data: bytes, FLOPs and seconds, per chip."""
    chip = machine.chip
    return {
        "topology": machine.name,
        "devices": len(machine.devices),
        "memory": None if chip is None else chip.memory,
        "seconds": run_seconds(found, machine),
        "steps": [_step_json(row, chip) for row in found],
    }


def _step_json(row: Row, chip: Chip | None) -> dict[str, Any]:
    made = row.compiled
    told = {"node": row.node, "step": row.step, "calls": row.calls, "fits": row.fits(chip), "memory": row.memory}
    told |= {"beside": dict(row.beside), "arguments": dict(row.wanted), "cure": row.cure}
    if made is not None:
        told |= {
            "temporaries": made.temporaries,
            "flops": made.work.flops,
            "bytes": made.work.bytes,
            "collectives": dict(made.work.counts),
            "collective_bytes": dict(made.work.moved),
            "compile_seconds": made.seconds,
            "seconds": row.seconds(chip),
        }
    return told


def refuse(found: Sequence[Row], machine: Topology) -> None:
    """Raise StageFailed where a step does not fit, naming the largest tensors and a schedule that would fit."""
    over = [row for row in found if not row.fits(machine.chip)]
    if not over:
        return
    assert machine.chip is not None  # a CPU takes its memory from the system, so that all steps fit
    row = max(over, key=lambda row: row.memory or math.inf)
    sizes = {**row.beside, **row.wanted, "what it makes itself": row.made or 0}
    largest = sorted(sizes.items(), key=lambda each: -each[1])[:4]
    told = ", ".join(f"{name} {size(taken)}" for name, taken in largest if taken > 0)
    name, taken = row.largest
    steps = f"{len(over)} step{'s' * (len(over) > 1)} do{'es' * (len(over) == 1)} not fit {machine.name}"
    need = size(row.memory) if row.memory else "more"
    message = f"{steps}: {row.step!r} needs {need}, where a chip has {size(machine.chip.memory)}: {told}"
    cure = f"with ({row.cure}) it fits" if row.cure else "take a larger slice, or a smaller batch"
    raise StageFailed(row.node, f"{message}; its largest tensor is {name}, {size(taken)}", cure, None)


def _known(shown: Callable[[float], str], value: float | None, unknown: str = "?") -> str:
    return unknown if value is None else shown(value)
