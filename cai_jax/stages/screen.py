"""`screen`: does a reply break a principle? Asked of every principle, without writing a word."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from cai_jax.lang.types import Call, Cost, Kind, Param, Problem, Signature
from cai_jax.stages.parts.counts import rows_of
from cai_jax.stages.parts.params import BY, CONSTITUTION, OVERLONG, needs


def _check(call: Call) -> Iterable[Problem]:
    return needs(call, "audit", "screen")


SIGNATURE = Signature(
    name="screen",
    about="Flags replies that break a principle, with the principle that they break the most.",
    params=(
        Param("replies", "What to look at.", kinds=(Kind.RESPONSES,)),
        CONSTITUTION,
        Param("limit", "Flagged from this probability of breaking a principle on.", value="float", default=0.5,
              low=0, high=1, unit="fraction"),
        BY,
        OVERLONG,
    ),
    result=lambda call: replace(call.types["replies"], screened=True),
    check=_check,
    version=2,
    example="replies |> screen(harmless, limit=50%)",
)  # fmt: skip


def cost(ctx) -> Cost:
    """Scoring the answers to every question."""
    from cai_jax.stages.parts.planned import auditing

    replies = rows_of(ctx.inputs["replies"].type)
    return sum((auditing(ctx, model, "constitution", replies) for model in ctx.decoders("by")), Cost())


def steps(ctx) -> list:
    """Scoring the answers to every question."""
    from cai_jax.stages.parts.described import auditing

    return auditing(ctx, ctx.model("by"), "constitution", rows_of(ctx.inputs["replies"].type))


def rendered(ctx, n: int) -> list:
    """The questions about the first n replies, one for each principle."""
    from cai_jax.stages.parts.models import format_of
    from cai_jax.stages.parts.screening import Screener

    screener = Screener(None, format_of(ctx.inputs["by"]), _requests(ctx), ctx.params["limit"])
    return [prompt for row in ctx.inputs["replies"].rows()[:n] for prompt in screener.asked(row)]


def run(ctx) -> Mapping[str, Any]:
    """Flags; result: rows, flagged (count), no_mass (share of questions without an answer), screening (by whom)."""
    from cai_jax.stages.parts.auditing import undecided
    from cai_jax.stages.parts.models import format_of, model_of
    from cai_jax.stages.parts.screening import Screener, told
    from cai_jax.stages.parts.writing import in_batches

    by, requests, limit = ctx.inputs["by"], _requests(ctx), ctx.params["limit"]
    screener = Screener(model_of(ctx, by), format_of(by), requests, limit)

    def make(batch: list[dict]) -> list[dict]:
        found = zip(batch, screener.flags(batch), strict=True)
        return [{**row, "flag": flag, "unanswered": count} for row, (flag, count) in found]

    rows = screener.fitting(ctx, ctx.inputs["replies"].rows(), ctx.params["overlong"])
    flagged = made = unanswered = 0
    for batch in in_batches(ctx, rows, 1, make):
        made += len(batch)
        flagged += sum(row["flag"] is not None for row in batch)
        unanswered += sum(row["unanswered"] for row in batch)
    no_mass = unanswered / max(1, made * len(requests))
    for code, message in undecided(no_mass, "judgements"):
        ctx.note(code, message)
    return {"rows": made, "flagged": flagged, "no_mass": no_mass, **told(by, requests, limit)}


def _requests(ctx) -> list[tuple[str, str]]:
    from cai_jax.stages.parts.principles import principles

    return [(p.name, p.critique) for p in principles(ctx.inputs["constitution"], "audit")]
