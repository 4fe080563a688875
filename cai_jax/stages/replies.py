"""`replies`: conversations of one's own whose last turn is a reply, to train on, revise, judge or measure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import partial

from cai_jax.data.row_columns import Row
from cai_jax.lang.signature import Call, Kind, Param, Problem, Signature, Type
from cai_jax.pipeline.context import Context
from cai_jax.stages.known_rows import known_rows
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
    return Type(Kind.RESPONSES, splits=splits, lineage=lineage(call), rows=split_rows(call, {}, splits),
                known=partial(_known, call))  # fmt: skip


def _check(call: Call) -> Iterable[Problem]:
    from cai_jax.data.conversations import replies_of

    yield from missing(call, ())
    columns = {name: call.values[name] for name in ("column", "reply")}
    yield from unreadable(call, ("column", "reply"), [set()], lambda reading: replies_of(reading, **columns))


def _known(call: Call) -> list[Row] | None:
    from cai_jax.data.conversations import read_replies

    return known_rows(call, read_replies, column=call.values["column"], reply=call.values["reply"])


def _asked(call: Call) -> Mapping[str, Counter[str]] | None:
    rows = _known(call)
    if rows is None:
        return None
    found: dict[str, Counter[str]] = {}
    for row in rows:
        found.setdefault(row["split"], Counter())[row["id"]] += 1
    return found


SIGNATURE = Signature(
    name="replies",
    about="Conversations of your own that end with a reply; several of one prompt are samples of it.",
    params=(
        Param("path", f"{PATH_ABOUT[0].upper()}{PATH_ABOUT[1:]}.", value="path"),
        Param("column", "The column of conversations, whose last turn is the reply; or, with a column of replies, of "
              "prompts. Found automatically where it has a usual name.", value="str", default=""),
        Param("reply", "The column of replies; found automatically where it has a usual name, such as `response`.",
              value="str", default=""),
        *READING,
    ),
    result=_result,
    check=_check,
    version=2,
    group="source",
    source="path",
    limit="limit",
    asked=_asked,
    example='replies("sft.jsonl") |> finetune(base)',
)  # fmt: skip


def run(ctx: Context) -> Mapping[str, int]:
    """Read every reply; result: rows."""
    from cai_jax.data.conversations import read_replies

    return read_rows(ctx, read_replies, column=ctx.params["column"], reply=ctx.params["reply"])
