"""`best`: of several replies to a prompt, the one that a preference model scores highest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from cai_jax.lang.types import Call, Cost, Kind, Node, Param, Problem, Signature, Type
from cai_jax.stages.parts import cost as costs


def _check(call: Call) -> Iterable[Problem]:
    if call.types["replies"].replies == 1:
        yield Problem(
            "E210",
            "replies",
            "`best` chooses among replies, but each prompt has only one",
            label="needs at least 2 replies per prompt",
            hint="write  sample(..., n=8)",
        )


SIGNATURE = Signature(
    name="best",
    about="Best-of-n: keeps the reply to each prompt that the preference model scores highest.",
    params=(
        Param("replies", "What to choose from.", kinds=(Kind.RESPONSES,)),
        Param("by", "Who scores.", kinds=(Kind.REWARD_MODEL,)),
    ),
    result=lambda call: replace(call.types["replies"], replies=1),
    check=_check,
    example="red.train |> sample(sl, n=8) |> best(rm)",
)


def cost(node: Node, inputs: Mapping[str, Type]) -> Cost:
    rows = costs.rows_of(node, inputs["replies"])
    return costs.forward(inputs["by"], rows * 2 * costs.PROMPT_TOKENS)


def run(ctx) -> Mapping[str, Any]:
    """Chooses; result: rows."""
    from cai_jax.stages.parts.rewarding import Scorer

    rows = ctx.inputs["replies"].rows()
    scores = Scorer(ctx.inputs["by"]).scores([(row["turns"], row["reply"]) for row in rows])
    chosen: dict[str, dict] = {}
    for row, score in zip(rows, scores, strict=True):
        if row["id"] not in chosen or score > chosen[row["id"]]["score"]:
            chosen[row["id"]] = {**row, "score": float(score)}
    out = list(chosen.values())
    ctx.commit(out[len(ctx.committed()) :])
    return {"rows": len(out)}
