"""The conditions of `data.where(label="safe")`: columns, and the values that each may have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cai_jax.lang import ast
from cai_jax.lang.call_types import Applying
from cai_jax.lang.diagnostics import Label
from cai_jax.lang.knobs import TRUTH
from cai_jax.lang.scope import describe
from cai_jax.lang.source import Span
from cai_jax.lang.units import shown
from cai_jax.lang.values import Failed, Scalar

Value = str | float | bool


def conditions(scope: Applying, method: ast.Method) -> dict[str, list[Value]] | None:
    """Column -> its values, each once and in order, so that the same conditions are one artefact; None if reported."""
    report, found, places = scope.report, {}, dict[str, Span]()
    sound = bool(method.arguments)
    if not sound:
        hint = f'for example  {method.name.id}(label="safe")'
        report.report("E230", f"`{method.name.id}` needs a column and its value", method.span, "no column", hint=hint)
    for argument in method.arguments:
        values = _values(scope, argument)
        if argument.name is None:
            hint = f"name it:  {method.name.id}(label={argument.span.on_one_line})"
            report.report("E234", "a value stands without its column", argument.span, "no column", hint=hint)
        elif argument.name.id in places:
            label = Label(places[argument.name.id], "first here")
            hint = f"for any of several values write  {argument.name.id}=[…, …]"
            report.report("E232", f"`{argument.name.id}` is given twice", argument.name.span, "again", label, hint=hint)
        elif values is not None:
            places[argument.name.id], found[argument.name.id] = argument.name.span, values
            continue
        sound = False
    return found if sound else None


def _values(scope: Applying, argument: ast.Argument) -> list[Value] | None:
    """The values that a column may have; None if reported."""
    items = argument.value.items if isinstance(argument.value, ast.List) else (argument.value,)
    if not items:
        scope.report.report("E236", "an empty list has no value that a row could have", argument.span, "empty")
        return None
    found = [_value(scope, item) for item in items]
    if any(value is None for value in found):
        return None
    distinct = {(type(value).__name__, value): value for value in found if value is not None}
    return [distinct[key] for key in sorted(distinct, key=str)]


def _value(scope: Applying, item: ast.Expr) -> Value | None:
    if isinstance(item, ast.Name) and not (item.id in scope.values or item.id in scope.later or item.id in TRUTH):
        hint = f'a text stands in quotes: "{item.id}"'
        scope.report.report("E200", f"unknown name `{item.id}`", item.span, "not defined", hint=hint)
        scope.mark_used(item)
        return None
    value = scope.evaluate(item)
    if isinstance(value, Failed):
        return None
    if not isinstance(value, Scalar) or isinstance(value.value, tuple):
        message = f"a row is chosen by a text, a number or a truth value, not by {describe(value)}"
        scope.report.report("E236", message, item.span, f"is {describe(value)}")
        return None
    one = value.single
    return int(one) if isinstance(one, float) and one.is_integer() else one


def written(columns: Mapping[str, Sequence[Value]]) -> str:
    """Conditions as a program writes them: `label="safe", level=[1, 2]`."""
    return ", ".join(f"{name}={_one_or_list([shown(value) for value in values])}" for name, values in columns.items())


def _one_or_list(values: Sequence[str]) -> str:
    return values[0] if len(values) == 1 else f"[{', '.join(values)}]"
