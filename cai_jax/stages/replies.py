"""`replies`: conversations of one's own whose last turn is a reply, to train on, revise, judge or measure."""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path

from cai_jax.data.file_stamps import stamps
from cai_jax.errors import UserError
from cai_jax.lang.signature import Call, Kind, Param, Problem, Signature, Type
from cai_jax.pipeline.context import Context
from cai_jax.stages.source_data import (
    PATH_ABOUT,
    READING,
    lineage,
    missing,
    on_disk,
    options_of,
    read_rows,
    split_rows,
    splits_of,
    unreadable,
)

MOST = 2**20  # bytes of replies that a check reads as a whole


def _result(call: Call) -> Type:
    splits = splits_of(call)
    return Type(Kind.RESPONSES, splits=splits, lineage=lineage(call), rows=split_rows(call, {}, splits))


def _check(call: Call) -> Iterable[Problem]:
    from cai_jax.data.conversations import replies_of

    yield from missing(call, ())
    columns = {name: call.values[name] for name in ("column", "reply")}
    yield from unreadable(call, ("column", "reply"), [set()], lambda reading: replies_of(reading, **columns))


def _asked(call: Call) -> Mapping[str, Counter[str]] | None:
    path = call.resolve(call.values["path"])
    if path.startswith("tfds:"):
        return None
    try:
        files = stamps(Path(on_disk(path)))
    except UserError:
        return None
    if sum(size for _, (_, _, size, *_) in files) > MOST:
        return None
    return _prompts(path, files, json.dumps(call.values))


@functools.lru_cache(maxsize=8)
def _prompts(path: str, files: tuple, values: str) -> Mapping[str, Counter[str]] | None:
    """Of each split of the replies in these files, how many there are to each prompt."""
    from cai_jax.data.conversations import read_replies

    p = json.loads(values)
    found: dict[str, Counter[str]] = {}
    try:
        rows = read_replies(on_disk(path), column=p["column"], reply=p["reply"], **asdict(options_of(p)))
    except UserError:
        return None
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
