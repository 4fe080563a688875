"""`reward_accuracy`: how often a preference model agrees with labels that it was not trained on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cai_jax.errors import UserError
from cai_jax.lang.types import Kind, Param, Signature, Type
from cai_jax.stages.parts.metrics import free, measured

SIGNATURE = Signature(
    name="reward_accuracy",
    about="Share of decided pairs that a preference model orders as their labels do.",
    params=(
        Param("of", "The preference model.", kinds=(Kind.REWARD_MODEL,)),
        Param("on", "Labelled pairs that it was not trained on.", kinds=(Kind.PREFS,)),
        Param("margin", "Pairs count from this distance of their label from one half on.", value="float",
              default=0.1, low=0, high=0.5),
    ),
    result=lambda call: Type(Kind.METRIC),
    group="metric",
    example="reward_accuracy(rm, human.test)",
)  # fmt: skip
cost = free


def run(ctx) -> Mapping[str, Any]:
    """Result: value, low, high, n, and beside them pairs, length_correlation, longest (the baseline's accuracy)."""
    import numpy as np

    from cai_jax.evals.verdicts import by_score

    rows = [row for row in ctx.inputs["on"].rows() if abs(row["p"] - 0.5) >= max(ctx.params["margin"], 1e-9)]
    if not rows:
        raise UserError("no label is far enough from one half to be checked", "lower margin=")
    first = by_score([{**row, "reply": row["a"]} for row in rows], ctx.inputs["of"])
    second = by_score([{**row, "reply": row["b"]} for row in rows], ctx.inputs["of"])
    better = np.array([row["p"] > 0.5 for row in rows])
    longer = np.array([len(row["a"]) - len(row["b"]) for row in rows])
    found = [
        {"id": row["id"], "value": float(right)} for row, right in zip(rows, (first > second) == better, strict=True)
    ]
    lengths = np.array([len(row[side]) for side in ("a", "b") for row in rows], float)
    scores = np.concatenate([first, second])
    correlation = float(np.corrcoef(lengths, scores)[0, 1]) if lengths.std() and scores.std() else 0.0
    longest = float(np.mean((longer > 0) == better))
    result = measured(ctx, found, pairs=len(rows), length_correlation=correlation, longest=longest)
    if result["low"] <= 0.5:
        ctx.note("chance", "on these pairs the preference model cannot be told from a coin")
    return result
