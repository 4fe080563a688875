"""`reward_accuracy`: how often a preference model agrees with labels that it was not trained on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cai_jax.errors import UserError
from cai_jax.lang.types import Cost, Kind, Param, Signature, Type
from cai_jax.stages.parts.counts import rows_of
from cai_jax.stages.parts.metrics import agreement, by_score, measured

BINS = 10  # of confidence, between one half and one

SIGNATURE = Signature(
    name="reward_accuracy",
    about="Share of decided pairs that a preference model orders as their labels do; a tie counts half.",
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


def cost(ctx) -> Cost:
    """Scoring both replies of every pair."""
    from cai_jax.stages.parts.planned import scoring

    return scoring(ctx, "of", 2 * rows_of(ctx.inputs["on"].type))


def steps(ctx) -> list:
    """Scoring both replies of every pair."""
    from cai_jax.stages.parts.described import scoring

    return scoring(ctx, "of", 2 * rows_of(ctx.inputs["on"].type))


def run(ctx) -> Mapping[str, Any]:
    """Result: value, low, high, n, and beside them what METHOD.md §3 wants reported.

    pairs; the accuracies of two baselines, constant_a (the first reply) and longest; length_correlation;
    calibration_error, and curve: (confidence, accuracy, pairs) per bin.
    """
    import numpy as np

    from cai_jax.evals.calibration import expected_error

    rows = [row for row in ctx.inputs["on"].rows() if abs(row["p"] - 0.5) >= max(ctx.params["margin"], 1e-9)]
    if not rows:
        raise UserError("no label is far enough from one half to be checked", "lower margin=")
    first = by_score(ctx, [{**row, "reply": row["a"]} for row in rows], ctx.inputs["of"])
    second = by_score(ctx, [{**row, "reply": row["b"]} for row in rows], ctx.inputs["of"])
    better = [row["p"] - 0.5 for row in rows]
    longer = np.array([len(row["a"]) - len(row["b"]) for row in rows])
    right = [agreement(*each) for each in zip(first - second, better, strict=True)]
    found = [{"id": row["id"], "value": value} for row, value in zip(rows, right, strict=True)]
    lengths = np.array([len(row[side]) for side in ("a", "b") for row in rows], float)
    scores = np.concatenate([first, second])
    correlation = float(np.corrcoef(lengths, scores)[0, 1]) if lengths.std() and scores.std() else 0.0
    longest = float(np.mean([agreement(*each) for each in zip(longer, better, strict=True)]))
    # What training calls P(first is better) is of raw scores: normalising divided these by the scale.
    margin = (first - second) * ctx.inputs["of"].result.get("scale", 1.0)
    error, curve = expected_error(1 / (1 + np.exp(-np.abs(margin))), np.array(right), BINS)
    more = {"constant_a": float(np.mean([label > 0 for label in better])), "longest": longest}
    more |= {"length_correlation": correlation, "calibration_error": error, "curve": curve}
    result = measured(ctx, found, pairs=len(rows), **more)
    if result["low"] <= 0.5:
        ctx.note("chance", "on these pairs the preference model cannot be told from a coin")
    return result
