"""`prefs`: pairs of replies with the probability that the first is better."""

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

BUILTIN = {"train": 512, "test": 200}  # pairs of every built-in set
_COLUMNS = ("chosen", "rejected", "a", "b", "label", "prompt")


def _builtin() -> tuple[str, ...]:
    from cai_jax.tiny.prompts import PREFERENCE_SETS

    return PREFERENCE_SETS


def _result(call: Call) -> Type:
    # The built-in preferences are about the built-in helpful prompts.
    about = {"builtin:helpful"} if call.values["path"].startswith("builtin:") else set()
    splits = splits_of(call)
    rows = rows_of(call, BUILTIN, splits)
    return Type(Kind.PREFS, splits=splits, lineage=lineage(call) | about, rows=rows)


def _check(call: Call) -> Iterable[Problem]:
    yield from missing(call, _builtin())
    yield from columns_missing(call, _COLUMNS, [{"a", "b", "p"}, {"chosen", "rejected"}])


def _column(name: str, about: str) -> Param:
    return Param(name, about, value="str", default="")


SIGNATURE = Signature(
    name="prefs",
    about="Preferences: two replies to a prompt, and the probability that the first is better.",
    params=(
        Param("path", 'Built-in preferences, a file, a folder, or "tfds:folder".', value="path"),
        _column("chosen", "The column of the better reply or conversation."),
        _column("rejected", "The column of the worse one."),
        _column("a", "The column of the first reply, where a label says which is better."),
        _column("b", "The column of the second reply."),
        _column("label", "The column of the label: P(a is better), 1 or 2, or a word."),
        _column("prompt", "The column of the prompt."),
        SPLIT_COLUMN,
        COLUMN_TEST,
        LIMIT,
    ),
    result=_result,
    check=_check,
    group="source",
    source="path",
    limit="limit",
    example='prefs("builtin:helpful_prefs")',
)


def cost(ctx) -> Cost:
    return Cost()


def run(ctx) -> Mapping[str, int]:
    """Reads every pair; result: rows."""
    from cai_jax.data.rows import first
    from cai_jax.data.sources import read_prefs
    from cai_jax.tiny import prompts as tiny

    p = dict(ctx.params)
    path, limit, scheme = p.pop("path"), p.pop("limit") or None, ctx.params["path"].partition(":")[0]
    if scheme == "builtin":
        rows = first(tiny.preferences(path.partition(":")[2]), limit)
    else:
        rows = read_prefs(on_disk(path), limit=limit, **p)
    ctx.commit(rows[len(ctx.committed()) :])
    return {"rows": len(rows)}
