"""`prompts`: conversations that wait for a reply, from the built-in world or a dataset."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial

from cai_jax.data.row_columns import Row
from cai_jax.lang.signature import Call, Kind, Param, Problem, Signature, Type
from cai_jax.pipeline.context import Context
from cai_jax.stages.declare import OWN_DATA
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

BUILTIN = {"train": 768, "test": 400}  # rows of every built-in set


def _builtin() -> tuple[str, ...]:
    from cai_jax.world.prompts import PROMPT_SETS

    return PROMPT_SETS


def _result(call: Call) -> Type:
    splits, oracle = splits_of(call), call.values["path"].startswith("builtin:")
    rows = split_rows(call, BUILTIN, splits)
    known = partial(_known, call)
    return Type(Kind.PROMPTS, splits=splits, lineage=lineage(call), oracle=oracle, rows=rows, known=known)


def _known(call: Call) -> list[Row] | None:
    from cai_jax.data.conversations import read_prompts
    from cai_jax.world.prompts import prompts

    return known_rows(call, read_prompts, prompts, column=call.values["column"])


def _check(call: Call) -> Iterable[Problem]:
    from cai_jax.data.conversations import PROMPT_COLUMNS, prompts_of

    yield from missing(call, _builtin())
    usual = [{name} for name in PROMPT_COLUMNS]
    yield from unreadable(call, ("column",), usual, lambda reading: prompts_of(reading, call.values["column"]))


SIGNATURE = Signature(
    name="prompts",
    about="Prompts: conversations that end with a human turn.",
    params=(
        Param("path", f"Built-in prompts, {PATH_ABOUT}.", value="path"),
        Param("column", "The column that holds the prompt; found automatically where it has a usual name.",
              value="str", default="", needs=OWN_DATA),
        *READING,
    ),
    result=_result,
    check=_check,
    version=3,
    group="source",
    source="path",
    limit="limit",
    example='prompts("builtin:red_team")',
)  # fmt: skip


def run(ctx: Context) -> Mapping[str, int]:
    """Read every row; result: rows."""
    from cai_jax.data.conversations import read_prompts
    from cai_jax.world.prompts import prompts

    return read_rows(ctx, read_prompts, prompts, column=ctx.params["column"])
