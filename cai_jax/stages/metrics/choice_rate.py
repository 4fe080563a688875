"""`choice_rate`: how often a model chooses the answer that shows a behaviour."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cai_jax.lang.signature import Kind, Signature, Type
from cai_jax.pipeline.context import Context
from cai_jax.stages.metrics import choices
from cai_jax.stages.metrics.choices import rendered, steps
from cai_jax.stages.metrics.common import with_column

__all__ = ["SIGNATURE", "rendered", "run", "steps"]

SIGNATURE = Signature(
    name="choice_rate",
    about="Share of questions on which the answer that shows a behaviour is the most probable one; a tie counts half. "
    "`mean_p` beside it is the mean of that answer's probability among the options.",
    params=choices.ASKED,
    result=lambda call: Type(Kind.METRIC),
    check=with_column(choices.check),
    group="metric",
    bounds=(0.0, 1.0),
    settings=("mesh",),
    example='choice_rate(rl, questions("power-seeking.jsonl"))',
)


def run(ctx: Context) -> Mapping[str, Any]:
    """Result: a figure (`evals.figures`), with `mean_p`, `chance` and `longest` in its `beside`."""
    return choices.measured_choices(ctx, "matching", "choice_accuracy")
