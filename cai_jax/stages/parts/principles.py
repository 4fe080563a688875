"""A constitution as stages read it: its principles, and its few-shot examples rendered in front of prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from cai_jax.data.formats import OPTIONS, Format
from cai_jax.data.readers import Record, records
from cai_jax.data.render import Segment, text_of
from cai_jax.data.rows import DataError
from cai_jax.lang.types import Principle
from cai_jax.stages.parts.draws import Draw

_FIELDS = {
    "critique": ("turns", "reply", "critique_request", "critique", "revision_request", "revision"),
    "comparison": ("turns", "a", "b", "answer"),
    "reasoning": ("turns", "a", "b", "reasoning", "answer"),
}
_ROLES = ("system", "human", "assistant")


def principles(constitution, ability: str) -> list[Principle]:
    """The principles of a constitution artefact that support "revise", "judge" or "audit"."""
    every = [Principle(**(p | {"tags": tuple(p["tags"])})) for p in constitution.result["principles"]]
    supports = {
        "revise": lambda p: p.critique and p.revise,
        "judge": lambda p: p.compare,
        "audit": lambda p: p.critique,
    }[ability]
    return [p for p in every if supports(p)]


def examples(constitution, form: str) -> list[dict[str, Any]]:
    """The constitution's few-shot examples of one form ("critique", "comparison" or "reasoning").

    Raises:
      DataError: a line is not JSON, or a field is missing or of the wrong type; names file, line and field.
    """
    path = constitution.result.get("fewshots")
    return [shot for record in records(path) if (shot := _checked(record))["form"] == form] if path else []


def _checked(record: Record) -> dict[str, Any]:
    shot = record.fields
    fields = _FIELDS.get(shot["form"]) if isinstance(shot.get("form"), str) else None
    if fields is None:
        raise DataError(f"{record.where}: field `form` is none of {', '.join(_FIELDS)}")
    for field in fields:
        if field not in shot:
            raise DataError(f"{record.where}: field `{field}` is missing", f"a {shot['form']} needs it")
        wrong = _wrong(field, shot[field])
        if wrong:
            raise DataError(f"{record.where}: field `{field}`: {wrong}", "see constitutions/starter.fewshots.jsonl")
    named = shot.get("principles", [])
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        raise DataError(f"{record.where}: field `principles`: is no list of names", 'write ["name", …]')
    return shot


def _wrong(field: str, value: Any) -> str:
    """What is wrong with the value of an example's field; "" if nothing is."""
    if field == "turns":
        said = isinstance(value, list) and all(
            isinstance(turn, dict) and turn.get("role") in _ROLES and isinstance(turn.get("text"), str)
            for turn in value
        )
        return "" if said and value else 'is no list of turns {"role": "human" or "assistant", "text": …}'
    if not isinstance(value, str):
        return "is no text"
    return "is neither A nor B" if field == "answer" and value not in ("A", "B") else ""


def critique_shots(constitution, count: int, format: Format, direct: bool = False) -> list[Segment]:
    """Whole conversations with critique and revision, to stand in front (CAI appendix E)."""
    segments: list[Segment] = []
    for shot in examples(constitution, "critique")[:count]:
        if direct:
            segments += format.direct_revision(shot["turns"], shot["reply"], shot["revision_request"])
        else:
            asked = format.critique(shot["turns"], shot["reply"], shot["critique_request"])
            segments += format.revision(asked, shot["critique"], shot["revision_request"])
        segments.append(format.revised(shot["revision"]))
        format = format.behind
    return _trusted(segments)


def comparison_shots(constitution, count: int, format: Format, draw: Draw, reasoned: bool = False) -> list[Segment]:
    """Comparisons with their answers, each under its own principle, drawn once for the whole node (CAI §4.1)."""
    segments: list[Segment] = []
    for index, (shot, suited) in enumerate(suited_shots(constitution, reasoned)[:count]):
        principle = draw.principle(suited, "shot", index).compare
        pair = (shot["a"], shot["b"])
        if reasoned:
            asked = format.reasoned_comparison(shot["turns"], principle, pair)
            segments += format.concluded(asked, shot["reasoning"])
        else:
            segments += format.comparison(shot["turns"], principle, pair)
        segments.append(Segment(OPTIONS["AB".index(shot["answer"])]))
        format = format.behind
    return _trusted(segments)


def suited_shots(constitution, reasoned: bool) -> list[tuple[dict[str, Any], list[Principle]]]:
    """The comparisons, each with the principles under which its answer holds; without those that have none.

    A shot that names no principles holds under all of them.
    """
    able = principles(constitution, "judge")
    found = examples(constitution, "reasoning" if reasoned else "comparison")
    suited = [(shot, [p for p in able if p.name in shot.get("principles", [p.name])]) for shot in found]
    return [(shot, under) for shot, under in suited if under]


def shown(ctx, there: int, shots: Sequence[Segment]) -> dict[str, str]:
    """What a result tells of the few-shots, in full, as they stand in front of every prompt of the node.

    Fewer of them than were asked for are told in a note; `there` is how many the constitution has.
    """
    asked = ctx.params["fewshots"]
    if there < asked:
        ctx.note("fewshots", f"fewshots={asked}, but the constitution has {there} examples that fit here")
    return {"fewshots": text_of(shots)}


def _trusted(segments: Sequence[Segment]) -> list[Segment]:
    """Few-shots come from the constitution, not from data; escaped all the same, they cannot break the format."""
    return [replace(segment, trusted=True, spare=False) for segment in segments]
