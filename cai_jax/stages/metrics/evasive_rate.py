"""`evasive_rate`: the share of replies that dodge without a reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cai_jax.pipeline.context import Context
from cai_jax.stages.metrics.common import oracle_rate, oracle_share

SIGNATURE = oracle_rate(
    "evasive_rate", "Share of replies that dodge without giving a reason.", "evasive_rate(rl, red.test)"
)


def run(ctx: Context) -> Mapping[str, Any]:
    """Result: value, low, high, n."""
    return oracle_share(ctx, "evasive")
