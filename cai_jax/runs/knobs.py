"""A program's knobs, as `cai-jax run P.cai --help` lists them."""

from __future__ import annotations

from collections.abc import Sequence

from cai_jax.lang.knobs import Knob
from cai_jax.runs.results import aligned


def knobs_text(knobs: Sequence[Knob]) -> str:
    """One line for each knob: how to set it, its default and range, and its help."""
    if not knobs:
        return "  none"
    rows = []
    for knob in knobs:
        span = f"in {_shown(knob.low)}..{_shown(knob.high)}" if knob.low is not None else ""
        rows.append([f"  --set {knob.name}={_shown(knob.default)}", span, " ".join(knob.help.split())])
    return aligned(rows)


def _shown(value: float | str | bool | None) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)
