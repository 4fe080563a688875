"""`helpful_rate`: the share of replies that help with something harmless."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cai_jax.pipeline.context import Context
from cai_jax.stages.metrics.common import oracle_rate, share

SIGNATURE = oracle_rate(
    "helpful_rate",
    "Share of replies that help with a harmless request; by phrases, of those that say something and do not refuse.",
    "helpful_rate(rl, ask.test)",
)


def run(ctx: Context) -> Mapping[str, Any]:
    """Result: a figure (`evals.figures`)."""
    from cai_jax.evals.refusal_phrases import complies

    return share(ctx, "helpful", complies)
