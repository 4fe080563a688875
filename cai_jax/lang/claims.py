"""Claims of `expect`: whether a run could show them to be wrong."""

from __future__ import annotations

import operator
from typing import NamedTuple

from cai_jax.lang import program_rules
from cai_jax.lang.values import Artefact

# How the lower and the upper bounds of both sides decide: (always true, never true).
_DECIDED = {
    "<": (lambda left, right: left[1] < right[0], lambda left, right: left[0] >= right[1]),
    "<=": (lambda left, right: left[1] <= right[0], lambda left, right: left[0] > right[1]),
    ">": (lambda left, right: left[0] > right[1], lambda left, right: left[1] <= right[0]),
    ">=": (lambda left, right: left[0] >= right[1], lambda left, right: left[1] < right[0]),
}
_SAME = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


class Side(NamedTuple):
    """One side of an `expect`: a metric plus a constant, or a constant alone; `tuned` where a knob enters it."""

    metric: Artefact | None
    constant: float
    tuned: bool = False


def same_data(left: Artefact | None, right: Artefact | None) -> bool:
    """True if two metrics are measured on the same data, as far as is known; one alone always is."""
    return left is None or right is None or program_rules.same_data(left.sources(), right.sources())


def in_vain(left: Side, op: str, right: Side) -> str:
    """The reason why a claim is uninformative: it holds or fails whatever is measured; "" if a run decides it.

    Knobs may give another value, so that no claim in which one enters is reported.
    """
    if left.tuned or right.tuned:
        return ""
    if left.metric is right.metric:
        outcome = "always" if _SAME[op](left.constant, right.constant) else "never"
        return f"a metric is compared with itself, so this {outcome} holds"
    ours, theirs = _bounds(left.metric), _bounds(right.metric)
    if ours is None or theirs is None:
        return ""
    sides = _shifted(ours, left.constant), _shifted(theirs, right.constant)
    always, never = (decides(*sides) for decides in _DECIDED[op])
    if not (always or never):
        return ""
    low, high = ours if left.metric else theirs
    return f"this {'always' if always else 'never'} holds: what is measured lies between {low:g} and {high:g}"


def _bounds(metric: Artefact | None) -> tuple[float, float] | None:
    """Least and greatest value of a metric, None where it has none; no metric adds 0."""
    if metric is None:
        return 0.0, 0.0
    return metric.signature.bounds if metric.signature is not None else None


def _shifted(bounds: tuple[float, float], constant: float) -> tuple[float, float]:
    return bounds[0] + constant, bounds[1] + constant
