"""Numbers with units, and the check that a value fits a parameter."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import isfinite, prod
from typing import NamedTuple

from cai_jax.lang import ast
from cai_jax.lang.diagnostics import Diagnostics, Label, listed
from cai_jax.lang.signature import Param
from cai_jax.lang.source import Span
from cai_jax.lang.values import FAILED, Failed, Scalar

# suffix -> (dimension, factor)
SUFFIXES = {
    "%": ("fraction", 0.01),
    "k": ("count", 1e3),
    "M": ("count", 1e6),
    "B": ("count", 1e9),
    "s": ("seconds", 1.0),
    "m": ("seconds", 60.0),
    "h": ("seconds", 3600.0),
    "d": ("seconds", 86400.0),
    "Ki": ("bytes", 2.0**10),
    "Mi": ("bytes", 2.0**20),
    "Gi": ("bytes", 2.0**30),
    "Ti": ("bytes", 2.0**40),
}
_EXACT = 2.0**53  # beyond it, a float no longer holds every whole number
_COUNTED = 2**31 - 1  # steps, rows and tokens are counted in 32 bits on the devices
_SINGLE = (2.0**-126, 2.0**128)  # sizes that a 32-bit float holds in full precision: stages compute in these


def scalar(number: ast.Number, report: Diagnostics) -> Scalar | Failed:
    """The value of a literal; a suffix that is not a unit is reported."""
    if not number.unit:
        return finite(Scalar(number.value), number.span, report)
    if number.unit not in SUFFIXES:
        known = listed(SUFFIXES)
        report.report("E120", f"`{number.unit}` is no unit", number.span, hint=f"known are {known}")
        return FAILED
    dimension, factor = SUFFIXES[number.unit]
    value = number.value / 100 if factor == 0.01 else number.value * factor
    return finite(Scalar(value, dimension, number.unit), number.span, report)


def finite(value: Scalar, at: Span, report: Diagnostics) -> Scalar | Failed:
    """The number, unless it is beyond what a 64-bit float holds; that is reported."""
    if isfinite(value.number):
        return value
    report.report("E121", "this number is too large", at, "beyond 1.8e308", hint="numbers are 64-bit floats")
    return FAILED


def ranged(expr: ast.Range, low: Scalar, high: Scalar, report: Diagnostics) -> Scalar | Failed:
    """The pair that `low..high` is, numbers; reports ends that are the wrong way round or count different things."""
    both = common((low, high), expr.span, report)
    if isinstance(both, Failed):
        return FAILED
    if not low.number <= high.number:
        tuned = low.knob or high.knob
        hint = "" if tuned else f"write  {expr.high.span.on_one_line}..{expr.low.span.on_one_line}"
        label = f"from {shown(low.value)} to {shown(high.value)}" if tuned else ""
        message = "this range ends before it begins"
        report.report("E258", message, expr.span, label, *_origin(low), *_origin(high), hint=hint)
        return FAILED
    return replace(both, value=(low.number, high.number))


def common(values: Iterable[Scalar], at: Span, report: Diagnostics) -> Scalar | Failed:
    """The first value that has a unit, else the first; reports values that count different things."""
    first, *others = sorted(values, key=lambda value: not value.dimension)
    for other in others:
        if other.dimension not in ("", first.dimension):
            message = f"`{first.suffix}` and `{other.suffix}` count different things"
            report.report("E238", message, at, "cannot go together", *_origin(first), *_origin(other))
            return FAILED
    return first


def multiplied(values: Iterable[Scalar], at: Span, report: Diagnostics) -> Scalar | Failed:
    """The product of numbers, of which one may count something; a fraction of a bare number is a bare number."""
    values = sorted(values, key=lambda value: value.dimension)
    counted = [value for value in values if value.dimension not in ("", "fraction")]
    if len(counted) > 1:
        message = f"`{counted[0].suffix}` times `{counted[1].suffix}` has no meaning here"
        report.report("E238", message, at, "cannot be multiplied", hint="only one factor has a unit")
        return FAILED
    return finite(replace((counted or values)[0], value=prod(value.number for value in values)), at, report)


def added(values: Sequence[Scalar], signs: Iterable[str], at: Span, report: Diagnostics) -> Scalar | Failed:
    """The first number with each of the others added to it, or taken off where its sign is `-`."""
    unit = common(values, at, report)
    if isinstance(unit, Failed):
        return FAILED
    signed = zip(("+", *signs), values, strict=True)
    total = sum(value.number if sign == "+" else -value.number for sign, value in signed)
    return finite(replace(unit, value=total), at, report)


def fits_unit(value: Scalar, param: Param) -> bool:
    """True if a number's suffix makes sense for a parameter; a bare number always does."""
    if value.dimension == "count":
        return param.unit in ("tokens", "rows") or (param.unit == "" and param.value == "int")
    return value.dimension in ("", param.unit)


class Use(NamedTuple):
    """A value given to a parameter, for messages: the stage called, and the place of the value."""

    callee: str
    span: Span


def plain(value: Scalar, param: Param, use: Use, report: Diagnostics) -> object:
    """`value` as a JSON value of the parameter's type: int, float, bool, str, or [low, high]; FAILED if it is none."""
    convert = {"int": _number, "float": _number, "bool": _bool, "range": _range, "enum": _enum}
    return convert.get(param.value, _text)(value, param, use, report)


