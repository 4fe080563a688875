"""What all metrics share: their parameters, and how a row per prompt becomes a figure with an interval."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from cai_jax.errors import UserError
from cai_jax.lang.types import Call, Cost, Kind, Param, Problem, Signature, Type

if TYPE_CHECKING:
    import numpy as np

    from cai_jax.stages.parts.screening import Screener

Row = dict[str, Any]

REPLIES = Param(
    "of",
    "What is measured: replies, or a model or flow that replies to the prompts.",
    kinds=(Kind.RESPONSES,),
    lift="sample",
    lift_on="on",
)
ON = Param("on", "The prompts to reply to, where a model or flow is measured.", kinds=(Kind.PROMPTS,), default=None)
BY = Param(
    "by",
    "Who judges: a model asked under a constitution, or a preference model; without it, the built-in world's oracle.",
    kinds=(Kind.MODEL, Kind.REWARD_MODEL),
    default=None,
)
UNDER = Param(
    "under",
    "The principles that a judging model is asked about, each of which counts: for harm, those about harm.",
    kinds=(Kind.CONSTITUTION,),
    default=None,
)


def judged(call: Call) -> Iterable[Problem]:
    """Problems where a metric has nobody to judge."""
    by = call.types.get("by")
    if by is None:
        if not call.types["of"].oracle:
            yield Problem(
                "E212",
                "of",
                "nobody can judge these replies: the oracle knows the built-in prompts only",
                label="not built-in prompts",
                hint="say by=: a model together with under=: a constitution, or a preference model",
            )
    elif by.kind is Kind.MODEL and call.types.get("under") is None:
        yield Problem(
            "E212",
            "by",
            "a model judges under principles, and none are given",
            label="judges under what?",
            hint="say under=: a constitution",
        )


def _oracles(call: Call) -> Iterable[Problem]:
    """A problem where a metric that only the oracle can tell is asked about other prompts."""
    if not call.types["of"].oracle:
        yield Problem(
            "E212",
            "of",
            "only the oracle can tell this of a reply, and it knows the built-in prompts only",
            label="not built-in prompts",
            hint="measure harm_rate(…, by=, under=) with principles that say what is meant",
        )


def oracle_rate(name: str, about: str, example: str) -> Signature:
    """The signature of a metric that is the share of replies of which the oracle says something."""
    return Signature(
        name=name,
        about=about,
        params=(REPLIES, ON),
        result=lambda call: Type(Kind.METRIC),
        check=_oracles,
        group="metric",
        example=example,
    )


def free(ctx) -> Cost:
    """The cost of counting."""
    return Cost()


def judged_cost(ctx) -> Cost:
    """The cost of a metric that a model judges under a constitution, or a preference model."""
    from cai_jax.stages.parts import planned

    by = ctx.inputs.get("by")
    if by is None:
        return Cost()
    if by.type.kind is Kind.REWARD_MODEL:
        return planned.scoring(ctx, "by", _replies(ctx))
    return sum((planned.auditing(ctx, model, "under", _replies(ctx)) for model in ctx.decoders("by")), Cost())


def _replies(ctx) -> int:
    """How many replies are judged."""
    from cai_jax.stages.parts.counts import rows_of

    return sum(rows_of(ctx.inputs[side].type) for side in ("of", "against") if side in ctx.inputs)


def measured(ctx, values: Sequence[Row], **more: Any) -> dict[str, Any]:
    """Commits a metric's rows and returns its result: value, low, high (95 %), n (prompts), and `more`."""
    from cai_jax.evals.intervals import interval

    ctx.commit(values[len(ctx.committed()) :])
    value, low, high = interval(values)
    return {"value": value, "low": low, "high": high, "n": len({row["id"] for row in values}), **more}


def share(ctx, verdicts: Callable[[Sequence[Row]], Iterable[float]]) -> dict[str, Any]:
    """A metric over replies: one value each, NaN for those that are not counted."""
    rows = ctx.inputs["of"].rows()
    if not rows:
        raise UserError("there are no replies to measure")
    found = [{"id": row["id"], "value": float(v)} for row, v in zip(rows, verdicts(rows), strict=True) if v == v]
    return measured(ctx, found)


def oracle_share(ctx, fact: str) -> dict[str, Any]:
    """The share of replies of which the oracle says `fact`."""
    from cai_jax.evals.verdicts import by_oracle

    return share(ctx, lambda rows: by_oracle(rows, fact))


def audit_prompts(ctx, n: int) -> list:
    """The questions that a judging model is asked about the first n replies; none where no model judges."""
    if ctx.inputs.get("by") is None or ctx.inputs["by"].type.kind is not Kind.MODEL:
        return []
    screener = _screener(ctx, None)
    return [prompt for row in ctx.inputs["of"].rows()[:n] for prompt in screener.asked(row)]


def judging(ctx) -> list:
    """The steps of a metric that a model judges under a constitution, or a preference model."""
    from cai_jax.stages.parts import described

    by = ctx.inputs.get("by")
    if by is None:
        return []
    if by.type.kind is Kind.REWARD_MODEL:
        return described.scoring(ctx, "by", _replies(ctx))
    return described.auditing(ctx, ctx.model("by"), "under", _replies(ctx))


def _screener(ctx, model) -> Screener:
    from cai_jax.stages.parts.models import format_of
    from cai_jax.stages.parts.principles import principles
    from cai_jax.stages.parts.screening import Screener

    requests = [(p.name, p.critique) for p in principles(ctx.inputs["under"], "audit")]
    return Screener(model, format_of(ctx.inputs["by"]), requests, 0.0)


def by_audit(ctx, rows: Sequence[Row]) -> np.ndarray:
    """Largest probability that a reply breaks a principle of `under`, as the model `by` says; float64 [N].

    NaN where a reply leaves no room for the question; a model that does not answer is named in a note.
    """
    import numpy as np

    from cai_jax.stages.parts.auditing import NO_MASS, undecided
    from cai_jax.stages.parts.models import model_of
    from cai_jax.stages.parts.writing import BATCH

    screener = _screener(ctx, model_of(ctx, ctx.inputs["by"]))
    screener.fitting(ctx, rows, "truncate_left")
    worst, lost = np.empty(len(rows)), 0
    for start in range(0, len(rows), BATCH):
        p, mass = screener.breaks(rows[start : start + BATCH])
        worst[start : start + BATCH] = p.max(axis=1)
        lost += (mass < NO_MASS).sum()
        ctx.progress(min(start + BATCH, len(rows)), len(rows))
    for code, message in undecided(float(lost / (len(rows) * len(screener.requests))), "judgements"):
        ctx.note(code, message)
    return worst


def by_score(ctx, rows: Sequence[Row], artefact) -> np.ndarray:
    """Scores of replies by a preference model, float64 [N]; 0 is the mean of its reference replies."""
    from cai_jax.stages.parts.rewarding import Scorer

    return Scorer(ctx, artefact).scores([(row["turns"], row["reply"]) for row in rows])


def agreement(margin: float, truth: float) -> float:
    """1 where two margins have one sign, 0 where they do not; 0.5 where `margin` is 0, a tie."""
    return 0.5 if margin == 0 else float((margin > 0) == (truth > 0))
