"""`data.where(label="safe")`: the rows that have these values in these columns."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from cai_jax.data.row_columns import RESERVED
from cai_jax.errors import UserError
from cai_jax.lang.signature import Call, Kind, Param, Problem, Signature, Type
from cai_jax.pipeline.context import Artefact, Context

if TYPE_CHECKING:
    from cai_jax.data.row_values import Chosen


def _result(call: Call) -> Type:
    value = call.types["value"]
    # Remembered, so that a chain of choices is no chain of calls.
    return replace(value, known=functools.cache(partial(_known, value, call.values["columns"])))


def _known(value: Type, columns: Mapping[str, list]) -> list[Any] | None:
    """The rows, where all that they are chosen by is known; other columns come from stages."""
    from cai_jax.data.row_values import chosen

    rows = value.known()
    if rows is None or set(columns) & RESERVED:
        return None
    try:
        return chosen(rows, columns).rows
    except UserError:  # which the check tells
        return None


def _check(call: Call) -> Iterable[Problem]:
    from cai_jax.data.row_values import chosen

    value, columns = call.types["value"], call.values["columns"]
    rows = value.known()
    if rows is None or set(columns) & RESERVED:
        return
    try:
        chosen(rows, columns)
    except UserError as error:
        yield Problem("E224", "columns", error.message, "chooses nothing", error.hint)


_KINDS = (Kind.PROMPTS, Kind.RESPONSES, Kind.DIALOGS, Kind.PREFS, Kind.QUESTIONS, Kind.DOCUMENTS)
SIGNATURE = Signature(
    name="where",
    about="The rows of data that have these values in these columns; of several values, any.",
    params=(
        Param("value", "Data to choose from.", kinds=_KINDS),
        Param("columns", "The values, by column.", value="columns"),
    ),
    result=_result,
    check=_check,
    group="operator",
    operator=".where",
    example='xstest.where(label="safe")',
)


def run(ctx: Context) -> Mapping[str, Any]:
    """The rows that fit; result: rows, lacking (column -> rows without a value in it, which are left out).

    Of documents nothing is copied: the result also has their node, `of`, and the conditions, `where`.
    """
    value, columns = ctx.inputs["value"], ctx.params["columns"]
    documents = value.type.kind is Kind.DOCUMENTS
    rows = _documents(value) if documents else value.rows()
    found = _chosen(ctx, rows, columns)
    for name, count in found.lacking.items():
        ctx.note("lacking", f"{count:,} of {len(rows):,} rows have no `{name}`, and are left out")
    told = {"rows": len(found.rows), "lacking": found.lacking}
    if documents:
        return {**told, "of": value.key, "where": columns}
    ctx.commit(found.rows[len(ctx.committed()) :])
    return told


def _chosen(ctx: Context, rows: list[Any], columns: Mapping[str, list]) -> Chosen:
    from cai_jax.data.row_values import chosen

    try:
        return chosen(rows, columns)
    except UserError as error:
        limited = "these are few because of --limit: raise it" if ctx.node.limited else ""
        raise UserError(error.message, "; ".join(filter(None, [error.hint, limited]))) from None


def _documents(value: Artefact) -> list[dict[str, Any]]:
    """The columns of every document, without its text.

    Raises:
      UserError: they are built in, and have none, or several sources are joined.
    """
    from cai_jax.pipeline.documents import chosen, source_of

    if "sources" in value.result:
        raise UserError("these documents are of several sources", "choose from each of them, and join what is chosen")
    source = source_of(value)
    if source["path"].startswith("builtin:"):
        raise UserError("built-in documents have no columns", "say what kind of document: form=…")
    every = {"among": source["rows"], "where": [], **source}
    return [{name: cell for name, cell in row.items() if name != "text"} for row in chosen(every)]
