"""`best`: of several replies to a prompt, the one that a preference model scores highest."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cai_jax.data.row_columns import Row
from cai_jax.errors import UserError
from cai_jax.lang.signature import Call, Kind, Param, Problem, Signature
from cai_jax.pipeline.context import Context
from cai_jax.pipeline.row_counts import expected_rows
from cai_jax.prompting.render import Segment
from cai_jax.stages.protocol import StepContext

if TYPE_CHECKING:
    from cai_jax.pipeline.reward_scoring import Candidates


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
        Param("replies", "Replies to choose from.", kinds=(Kind.RESPONSES,)),
        Param("by", "The preference model that scores.", kinds=(Kind.REWARD_MODEL,)),
    ),
    result=lambda call: replace(call.types["replies"], replies=1),
    check=_check,
    settings=("mesh",),
    version=4,
    example="red.train |> sample(sl, n=8) |> best(rm)",
)


def steps(ctx: StepContext) -> list:
    """Scoring the replies."""
    return ctx.scoring("by", expected_rows(ctx.inputs["replies"].type))


def rendered(ctx: Context, n: int) -> list[list[Segment]]:
    """The first n replies after their prompts, as each preference model reads them."""
    from cai_jax.pipeline.model_store import format_of
    from cai_jax.pipeline.reward_scoring import parts, scored_segments

    formats = [format_of(part) for _, part in parts(ctx.inputs["by"])]
    rows = ctx.inputs["replies"].rows()[:n]
    return [scored_segments(form, row["turns"], row["reply"]) for row in rows for form in dict.fromkeys(formats)]


def run(ctx: Context) -> Mapping[str, Any]:
    """Choose, a batch of prompts at a time; result: rows."""
    from cai_jax.pipeline.generation import in_batches
    from cai_jax.pipeline.reward_scoring import Scorer
    from cai_jax.pipeline.screening import passed_on

    scorer = Scorer(ctx, ctx.inputs["by"])
    rows = ctx.inputs["replies"].rows()
    by_prompt: dict[str, list[Row]] = {}
    for row in rows:
        by_prompt.setdefault(row["id"], []).append(row)

    def candidates(batch: Iterable[list[Row]]) -> list[Candidates]:
        return [(replies[0]["turns"], *(row["reply"] for row in replies)) for replies in batch]

    scorer.note_cut(ctx, candidates(by_prompt.values()))

    def make(batch: Sequence[list[Row]]) -> list[Row]:
        found = scorer.scores(candidates(batch))
        if not all(map(math.isfinite, found)):
            raise UserError(
                "the preference model's scores are not finite",
                "its training diverged: lower learning_rate= and train it again",
            )
        scores = iter(found)
        scored: list[list[Row]] = [[{**row, "score": float(next(scores))} for row in replies] for replies in batch]
        return [max(replies, key=lambda row: row["score"]) for replies in scored]

    made = sum(len(batch) for batch in in_batches(ctx, list(by_prompt.values()), 1, make))
    return {"rows": made, **passed_on(ctx.inputs["replies"])}
