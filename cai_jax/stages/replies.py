"""`replies`: conversations of one's own whose last turn is a reply, to train on, revise, judge or measure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cai_jax.lang.signature import Call, Kind, Param, Problem, Signature, Type
from cai_jax.stages.source_data import (
    PATH_ABOUT,
    READING,
    lineage,
    missing,
    read_rows,
    split_rows,
    splits_of,
    unreadable,
)


def _result(call: Call) -> Type:
    splits = splits_of(call)
    return Type(Kind.RESPONSES, splits=splits, lineage=lineage(call), rows=split_rows(call, {}, splits))


def _check(call: Call) -> Iterable[Problem]:
    from cai_jax.data.conversations import replies_of

    yield from missing(call, ())
    columns = {name: call.values[name] for name in ("column", "reply")}
    yield from unreadable(call, ("column", "reply"), [set()], lambda reading: replies_of(reading, **columns))


SIGNATURE = Signature(
    name="replies",
    about="Conversations of your own that end with a reply; several of one prompt are samples of it.",
    params=(
        Param("path", f"{PATH_ABOUT[0].upper()}{PATH_ABOUT[1:]}.", value="path"),
        Param("column", "The column of conversations, whose last turn is the reply; or, beside a column of replies, of "
              "prompts. Found by itself where it has a usual name.", value="str", default=""),
        Param("reply", "The column of replies; found by itself where it has a usual name, such as `response`.",
              value="str", default=""),
        *READING,
    ),
    result=_result,
    check=_check,
    version=2,
    group="source",
    source="path",
    limit="limit",
    example='replies("sft.jsonl") |> finetune(base)',
)  # fmt: skip


def run(ctx) -> Mapping[str, int]:
    """Reads every reply; result: rows."""
    from cai_jax.data.conversations import read_replies

    return read_rows(ctx, read_replies, column=ctx.params["column"], reply=ctx.params["reply"])
