"""`calibration_error`: how far the probabilities of labels are from how often they are right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cai_jax.lang.types import Kind, Param, Signature, Type
from cai_jax.stages.parts.labels import LABELS, decided, judged_labels
from cai_jax.stages.parts.metrics import agreement, free

SIGNATURE = Signature(
    name="calibration_error",
    about="Expected calibration error of labels against the oracle (METHOD.md §3): equal-width bins of the "
    "confidence, weighted by their size.",
    params=(
        LABELS,
        Param("bins", "How many bins of confidence between one half and one.", value="int", default=10, low=1),
    ),
    result=lambda call: Type(Kind.METRIC),
    check=judged_labels,
    group="metric",
    example="calibration_error(labels)",
)  # fmt: skip
cost = free


def run(ctx) -> Mapping[str, Any]:
    """Result: value, low, high (bootstrap over prompts), n, and curve: (confidence, accuracy, pairs) per bin.

    It commits no rows: the error is no mean over prompts.
    """
    import numpy as np

    from cai_jax.evals.calibration import expected_error, interval

    pairs = decided(ctx.inputs["labels"].rows())
    p = np.array([row["soft"] for row, _ in pairs])
    right = np.array([agreement(row["soft"] - 0.5, truth - 0.5) for row, truth in pairs])
    confidence = np.maximum(p, 1 - p)
    ids = np.array([row["id"] for row, _ in pairs])
    bins = ctx.params["bins"]
    value, curve = expected_error(confidence, right, bins)
    low, high = interval(ids, confidence, right, bins)
    return {"value": value, "low": low, "high": high, "n": len(set(ids)), "curve": curve}
