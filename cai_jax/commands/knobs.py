"""A program's knobs, as `cai-jax run P.cai --help` lists them."""

from __future__ import annotations

from collections.abc import Sequence

from cai_jax.lang import units
from cai_jax.lang.knobs import Knob
from cai_jax.report.tables import table


def knobs_text(knobs: Sequence[Knob], width: int | None = None) -> str:
    """One line for each knob: how to set it, its default and range, and its help."""
    if not knobs:
        return "  none"
    rows = []
    for knob in knobs:
        span = f"in {units.shown((knob.low, knob.high))}" if knob.low is not None else ""
        rows.append([f"  --set {knob.name}={units.shown(knob.default)}", span, " ".join(knob.help.split())])
    return table(rows, width=width)
