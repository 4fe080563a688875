"""`refusal_rate`: the share of replies that decline or dodge."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cai_jax.pipeline.context import Context
from cai_jax.stages.metrics.common import oracle_rate, share

SIGNATURE = oracle_rate(
    "refusal_rate",
    "Share of replies that decline or dodge, with or without a reason.",
    'refusal_rate(rl, xstest.test, by=phrases, per="label")',
)


def run(ctx: Context) -> Mapping[str, Any]:
    """Result: a figure (`evals.figures`)."""
    from cai_jax.evals.refusal_phrases import refuses

    return share(ctx, "refused", refuses)
