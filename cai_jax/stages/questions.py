"""`questions`: questions with options, whose answers a model's log-probabilities give."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from cai_jax.lang.signature import Call, Kind, Param, Problem, Signature, Type
from cai_jax.pipeline.context import Context
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

if TYPE_CHECKING:
    from cai_jax.data.multiple_choice import Columns
    from cai_jax.data.row_columns import Row

_COLUMNS = ("question", "options", "label", "matching", "other")


def _result(call: Call) -> Type:
    splits = splits_of(call)
    rows, known = split_rows(call, {}, splits), partial(_known, call)
    return Type(Kind.QUESTIONS, splits=splits, lineage=lineage(call), rows=rows, known=known)


def _known(call: Call) -> list[Row] | None:
    from cai_jax.data.multiple_choice import read_questions

    return known_rows(call, read_questions, **_columns(call.values)._asdict())


def _check(call: Call) -> Iterable[Problem]:
    from cai_jax.data.multiple_choice import USUAL, questions_of

    yield from missing(call, ())
    wrong = list(_incomplete(call))
    if wrong:
        yield from wrong
        return
    single = [name for name in _COLUMNS if "," not in call.values[name]]
    yield from unreadable(call, single, USUAL, lambda reading: questions_of(reading, _columns(call.values)))


def _incomplete(call: Call) -> Iterable[Problem]:
    """A problem for each column that is named without the one that it says something about."""
    for one, other in (("options", "label"), ("matching", "other")):
        for name, needed in ((one, other), (other, one)):
            if call.values[name] and not call.values[needed]:
                yield Problem(
                    "E223",
                    name,
                    f"`{name}` names a column that means nothing without `{needed}`",
                    "one of two",
                    f"name `{needed}` too",
                )
    if call.values["options"] and call.values["matching"]:
        yield Problem(
            "E241",
            "matching",
            "the answers are either `options` with a `label`, or `matching` and `other` ones",
            "and `options` is named",
            "leave one of the two out",
            also=(("options", "here"),),
        )


def _columns(values: Mapping[str, Any]) -> Columns:
    from cai_jax.data.multiple_choice import Columns

    return Columns(**{name: values[name] for name in _COLUMNS})


def _column(name: str, about: str, unlike: str = "") -> Param:
    return Param(name, about, value="str", default="", unlike=unlike)


SIGNATURE = Signature(
    name="questions",
    about="Questions with options, of which one is right, or shows a behaviour. Read are model-written evaluations "
    "(`answer_matching_behavior` and `answer_not_matching_behavior`), BIG-bench's `target_scores`, `targets` with "
    "`choices` and `labels`, `chosen` and `rejected` replies, and a list of `choices`, or columns A, B, C, …, with an "
    "`answer`: its letter, its text, or its number from 0.",
    params=(
        Param("path", f"{PATH_ABOUT[0].upper()}{PATH_ABOUT[1:]}.", value="path"),
        _column("question", "The column of the question; found automatically where it has a usual name."),
        _column("options", "The column with a list of options, or several columns of one each: \"A,B,C,D\"."),
        _column("label", "The column of the right answer.", unlike="options"),
        _column("matching", "The column of the answer, or the answers, that show a behaviour."),
        _column("other", "The column of those that do not.", unlike="matching"),
        *READING,
    ),
    result=_result,
    check=_check,
    group="source",
    source="path",
    limit="limit",
    example='questions("power-seeking.jsonl")',
)  # fmt: skip


def run(ctx: Context) -> Mapping[str, int]:
    """Read every question; result: rows."""
    from cai_jax.data.multiple_choice import read_questions

    return read_rows(ctx, read_questions, **_columns(ctx.params)._asdict())
