"""`cai-jax plan`: the nodes of a program, what is cached, why the rest would run, and what it would cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cai_jax.forecast.machines import Machine
from cai_jax.forecast.node_view import connected
from cai_jax.forecast.stage_cost import CostContext
from cai_jax.lang.signature import Cost, Node
from cai_jax.report.rerun_reason import Reasons
from cai_jax.report.tables import folded, table
from cai_jax.runs import data_sizes
from cai_jax.runs.cache import Cache
from cai_jax.runs.data_sizes import Size, Sized
from cai_jax.runs.executor import input_keys
from cai_jax.runs.node_labels import labels
from cai_jax.stages.protocol import Stage


@dataclass(frozen=True)
class Line:
    """One node of the plan as shown.

    Attributes:
      label: what people call it; inputs: the same of its inputs.
      why: "cached", or why it would run.
      cost: its estimated work if it ran from the start.
    """

    node: Node
    label: str
    inputs: tuple[str, ...]
    why: str
    cost: Cost

    @property
    def cached(self) -> bool:
        return self.why == "cached"


def lines(sized: Sized, registry: Mapping[str, Stage], cache: Cache, machine: Machine) -> list[Line]:
    """Every node of a plan whose sizes are known, inputs first; costs are estimated for a machine."""
    plan = sized.plan
    called = labels(plan, registry)
    reasons = Reasons(called, registry, cache, plan.settings["seed"])
    found = []
    for node, made in zip(plan.nodes, connected(plan.nodes, called), strict=True):
        cost = registry[node.stage].cost(CostContext(node, made.inputs, sized.prompts[node.key], machine))
        sources = tuple(called[key] for key in dict.fromkeys(input_keys(node)))
        found.append(Line(node, called[node.key], sources, reasons.why(node), cost))
    return found


def text(shown: Sequence[Line], data: Sequence[Size], width: int | None = None) -> str:
    """The plan as a table of that width (`tables.table`); below it what would still be spent, and on which data."""
    rows = [["node", "made by", "from", "state", "tokens", "FLOPs", "bytes"]]
    for line in shown:
        work = [quantity(line.cost.tokens), quantity(line.cost.flops), quantity(line.cost.bytes)]
        rows.append([line.label, line.node.stage, ", ".join(line.inputs), line.why, *work])
    todo = [line for line in shown if not line.cached]
    total = f"{len(todo)} of {len(shown)} nodes to run"
    if todo:
        spent = (sum(getattr(line.cost, name) for line in todo) for name in ("tokens", "flops", "bytes"))
        tokens, flops, moved = (quantity(value) or "0" for value in spent)
        total += f": {tokens} tokens, {flops} FLOPs, {moved} bytes"
    about = data_sizes.text(data, {line.node.key: line.label for line in shown})
    below = folded(f"{total} (estimates)\n{about}".rstrip(), width)
    return f"{table(rows, rule_after=1, width=width)}\n\n{below}"


def as_json(shown: Sequence[Line]) -> list[dict[str, Any]]:
    """The same as data."""
    return [
        {
            "name": ", ".join(line.node.names),
            "label": line.label,
            "stage": line.node.stage,
            "key": line.node.key,
            "inputs": list(input_keys(line.node)),
            "cached": line.cached,
            "why": line.why,
            "tokens": line.cost.tokens,
            "flops": line.cost.flops,
            "bytes": line.cost.bytes,
        }
        for line in shown
    ]


def quantity(value: float) -> str:
    """950, 1.2k, 3.4M, 5.6G, 7.8T, 9.1P, 2.3E; nothing for nothing."""
    if not value:
        return ""
    for unit in ("", "k", "M", "G", "T", "P", "E"):
        if abs(value) < 999.5 or unit == "E":
            break
        value /= 1000.0
    return f"{value:.0f}{unit}" if value >= 100 or not unit else f"{value:.1f}{unit}"
