"""What a run has shown: its measured metrics, verdicts and notes, as data and as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cai_jax.lang.types import Kind
from cai_jax.runs.executor import Outcome
from cai_jax.runs.expectations import Verdict


@dataclass(frozen=True)
class Measured:
    """One metric of a run.

    Attributes:
      name: the metric's stage.
      of: what was measured; on: on which prompts; given: the other arguments, such as "by=judge"; all three as
        written in the program.
      value, low, high: the estimate and its 95 % interval; None where nothing could be measured.
      n: how many rows it rests on.
    """

    name: str
    of: str
    on: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    given: str = ""

    def __str__(self) -> str:
        if self.value is None:
            return "-"
        if self.low is None or self.high is None:
            return number(self.value)
        return f"{number(self.value)} [{number(self.low)}, {number(self.high)}]"


def measured(outcome: Outcome, of: str, on: str, given: str) -> Measured:
    """A metric node's result."""
    result = outcome.artefact.result
    values = (result.get(name) for name in ("value", "low", "high"))
    return Measured(outcome.node.stage, of, on, *values, int(result.get("n", 0)), given)


def number(value: float) -> str:
    """Four significant digits at most, without a needless exponent."""
    return f"{value:.4g}" if abs(value) >= 1e-3 or value == 0 else f"{value:.2e}"


def notes(outcomes: Sequence[Outcome]) -> list[tuple[str, str, str]]:
    """`(node, code, message)` of every note, cached nodes' included."""
    return [
        (", ".join(outcome.node.names) or outcome.node.key, note["code"], note["message"])
        for outcome in outcomes
        for note in outcome.artefact.record.get("notes", ())
    ]


def metrics_table(outcomes: Sequence[Outcome], metrics: Sequence[Measured]) -> str:
    """One row for every metric, under what was measured.

    Models come first, in the order in which they were made; one that nothing measures has a row of its own.
    """
    models = [
        name
        for outcome in outcomes
        if outcome.node.type.kind in (Kind.MODEL, Kind.REWARD_MODEL)
        for name in outcome.node.names
    ]
    rows = [["", "metric", "on", "value"]]
    for of in dict.fromkeys([*models, *(metric.of for metric in metrics)]):
        cells = [
            [f"{metric.name}({metric.given})" if metric.given else metric.name, metric.on, str(metric)]
            for metric in metrics
            if metric.of == of
        ]
        rows += [[of if i == 0 else "", *cell] for i, cell in enumerate(cells or [["", "", ""]])]
    return aligned(rows, rule_after=1)


def verdicts_table(verdicts: Sequence[Verdict]) -> str:
    """One line for every expectation: its verdict, the claim, both sides, and the interval that decided."""
    lines = []
    for verdict in verdicts:
        if verdict.undecided:
            sides = f"cannot be decided: {verdict.undecided}"
        else:
            sides = f"{number(verdict.left)} against {number(verdict.right)}"
        if verdict.difference is not None:
            _, low, high = verdict.difference
            sides += f"; difference {number(low)} to {number(high)} at {100 * verdict.level:g}%"
        lines.append(["holds" if verdict.holds else "FAILS", verdict.text, sides, verdict.why])
    return aligned(lines)


def aligned(rows: Sequence[Sequence[str]], rule_after: int = 0) -> str:
    """Columns padded to one width and set two spaces apart; a rule after the first `rule_after` rows."""
    if not rows:
        return ""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    if rule_after:
        lines.insert(rule_after, "-" * (sum(widths) + 2 * (len(widths) - 1)))
    return "\n".join(lines)


def as_json(
    run: str,
    status: str,
    outcomes: Sequence[Outcome],
    metrics: Sequence[Measured],
    verdicts: Sequence[Verdict],
) -> Mapping[str, Any]:
    """The object that `cai-jax run --json` prints."""
    return {
        "run": run,
        "status": status,
        "nodes": [
            {
                "name": ", ".join(outcome.node.names),
                "stage": outcome.node.stage,
                "key": outcome.node.key,
                "cached": outcome.cached,
                "seconds": round(outcome.seconds, 3),
            }
            for outcome in outcomes
        ],
        "metrics": [vars(metric) for metric in metrics],
        "expectations": [{"text": v.text, "holds": v.holds, "left": v.left, "right": v.right} for v in verdicts],
    }
