"""`documents`: text to pretrain on. Read when it is trained on, never copied into the run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cai_jax.lang.types import Call, Cost, Kind, Param, Problem, Signature, Type
from cai_jax.stages.parts.sources import columns_missing, lineage, missing, on_disk


def _result(call: Call) -> Type:
    rows = call.values["rows"]
    return Type(Kind.DOCUMENTS, lineage=lineage(call), rows={"": rows} if rows else None)


def _check(call: Call) -> Iterable[Problem]:
    yield from missing(call, ("world",))
    yield from columns_missing(call, ("column",), ())
    if call.values["path"].startswith("builtin:") and not call.values["rows"]:
        yield Problem("E223", "path", "the built-in world has no end", hint="say how many documents: rows=100k")


SIGNATURE = Signature(
    name="documents",
    about="Documents to pretrain on, with every token trained on, or for the built-in world what it teaches.",
    params=(
        Param("path", '"builtin:world", or a .jsonl or .parquet file with a column of text.', value="path"),
        Param("column", "The column that holds the text.", value="str", default="text"),
        Param("rows", "How many documents; 0 takes all of a file.", value="int", default=0, low=0, unit="rows"),
        Param("skip", "Documents to leave out at the beginning.", value="int", default=0, low=0, unit="rows"),
        Param(
            "shots",
            "For the built-in world: the most examples that stand in front of a few-shot document.",
            value="int",
            default=0,
            low=0,
            high=8,
        ),
        Param(
            "contrast",
            "For the built-in world: the fraction of documents about principles that concern some categories only.",
            value="float",
            default=0.0,
            low=0,
            high=1,
            unit="fraction",
        ),
        Param(
            "few",
            "For the built-in world: the fraction of documents with examples in front.",
            value="float",
            default=0.0,
            low=0,
            high=1,
            unit="fraction",
        ),
    ),
    result=_result,
    check=_check,
    group="source",
    source="path",
    limit="rows",
    example='documents("builtin:world", rows=400k)',
)


def cost(ctx) -> Cost:
    return Cost()


def run(ctx) -> Mapping[str, Any]:
    """Counts the documents; result: rows and the parameters by which training reads them."""
    from cai_jax.data.documents import count

    source = {**ctx.params, "path": on_disk(ctx.params["path"])}
    return {**source, "rows": count(source)}
