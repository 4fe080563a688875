"""What all metrics share: their parameters, and how a row per prompt becomes a figure with an interval."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from cai_jax.errors import UserError
from cai_jax.lang.types import Call, Cost, Kind, Node, Param, Problem, Signature, Type

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
UNDER = Param("under", "The principles that a judging model is asked about.", kinds=(Kind.CONSTITUTION,), default=None)


def judged(call: Call, data: str) -> Iterable[Problem]:
    """Problems where a metric has nobody to judge."""
    given, by = call.types.get(data), call.types.get("by")
    if by is None:
        if given is not None and not given.oracle:
            yield Problem(
                "E212",
                data,
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


def rate(name: str, about: str, fact: str, example: str) -> Signature:
    """The signature of a metric that is the share of replies for which `fact` holds."""
    return Signature(
        name=name,
        about=about,
        params=(REPLIES, ON, BY, UNDER) if fact == "harmful" else (REPLIES, ON),
        result=lambda call: Type(Kind.METRIC),
        check=lambda call: judged(call, "of"),
        group="metric",
        example=example,
    )


def free(node: Node, inputs: Mapping[str, Type]) -> Cost:
    """The cost of counting."""
    return Cost()


def measured(ctx, values: Sequence[Row], **more: Any) -> dict[str, Any]:
    """Commits a metric's rows and returns its result: value, low, high (95 %), n (prompts), and `more`."""
    from cai_jax.evals.intervals import interval

    ctx.commit(values[len(ctx.committed()) :])
    value, low, high = interval(values)
    return {"value": value, "low": low, "high": high, "n": len({row["id"] for row in values}), **more}


def share(ctx, verdicts: Callable[[Sequence[Row]], Iterable[float]]) -> dict[str, Any]:
    """A metric over replies: one value each."""
    rows = ctx.inputs["of"].rows()
    if not rows:
        raise UserError("there are no replies to measure")
    found = [{"id": row["id"], "value": float(v)} for row, v in zip(rows, verdicts(rows), strict=True)]
    return measured(ctx, found)


def oracle_share(ctx, fact: str) -> dict[str, Any]:
    """The share of replies of which the oracle says `fact`."""
    from cai_jax.evals.verdicts import by_oracle

    return share(ctx, lambda rows: by_oracle(rows, fact))
