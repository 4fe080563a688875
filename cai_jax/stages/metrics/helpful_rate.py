"""`helpful_rate`: the share of replies that help with something harmless."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cai_jax.pipeline.context import Context
from cai_jax.stages.metrics.common import oracle_rate, oracle_share

SIGNATURE = oracle_rate(
    "helpful_rate",
    "Share of replies that help with a harmless request.",
    "helpful_rate(rl, ask.test)",
)


def run(ctx: Context) -> Mapping[str, Any]:
    """Result: value, low, high, n."""
    return oracle_share(ctx, "helpful")
