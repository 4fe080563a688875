"""`cai-jax plan`: the nodes of a program, what is cached, why the rest would run, and what it would take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cai_jax.forecast.cost_context import Cost, CostContext, cost_of
from cai_jax.forecast.machines import Machine
from cai_jax.forecast.node_view import ResidentModels, connected
from cai_jax.lang.signature import Kind, Node
from cai_jax.pipeline.row_counts import expected_rows
from cai_jax.report.quantities import duration, quantity, size
from cai_jax.report.rerun_reason import Reasons
from cai_jax.report.tables import folded, table
from cai_jax.runs import data_sizes
from cai_jax.runs.cache import Cache
from cai_jax.runs.data_sizes import Size, Sized
from cai_jax.runs.executor import input_keys
from cai_jax.runs.node_labels import labels
from cai_jax.stages.protocol import Stage

_ROWS = (Kind.PROMPTS, Kind.RESPONSES, Kind.DIALOGS, Kind.PREFS, Kind.QUESTIONS, Kind.DOCUMENTS)
# What is counted is at least this share of what a compiler takes (tests/benchmarks/README.md, "What plan says"): up to
# so much of the memory it fits for certain, and up to all of it perhaps.
SURE = 0.5


@dataclass(frozen=True)
class Line:
    """One node of the plan as shown.

    Attributes:
      label: what people call it.
      why: "cached", or why it would run.
      rows: that it makes; None of what has none.
      cost: its estimated work if it ran from the start; None where the shape of a model is not known.
    """

    node: Node
    label: str
    why: str
    rows: int | None
    cost: Cost | None

    @property
    def cached(self) -> bool:
        return self.why == "cached"


@dataclass(frozen=True)
class Total:
    """What is left to do.

    Attributes:
      nodes: how many nodes. unknown: of how many of them nothing is known.
      cost: of the others together.
      largest: the label of the one that needs most memory.
    """

    nodes: int
    unknown: int
    cost: Cost
    largest: str

    @classmethod
    def of(cls, shown: Sequence[Line]) -> Total:
        todo = [line for line in shown if not line.cached]
        known = [(line.cost, line.label) for line in todo if line.cost is not None]
        largest = max(known, key=lambda each: each[0].memory, default=(Cost(), ""))
        return cls(len(todo), len(todo) - len(known), sum((cost for cost, _ in known), Cost()), largest[1])

    def fits(self, machine: Machine) -> bool | None:
        """Whether there are enough devices with enough memory; None where that is not certain or not known."""
        memory = self.cost.memory
        if self.cost.devices > machine.devices or (machine.memory is not None and memory > machine.memory):
            return False
        if machine.memory is None:
            return None
        return True if not self.unknown and memory <= SURE * machine.memory else None


def computes(sized: Sized, registry: Mapping[str, Stage]) -> bool:
    """Whether a node of the plan computes anything on the devices."""
    return any(hasattr(registry[node.stage], "steps") for node in sized.plan.nodes)


def lines(sized: Sized, registry: Mapping[str, Stage], cache: Cache, machine: Machine) -> list[Line]:
    """Every node of a plan whose sizes are known, inputs first; costs are estimated for a machine."""
    plan = sized.plan
    called = labels(plan, registry)
    reasons = Reasons(called, registry, cache, plan.settings["seed"])
    found, memory = [], ResidentModels[Any]()
    for node, made in zip(plan.nodes, connected(plan.nodes, called), strict=True):
        cost = cost_of(registry[node.stage], CostContext(node, made.inputs, sized.prompts[node.key], memory, machine))
        rows = expected_rows(node.type) if node.type.kind in _ROWS else None
        found.append(Line(node, called[node.key], reasons.why(node), rows, cost))
    return found


def text(shown: Sequence[Line], data: Sequence[Size], machine: Machine, width: int | None = None) -> str:
    """The plan as a table of that width (`tables.table`); below it what would still be spent, and on which data."""
    rows = [["node", "made by", "state", "rows", "tokens", "time", "memory"]]
    for line in shown:
        made = "" if line.rows is None else f"{line.rows:,}"
        rows.append([line.label, line.node.stage, line.why, made, *_cells(line.cost)])
    total = Total.of(shown)
    told = [f"{total.nodes} of {len(shown)} nodes to run"]
    if total.nodes:
        tokens, flops = (quantity(value) or "0" for value in (total.cost.tokens, total.cost.flops))
        told[0] += f": {tokens} tokens, {flops} FLOPs (estimates)"
        told += [_time(total, machine), _memory(total, machine)]
    if total.unknown:
        told.append(f"not counted: {total.unknown} nodes, since the shape of a model is not known")
    told.append(data_sizes.text(data, {line.node.key: line.label for line in shown}))
    below = folded("\n".join(each for each in told if each), width)
    return f"{table(rows, rule_after=1, width=width)}\n\n{below}"


def _cells(cost: Cost | None) -> list[str]:
    """Tokens, time and memory of a node; nothing of one that computes nothing, "?" where it is not known."""
    if cost is None:
        return ["?"] * 3
    time = "" if not cost.seconds else duration(cost.seconds)
    return [quantity(cost.tokens), time, size(cost.memory) if cost.memory else ""]


def _time(total: Total, machine: Machine) -> str:
    if not total.cost.flops or total.cost.devices > machine.devices:
        return ""
    if total.cost.seconds is None:
        return f"time: not known, since {machine.name} could not be measured"
    rates = f"{quantity(max((machine.flops or {}).values()))}FLOP/s, {quantity(machine.bandwidth)}B/s"
    devices = f"{machine.devices} device{'s' * (machine.devices != 1)}"
    each = " each" * (machine.devices != 1)
    how = "as measured" if machine.measured else "a bound that nothing reaches"
    least = "about" if machine.measured else "at least"
    return f"time: {least} {duration(total.cost.seconds)} on {machine.name} ({devices}, {rates}{each}, {how})"


def _memory(total: Total, machine: Machine) -> str:
    if not total.cost.memory:
        return ""
    if total.cost.devices > machine.devices:
        needed = f"a mesh needs {total.cost.devices} devices, and {machine.name} has {machine.devices}"
        return f"does not fit: {needed}; --topology plans for another machine"
    need = f"memory of a device: at least {size(total.cost.memory)} ({total.largest})"
    if machine.memory is None:
        return need
    verdict = {True: "fits", False: "does not fit", None: "may not fit"}[total.fits(machine)]
    cure = (
        "" if total.fits(machine) else "; `cai-jax compile` gives the compiler's own numbers, and a schedule that fits"
    )
    return f"{need} of {size(machine.memory)}: {verdict}{cure}"


def as_json(shown: Sequence[Line]) -> list[dict[str, Any]]:
    """The same as data; null where the shape of a model is not known."""
    return [
        {
            "name": ", ".join(line.node.names),
            "label": line.label,
            "stage": line.node.stage,
            "key": line.node.key,
            "inputs": list(input_keys(line.node)),
            "cached": line.cached,
            "why": line.why,
            "rows": line.rows,
            **{name: getattr(line.cost, name, None) for name in Cost.__dataclass_fields__},
        }
        for line in shown
    ]


def totals(shown: Sequence[Line], machine: Machine) -> dict[str, Any]:
    """What is left to do, and the machine it was estimated for, as data."""
    total = Total.of(shown)
    cost = {name: getattr(total.cost, name) for name in Cost.__dataclass_fields__}
    return {
        "machine": {
            "name": machine.name,
            "platform": machine.platform,
            "devices": machine.devices,
            "memory": machine.memory,
            "flops": {f"{count * 8} bit": rate for count, rate in (machine.flops or {}).items()},
            "bandwidth": machine.bandwidth,
            "measured": machine.measured,
        },
        "total": {"nodes": total.nodes, "unknown": total.unknown, **cost, "fits": total.fits(machine)},
    }
