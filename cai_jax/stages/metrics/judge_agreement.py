"""`judge_agreement`: how often several judges take the same side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cai_jax.errors import UserError
from cai_jax.evals.figures import row_of
from cai_jax.lang.signature import Call, Kind, Param, Problem, Signature, Type
from cai_jax.pipeline.context import Context
from cai_jax.stages.metrics.common import measured


def _check(call: Call) -> Iterable[Problem]:
    labels = call.types["labels"].labels
    if labels and labels <= {"human"}:
        message, hint = "no judge has labelled these pairs", "ask several about them:  … |> judge(harmless, by=[a, b])"
        yield Problem("E212", "labels", message, label="people's own labels", hint=hint)


SIGNATURE = Signature(
    name="judge_agreement",
    about="Share of two judges' answers on a pair that name the same side, over all pairs on which every judge has "
    "one. Beside it, what of that is more than chance: Cohen's kappa of two judges, Krippendorff's alpha of more.",
    params=(Param("labels", "Labels that several judges made: `judge(…, by=[a, b])`.", kinds=(Kind.PREFS,)),),
    result=lambda call: Type(Kind.METRIC),
    check=_check,
    group="metric",
    bounds=(0.0, 1.0),
    example="judge_agreement(red.train |> sample(sl, n=2) |> judge(harmless, by=[base, sl]))",
)


def run(ctx: Context) -> Mapping[str, Any]:
    """Result: a figure (`evals.figures`); a label of one half, or without an answer, has no side.

    Its `beside` has kappa or alpha, its interval, and the number of pairs on which two judges or more have a side.

    Raises:
      UserError: one judge made the labels.
    """
    import numpy as np

    from cai_jax.evals.agreement import KAPPA, differing, tallies
    from cai_jax.pipeline.judges_agreement import agreement_of, sides_of

    every = ctx.inputs["labels"].rows()
    rows = [row for row in every if "judges" in row]
    if not rows or len({len(row["judges"]) for row in rows}) > 1:
        raise UserError("these labels are not of one group of several judges", "label the pairs by several:  by=[a, b]")
    sides, same = sides_of(rows), np.full(len(rows), np.nan)
    known = ~np.isnan(sides).any(1)
    same[known] = 1.0 - differing(tallies(sides[known]))
    found, beside = agreement_of(rows), {}
    if found.value is not None and found.low is not None and found.high is not None:
        name = "kappa" if found.measure == KAPPA else "alpha"
        beside = {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high, f"{name}_pairs": found.n}
    left_out = {"not by several judges": len(every) - len(rows)} if len(rows) < len(every) else {}
    return measured(ctx, [row_of(*each) for each in zip(rows, same, strict=True)], left_out=left_out, beside=beside)
