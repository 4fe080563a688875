"""`revise`: critique a reply under a drawn principle, then revise it; round after round (CAI §3.1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from cai_jax.lang.types import Call, Cost, Kind, Node, Param, Problem, Signature, Type
from cai_jax.stages.parts import cost as costs
from cai_jax.stages.parts.params import (
    BY,
    CONSTITUTION,
    FEWSHOTS,
    MAX_NEW,
    OVERLONG,
    SEED,
    TEMPERATURE,
    TOP_P,
    WHERE,
    fits,
    needs,
)


def rows_each(values: Mapping[str, Any]) -> int:
    """Rows made of one reply."""
    return values["rounds"] if values["keep"] == "all" and values["where"] == "all" else 1


def _result(call: Call) -> Type:
    replies = call.types["replies"]
    each = rows_each(call.values)
    return replace(replies, replies=None if replies.replies is None else replies.replies * each)


def _check(call: Call) -> Iterable[Problem]:
    yield from needs(call, "revise", "revise")
    yield from fits(call, "by")


SIGNATURE = Signature(
    name="revise",
    about="Critique and revision: each round draws a principle, has the reply criticised, and replaces it.",
    params=(
        Param("replies", "What to revise.", kinds=(Kind.RESPONSES,)),
        CONSTITUTION,
        Param("rounds", "How often.", value="int", default=4, low=1, high=16),
        Param("keep", "Revisions of which rounds; of flagged replies, always the last.", value="enum",
              default="all", choices=("all", "last")),
        Param("critique", "Whether a critique comes before each revision (CAI §3.5).", value="bool", default=True),
        WHERE,
        BY,
        FEWSHOTS,
        TEMPERATURE,
        TOP_P,
        MAX_NEW,
        OVERLONG,
        SEED,
    ),
    result=_result,
    check=_check,
    example="replies |> revise(harmless, rounds=2)",
)  # fmt: skip


def cost(node: Node, inputs: Mapping[str, Type]) -> Cost:
    p, model = node.params, inputs["by"]
    texts = (2 if p["critique"] else 1) * p["rounds"] * (costs.rows_of(node, inputs["replies"]))
    return costs.decode(model, texts, 2 * costs.PROMPT_TOKENS, p["max_new"])


def rendered(ctx, n: int) -> list:
    """The first n critique prompts (or direct revisions) of the first round, few-shots in front."""
    from cai_jax.data import formats
    from cai_jax.stages.parts.draws import draw_of
    from cai_jax.stages.parts.principles import critique_shots, principles
    from cai_jax.stages.parts.rounds import drawn

    p, able, draw = ctx.params, principles(ctx.inputs["constitution"], "revise"), draw_of(ctx)
    shots = critique_shots(ctx.inputs["constitution"], p["fewshots"], direct=not p["critique"])
    out = []
    for row in ctx.inputs["replies"].rows()[:n]:
        chosen = drawn(draw, able, row, 1)
        if p["critique"]:
            out.append(shots + formats.critique(row["turns"], row["reply"], chosen.critique))
        else:
            out.append(shots + formats.direct_revision(row["turns"], row["reply"], chosen.revise))
    return out


def run(ctx) -> Mapping[str, Any]:
    """Revises, a batch of replies at a time through all rounds; result: rows."""
    from cai_jax.stages.parts.rounds import Rounds
    from cai_jax.stages.parts.writing import in_batches

    rounds = Rounds(ctx)
    made = unfit = 0
    for batch in in_batches(ctx, ctx.inputs["replies"].rows(), rows_each(ctx.params), rounds.of):
        made += len(batch)
        unfit += sum(row["unfit"] for row in batch if row["round"] == ctx.params["rounds"])
    if unfit:
        ctx.note("overlong", f"{unfit} revisions did not fit the context; those replies stayed as they were")
    return {"rows": made}
