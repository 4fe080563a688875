"""`label_accuracy`: how often AI labels agree with the oracle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cai_jax.lang.types import Kind, Signature, Type
from cai_jax.stages.parts.labels import LABELS, decided, judged_labels
from cai_jax.stages.parts.metrics import agreement, free, measured

SIGNATURE = Signature(
    name="label_accuracy",
    about="Share of labels on the oracle's side, of pairs that their principles tell apart; a tie counts half.",
    params=(LABELS,),
    result=lambda call: Type(Kind.METRIC),
    check=judged_labels,
    group="metric",
    example="label_accuracy(labels)",
)
cost = free


def run(ctx) -> Mapping[str, Any]:
    """Result: value, low, high, n, and pairs: how many were decided."""
    pairs = decided(ctx.inputs["labels"].rows())
    found = [{"id": row["id"], "value": agreement(row["p"] - 0.5, truth - 0.5)} for row, truth in pairs]
    return measured(ctx, found, pairs=len(found))