def bounds(param: Param) -> str:
    """The values that a number parameter takes, such as "0..1" or "more than 0"; "" if any."""
    low = shown(param.low) if param.low is not None else ""
    high = shown(param.high) if param.high is not None else ""
    if low and high:
        return f"{low}..{high}" + (f" without {low}" if param.open_low else "")
    if low:
        return f"more than {low}" if param.open_low else f"at least {low}"
    return f"at most {high}" if high else ""


def choices(param: Param) -> str:
    """The values of an enum, for messages: one of its words, or what may replace one."""
    kinds = "".join(f", or a {kind}" for kind in param.kinds)
    return f"one of {listed(param.choices)}{kinds}" + (f", or  {param.record.example}" if param.record else "")


def outside(value: float, low: float | None, high: float | None, open_low: bool = False) -> bool:
    """True if a number is outside of its bounds; a bound of None does not limit it."""
    below = low is not None and (value <= low if open_low else value < low)
    return below or (high is not None and value > high)


def shown(value: object) -> str:
    """A scalar's value as a program writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return f"{shown(value[0])}..{shown(value[1])}"
    return f'"{value}"' if isinstance(value, str) else repr(value).removesuffix(".0")


def _origin(value: Scalar) -> tuple[Label, ...]:
    return (Label(value.knob, "the knob is set here"),) if value.knob else ()


def _wrong_type(value: Scalar, param: Param, use: Use, wanted: str, report: Diagnostics, hint: str = "") -> Failed:
    message = f"`{param.name}` of `{use.callee}` takes {wanted}, not {shown(value.value)}"
    report.report("E236", message, use.span, f"is not {wanted}", *_origin(value), hint=hint)
    return FAILED


def _number(value: Scalar, param: Param, use: Use, report: Diagnostics) -> object:
    wanted = "a whole number" if param.value == "int" else "a number"
    if not value.is_number:
        return _wrong_type(value, param, use, wanted, report)
    if not _unit(value, param, use, report):
        return FAILED
    if outside(value.number, param.low, param.high, param.open_low):
        message = f"`{param.name}` of `{use.callee}` must be {bounds(param)}, not {shown(value.value)}"
        report.report("E237", message, use.span, "out of range", *_origin(value))
        return FAILED
    if param.value == "float":
        return value.number if _is_single(value, param, use, report) else FAILED
    if value.number != int(value.number):
        return _wrong_type(value, param, use, wanted, report)
    if abs(value.number) > _EXACT:
        report.report("E237", f"{shown(value.value)} is too large for a whole number", use.span, "out of range")
        return FAILED
    if param.high is None and param.unit != "bytes" and value.number > _COUNTED:
        message = f"`{param.name}` of `{use.callee}` must be at most {_COUNTED}, not {shown(value.value)}"
        report.report("E237", message, use.span, "out of range", *_origin(value))
        return FAILED
    return int(value.number)


def _is_single(value: Scalar, param: Param, use: Use, report: Diagnostics) -> bool:
    if value.number == 0 or _SINGLE[0] <= abs(value.number) < _SINGLE[1]:
        return True
    what = "large" if abs(value.number) > 1 else "small"
    message = f"`{param.name}` of `{use.callee}` is too {what}: a 32-bit float does not hold {shown(value.value)}"
    report.report("E237", message, use.span, "out of range", *_origin(value))
    return False


def _unit(value: Scalar, param: Param, use: Use, report: Diagnostics) -> bool:
    if fits_unit(value, param):
        return True
    message = f"`{value.suffix}` does not fit `{param.name}` of `{use.callee}`, which is {_described(param)}"
    report.report("E238", message, use.span, "", *_origin(value), hint=_unit_hint(value, param))
    return False


def _described(param: Param) -> str:
    return {"fraction": "a fraction", "": "a plain number"}.get(param.unit, f"in {param.unit}")


def _unit_hint(value: Scalar, param: Param) -> str:
    if value.suffix == "m" and param.unit in ("tokens", "rows", ""):
        return "`m` is minutes; a million is `M`"
    fitting = [suffix for suffix, (dimension, _) in SUFFIXES.items() if fits_unit(Scalar(0.0, dimension), param)]
    return f"write a bare number, or one with {listed(fitting)}" if fitting else "write a bare number"


def _bool(value: Scalar, param: Param, use: Use, report: Diagnostics) -> object:
    return value.value if isinstance(value.value, bool) else _wrong_type(value, param, use, "true or false", report)


def _range(value: Scalar, param: Param, use: Use, report: Diagnostics) -> object:
    if not isinstance(value.value, tuple):
        return _wrong_type(value, param, use, "a range", report, hint="write  low..high")
    if not _unit(value, param, use, report):
        return FAILED
    if any(outside(end, param.low, param.high, param.open_low) for end in value.value):
        message = f"`{param.name}` of `{use.callee}` must lie in {bounds(param)}"
        report.report("E237", message, use.span, "out of range")
        return FAILED
    return list(value.value)


def _enum(value: Scalar, param: Param, use: Use, report: Diagnostics) -> object:
    if not isinstance(value.value, str):
        return _wrong_type(value, param, use, choices(param), report)
    if value.value not in param.choices:
        message = f"`{param.name}` of `{use.callee}` cannot be `{value.value}`"
        if param.record is not None and value.value == param.record.name:
            hint = f"write  {param.record.example}"
        else:
            hint = report.did_you_mean(value.value, param.choices)
        report.report("E239", message, use.span, choices(param), *_origin(value), hint=hint)
        return FAILED
    return value.value


def _text(value: Scalar, param: Param, use: Use, report: Diagnostics) -> object:
    wanted = "a path in quotes" if param.value == "path" else "a string"
    return value.value if isinstance(value.value, str) else _wrong_type(value, param, use, wanted, report)
