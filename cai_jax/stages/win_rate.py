"""`win_rate`: how often one model's replies are better than another's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from cai_jax.errors import UserError
from cai_jax.lang.types import Kind, Signature, Type
from cai_jax.stages.parts.metrics import (
    BY,
    ON,
    REPLIES,
    UNDER,
    agreement,
    audit_prompts,
    by_audit,
    by_score,
    judged,
    judged_cost,
    judging,
    measured,
)

SIGNATURE = Signature(
    name="win_rate",
    about="Share of prompts on which the first's reply is better than the second's; a tie counts half.",
    params=(REPLIES, replace(REPLIES, name="against", about="What it is compared with."), ON, BY, UNDER),
    result=lambda call: Type(Kind.METRIC),
    check=judged,
    group="metric",
    example="win_rate(rl, sl, on=red.test, by=rm)",
)
cost, rendered, steps = judged_cost, audit_prompts, judging


def run(ctx) -> Mapping[str, Any]:
    """Result: value, low, high, n."""
    from cai_jax.evals import verdicts

    by = ctx.inputs.get("by")

    def quality(rows):
        if by is None:
            return [verdicts.quality(row) for row in rows]
        if by.type.kind is Kind.REWARD_MODEL:
            return by_score(ctx, rows, by)
        return -by_audit(ctx, rows)

    ours, theirs = ctx.inputs["of"].rows(), ctx.inputs["against"].rows()
    same = [row["id"] for row in ours] == [row["id"] for row in theirs]
    if not same:
        raise UserError("the two sides reply to different prompts", "measure both on the same prompts")
    found = [
        {"id": row["id"], "value": agreement(a - b, 1)}
        for row, a, b in zip(ours, quality(ours), quality(theirs), strict=True)
        if a == a and b == b  # not a number: a reply that left no room for the judge's question
    ]
    return measured(ctx, found)
