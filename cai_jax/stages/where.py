"""`data.where(label="safe")`: the rows that have these values in these columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from cai_jax.data.row_columns import RESERVED
from cai_jax.errors import UserError
from cai_jax.lang.signature import Call, Kind, Param, Problem, Signature, Type
from cai_jax.pipeline.context import Context


def _result(call: Call) -> Type:
    value = call.types["value"]
    return replace(value, known=partial(_known, value, call.values["columns"]))


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


SIGNATURE = Signature(
    name="where",
    about="The rows of data that have these values in these columns; of several values, any.",
    params=(
        Param("value", "Data to choose from.", kinds=(Kind.PROMPTS, Kind.RESPONSES, Kind.DIALOGS, Kind.PREFS)),
        Param("columns", "The values, by column.", value="columns"),
    ),
    result=_result,
    check=_check,
    group="operator",
    operator=".where",
    example='xstest.where(label="safe")',
)


def run(ctx: Context) -> Mapping[str, Any]:
    """The rows that fit; result: rows, lacking (column -> rows without a value in it, which are left out)."""
    from cai_jax.data.row_values import chosen

    rows = ctx.inputs["value"].rows()
    try:
        found = chosen(rows, ctx.params["columns"])
    except UserError as error:
        limited = "these are few because of --limit: raise it" if ctx.node.limited else ""
        raise UserError(error.message, "; ".join(filter(None, [error.hint, limited]))) from None
    for name, count in found.lacking.items():
        ctx.note("lacking", f"{count:,} of {len(rows):,} rows have no `{name}`, and are left out")
    ctx.commit(found.rows[len(ctx.committed()) :])
    return {"rows": len(found.rows), "lacking": found.lacking}
