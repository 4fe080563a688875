"""`prompts`: conversations that wait for a reply, from the built-in world or a dataset."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cai_jax.lang.types import Call, Cost, Kind, Param, Problem, Signature, Type
from cai_jax.stages.parts.sources import (
    COLUMN_TEST,
    LIMIT,
    SPLIT_COLUMN,
    columns_missing,
    lineage,
    missing,
    on_disk,
    rows_of,
    splits_of,
)

BUILTIN = {"train": 768, "test": 400}  # rows of every built-in set


def _builtin() -> tuple[str, ...]:
    from cai_jax.tiny.prompts import PROMPT_SETS

    return PROMPT_SETS


def _result(call: Call) -> Type:
    splits, oracle = splits_of(call), call.values["path"].startswith("builtin:")
    rows = rows_of(call, BUILTIN, splits)
    return Type(Kind.PROMPTS, splits=splits, lineage=lineage(call), oracle=oracle, rows=rows)


def _check(call: Call) -> Iterable[Problem]:
    from cai_jax.data.sources import PROMPT_COLUMNS

    yield from missing(call, _builtin())
    yield from columns_missing(call, ("column",), [{name} for name in PROMPT_COLUMNS])


SIGNATURE = Signature(
    name="prompts",
    about="Prompts: conversations that end with a human turn.",
    params=(
        Param(
            "path",
            'Built-in prompts, a .jsonl, .jsonl.gz or .parquet file, a folder, or "tfds:folder".',
            value="path",
        ),
        Param("column", "The column that holds the prompt; found by itself where it has a usual name.",
              value="str", default=""),
        SPLIT_COLUMN,
        COLUMN_TEST,
        LIMIT,
    ),
    result=_result,
    check=_check,
    group="source",
    source="path",
    limit="limit",
    example='prompts("builtin:red_team")',
)  # fmt: skip


def cost(ctx) -> Cost:
    return Cost()


def run(ctx) -> Mapping[str, int]:
    """Reads every row; result: rows."""
    from cai_jax.data.rows import first
    from cai_jax.data.sources import read_prompts
    from cai_jax.tiny import prompts as tiny

    p = ctx.params
    scheme, _, name = p["path"].partition(":")
    if scheme == "builtin":
        rows = first(tiny.prompts(name), p["limit"] or None)
    else:
        rows = read_prompts(
            on_disk(p["path"]), column=p["column"], split=p["split"], test=p["test"], limit=p["limit"] or None
        )
    ctx.commit(rows[len(ctx.committed()) :])
    return {"rows": len(rows)}
