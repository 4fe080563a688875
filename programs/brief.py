"""A metric of one's own, used by brief.cai beside this file: which replies are brief. It counts their words."""

import cai_jax
from cai_jax.stages.metrics.common import measured, replies_of, row_of


@cai_jax.stage(
    result="Metric",
    params={
        "of": {
            "about": "What is measured: replies, or a model or flow that replies to the prompts.",
            "kinds": ["Responses"],
            "lift_on": "on",
        },
        "on": {
            "about": "The prompts to reply to, where a model or flow is measured.",
            "kinds": ["Prompts"],
            "default": None,
        },
        "words": {"about": "Most words of a reply that is brief.", "value": "int", "default": 25, "low": 1},
    },
)
def brief_rate(ctx):
    """Share of replies that are brief."""
    most = ctx.params["words"]
    return measured(ctx, [row_of(row, len(row["reply"].split()) <= most) for row in replies_of(ctx)])
