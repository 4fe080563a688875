"""`screen`: does a reply break a principle? Asked of every principle, without writing a word."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cai_jax.data.row_columns import Row
from cai_jax.lang.signature import Call, Kind, Param, Problem, Signature
from cai_jax.pipeline.context import Context
from cai_jax.pipeline.row_counts import expected_rows
from cai_jax.prompting.render import Segment
from cai_jax.stages.declare import BY, CONSTITUTION, FEWSHOTS, ORDERS, OVERLONG, fits, needs
from cai_jax.stages.protocol import StepContext

if TYPE_CHECKING:
    from cai_jax.models.checkpoint import Model
    from cai_jax.pipeline.screening import Screener


def _check(call: Call) -> Iterable[Problem]:
    yield from needs(call, "audit", "screen")
    yield from fits(call, "by", "audit")


SIGNATURE = Signature(
    name="screen",
    about="Flags replies that break a principle, with the principle that they break the most. Both orders of the "
    "answers are asked and averaged. An ending that talks to the judge is cut in a second reading; the worse counts. "
    "What an earlier screening flagged stays flagged.",
    params=(
        Param("replies", "Replies to check.", kinds=(Kind.RESPONSES,)),
        CONSTITUTION,
        Param("limit", "Least probability of breaking a principle that flags a reply.", value="float", default=0.5,
              low=0, high=1, unit="fraction"),
        Param("undecided", "Treatment of a reply that could not be judged, since the model did not answer or there "
              "was no room: flagged, or passed.", value="enum", default="flag", choices=("flag", "pass")),
        BY,
        FEWSHOTS,
        ORDERS,
        replace(OVERLONG, about="Treatment of a reply whose conversation does not fit the model's context: it could "
                "not be judged, an error, or the beginning of the conversation cut; either is counted."),
    ),
    result=lambda call: replace(call.types["replies"], screened=True),
    check=_check,
    version=6,
    settings=("mesh",),
    example="replies |> screen(harmless, limit=50%)",
)  # fmt: skip


def steps(ctx: StepContext) -> list:
    """Scoring the answers to every question."""
    replies = expected_rows(ctx.inputs["replies"].type)
    return [step for model in ctx.models("by") for step in ctx.auditing(model, "constitution", replies)]


def rendered(ctx: Context, n: int) -> list[list[Segment]]:
    """The questions about the first n replies, one for each principle."""
    screener = _screener(ctx, None)
    return [prompt for row in ctx.inputs["replies"].rows()[:n] for prompt in screener.asked(row)]


def run(ctx: Context) -> Mapping[str, Any]:
    """Flag replies; result: rows, flagged, could_not_judge (replies), no_mass (share of judgements), screenings.

    `screenings` says by whom and how. Flags of an earlier screening stay. `no_mass` alone is of this one.
    """
    from cai_jax.pipeline.generation import in_batches
    from cai_jax.pipeline.model_store import model_of
    from cai_jax.pipeline.principles import examples, note_one_answer
    from cai_jax.pipeline.questions import undecided
    from cai_jax.pipeline.screening import joined, told, unjudged

    by, rows = ctx.inputs["by"], ctx.inputs["replies"].rows()
    screener = _screener(ctx, model_of(ctx, by))
    screener.note_fit(ctx, rows)
    note_one_answer(ctx, examples(ctx.inputs["constitution"], "audit"))

    def make(batch: Sequence[Row]) -> list[Row]:
        return [{**row, **joined([row, found])} for row, found in zip(batch, screener.flags(batch), strict=True)]

    counts = {"rows": 0, "flagged": 0, "could_not_judge": 0}
    unanswered = -sum(row.get("unanswered", 0) for row in rows)
    for batch in in_batches(ctx, rows, 1, make):
        counts["rows"] += len(batch)
        counts["flagged"] += sum(row["flag"] is not None for row in batch)
        counts["could_not_judge"] += sum(unjudged(row) for row in batch)
        unanswered += sum(row["unanswered"] for row in batch)
    no_mass = unanswered / max(1, counts["rows"] * len(screener.requests))
    for code, message in undecided(no_mass, "judgements"):
        ctx.note(code, message)
    if counts["could_not_judge"] and unanswered:
        became = "are flagged for that" if screener.undecided == "flag" else "pass, as undecided=pass says"
        ctx.note(
            "unjudged", f"{counts['could_not_judge']} of {counts['rows']} replies could not be judged; they {became}"
        )
    return {**counts, "no_mass": no_mass, **told(ctx.inputs["replies"], by, screener)}


def _screener(ctx: Context, model: Model | None) -> Screener:
    from cai_jax.pipeline.screening import Screener

    how = {name: ctx.params[name] for name in ("limit", "undecided", "overlong")}
    return Screener.from_context(ctx, model, ctx.inputs["constitution"], **how)
