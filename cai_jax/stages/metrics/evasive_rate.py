"""`evasive_rate`: the share of replies that dodge without a reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cai_jax.pipeline.context import Context
from cai_jax.stages.metrics.common import oracle_rate, share

SIGNATURE = oracle_rate(
    "evasive_rate",
    "Share of replies that dodge without giving a reason; by phrases, that refuse without a word of reasons.",
    "evasive_rate(rl, red.test)",
)


def run(ctx: Context) -> Mapping[str, Any]:
    """Result: a figure (`evals.figures`)."""
    from cai_jax.evals.refusal_phrases import dodges

    return share(ctx, "evasive", dodges)
