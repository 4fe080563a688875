"""What a benchmark measures, and the table that shows it."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

TIMES = 5  # calls of each kind, of which the median counts


@dataclass(frozen=True)
class Figure:
    """One measured figure.

    Attributes:
      work: what was done.
      what: what was measured of it.
      values: every measurement; the median is the figure, the extremes are its spread. None where `what` says
        why nothing was measured.
      unit: of the values; "" for a ratio.
      target: what is asked of the median, as "<= 2" or ">= 1.5"; "" where nothing is.
    """

    work: str
    what: str
    values: tuple[float, ...]
    unit: str = ""
    target: str = ""

    @property
    def median(self) -> float | None:
        return statistics.median(self.values) if self.values else None

    @property
    def reached(self) -> bool | None:
        """Whether the median meets the target; None without either."""
        if not self.target or not self.values:
            return None
        sign, bound = self.target.split()
        return self.median <= float(bound) if sign == "<=" else self.median >= float(bound)

    def json(self) -> dict[str, Any]:
        return asdict(self) | {"median": self.median, "reached": self.reached}


def interleaved(*kinds: Callable[[], float], times: int = TIMES) -> list[tuple[float, ...]]:
    """What each kind of call measures, `times` times in turn, so that all meet the same state of the machine."""
    rounds = [[kind() for kind in kinds] for _ in range(times)]
    return [tuple(column) for column in zip(*rounds, strict=True)]


def ratios(over: Sequence[float], under: Sequence[float]) -> tuple[float, ...]:
    """Ratios of measurements that were made side by side."""
    return tuple(a / b for a, b in zip(over, under, strict=True))


def table(figures: Sequence[Figure]) -> str:
    """One Markdown table."""
    lines = ["| work | measured | median | spread | target | reached |", "|---|---|---|---|---|---|"]
    for each in figures:
        unit = f" {each.unit}" if each.unit else ""
        median = f"{each.median:.3g}{unit}" if each.values else ""
        spread = _spread(each.values)
        reached = {None: "", True: "yes", False: "no"}[each.reached]
        cells = (each.work, each.what, median, spread, each.target, reached)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _spread(values: Sequence[float]) -> str:
    if len(values) > 1:
        return f"{min(values):.3g} to {max(values):.3g}"
    return "one run" if values else "not run"
