"""A constitution as stages read it: its principles, and its few-shot examples rendered in front of prompts."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from cai_jax.data.file_readers import Record, records
from cai_jax.data.rows import DataError
from cai_jax.lang.signature import Principle
from cai_jax.pipeline.context import Artefact, Context
from cai_jax.pipeline.rng import Draw
from cai_jax.prompting.paper_format import OPTIONS, Format, Message, Shots

_FIELDS = {
    "critique": ("turns", "reply", "critique_request", "critique", "revision_request", "revision"),
    "comparison": ("turns", "a", "b", "answer"),
    "reasoning": ("turns", "a", "b", "reasoning", "answer"),
    "audit": ("turns", "reply", "question", "answer"),
}
_ANSWERS = {"comparison": ("A", "B"), "reasoning": ("A", "B"), "audit": ("yes", "no")}
_ROLES = ("system", "human", "assistant")
_Shot = TypeVar("_Shot")


def principles(constitution: Artefact, ability: str) -> list[Principle]:
    """The principles of a constitution artefact that support "revise", "judge" or "audit"."""
    every = [Principle(**(p | {"tags": tuple(p["tags"])})) for p in constitution.result["principles"]]
    supports = {
        "revise": lambda p: p.critique and p.revise,
        "judge": lambda p: p.compare,
        "audit": lambda p: p.audit,
    }[ability]
    return [p for p in every if supports(p)]


def audit_requests(constitution: Artefact) -> list[tuple[str, str]]:
    """Name and question of every principle by which a reply can be audited."""
    return [(p.name, p.audit) for p in principles(constitution, "audit")]


def examples(constitution: Artefact, form: str) -> list[dict[str, Any]]:
    """The constitution's few-shot examples of one form ("critique", "comparison", "reasoning" or "audit").

    Raises:
      DataError: a line is not JSON, or a field is missing or of the wrong type; names file, line and field.
    """
    found: Any = constitution.source("fewshots")
    paths = [found] if isinstance(found, str) else found
    each = [[shot for shot in every_example(path) if shot["form"] == form] for path in paths if path]
    # Of constitutions joined each has its turn, so that a few examples are not all of one.
    return [shot for several in itertools.zip_longest(*each) for shot in several if shot is not None]


def every_example(path: str) -> list[dict[str, Any]]:
    """All few-shot examples of a file; raises as `examples` does."""
    return [_checked(record) for record in records(path)]


def texts(shot: Mapping[str, Any]) -> str:
    """The texts of an example, joined; rendered, it is longer."""
    said = [turn["text"] for turn in shot["turns"]]
    return " ".join([*said, *(shot[field] for field in _FIELDS[shot["form"]] if field != "turns")])


def _checked(record: Record) -> dict[str, Any]:
    shot = record.fields
    fields = _FIELDS.get(shot["form"]) if isinstance(shot.get("form"), str) else None
    if fields is None:
        raise DataError(f"{record.where}: field `form` is none of {', '.join(_FIELDS)}")
    for field in fields:
        if field not in shot:
            raise DataError(f"{record.where}: field `{field}` is missing", f"a {shot['form']} needs it")
        wrong = _wrong(shot["form"], field, shot[field])
        if wrong:
            raise DataError(f"{record.where}: field `{field}`: {wrong}", "see constitutions/starter.fewshots.jsonl")
    named = shot.get("principles", [])
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        raise DataError(f"{record.where}: field `principles`: is no list of names", 'write ["name", …]')
    return shot


def _wrong(form: str, field: str, value: Any) -> str:
    """The error in the value of an example's field; "" if there is none."""
    if field == "turns":
        said = isinstance(value, list) and all(
            isinstance(turn, dict) and turn.get("role") in _ROLES and isinstance(turn.get("text"), str)
            for turn in value
        )
        return "" if said and value else 'is no list of turns {"role": "human" or "assistant", "text": …}'
    if not isinstance(value, str):
        return "is no text"
    if field == "answer" and value not in _ANSWERS[form]:
        return "is neither {} nor {}".format(*_ANSWERS[form])
    return ""


def critique_shots(constitution: Artefact, count: int, format: Format, direct: bool = False) -> Shots:
    """Whole conversations with critique and revision, to precede prompts (arXiv 2212.08073, appendix E)."""
    messages: list[Message] = []
    for shot in examples(constitution, "critique")[:count]:
        if direct:
            asked = format.direct_revision(shot["turns"], shot["reply"], shot["revision_request"])
        else:
            asked = format.critique(shot["turns"], shot["reply"], shot["critique_request"])
            asked = format.revision(asked, shot["critique"], shot["revision_request"])
        messages += format.answered(asked, shot["revision"])
    return format.shots(messages)


def comparison_shots(constitution: Artefact, count: int, format: Format, draw: Draw, reasoned: bool = False) -> Shots:
    """Comparisons with their answers, each under its own principle, drawn once for the node (arXiv 2212.08073 §4.1).

    Both answers are given equally often, within one, so that the examples favour neither: the draw decides which of two
    replies comes first. Where the reasoning calls them A and B they keep their order, and the choice of examples
    balances the answers.
    """
    messages: list[Message] = []
    found = suited_shots(constitution, reasoned)
    chosen = _balanced(found, lambda each: each[0]["answer"], count, draw) if reasoned else found[:count]
    letters = _letters(draw, len(chosen))
    for index, (shot, suited) in enumerate(chosen):
        principle = draw.principle(suited, "shot", index).compare
        pair, answer = (shot["a"], shot["b"]), "AB".index(shot["answer"])
        if reasoned:
            asked = format.reasoned_comparison(shot["turns"], principle, pair)
            asked = format.concluded(asked, shot["reasoning"])
        else:
            pair, answer = (pair if letters[index] == answer else pair[::-1]), letters[index]
            asked = format.comparison(shot["turns"], principle, pair)
        messages += format.chosen(asked, OPTIONS[answer])
    return format.shots(messages)


def audit_shots(constitution: Artefact, count: int, format: Format, draw: Draw) -> Shots:
    """Audits with their answers: as many yes as no, and as many ` (A)` as ` (B)`, each within one."""
    messages: list[Message] = []
    chosen = _balanced(examples(constitution, "audit"), lambda shot: shot["answer"], count, draw)
    for shot, letter in zip(chosen, _letters(draw, len(chosen)), strict=True):
        swapped = letter != _ANSWERS["audit"].index(shot["answer"])
        asked = format.audit(shot["turns"], shot["reply"], shot["question"], swapped)
        messages += format.chosen(asked, OPTIONS[letter])
    return format.shots(messages)


def _balanced(shots: Sequence[_Shot], answer: Callable[[_Shot], str], count: int, draw: Draw) -> list[_Shot]:
    """Up to `count` examples, of every answer equally many as far as there are, in an order that the draw gives."""
    seen: Counter[str] = Counter()
    ranks = []
    for shot in shots:
        ranks.append(seen[answer(shot)])
        seen[answer(shot)] += 1
    first = sorted(range(len(shots)), key=ranks.__getitem__)[:count]
    return [shots[first[place]] for place in draw.permutation("shots", len(first))]


def _letters(draw: Draw, count: int) -> list[int]:
    """Indices of as many options, both equally often within one, in an order that the draw gives."""
    odd = int(draw.uniform("odd shot") < 0.5)
    return [(int(place) + odd) % 2 for place in draw.permutation("answers", count)]


def suited_shots(constitution: Artefact, reasoned: bool) -> list[tuple[dict[str, Any], list[Principle]]]:
    """The comparisons, each with the principles under which its answer holds; without those that have none.

    A shot that names no principles holds under all of them.
    """
    able = principles(constitution, "judge")
    found = examples(constitution, "reasoning" if reasoned else "comparison")
    suited = [(shot, [p for p in able if p.name in shot.get("principles", [p.name])]) for shot in found]
    return [(shot, under) for shot, under in suited if under]


def note_one_answer(ctx: Context, shots: Sequence[Mapping[str, Any]]) -> None:
    """Note that several examples are shown and all of them give one answer, since there are no others."""
    answers = [shot["answer"] for shot in shots]
    count = min(ctx.params["fewshots"], len(answers))
    if count > 1 and len(set(answers)) == 1:
        said = f"all {count} examples of the constitution answer {answers[0]}, and may lead the model to answer so too"
        ctx.note("one-answer", f"{said}; add examples of the other answer")


def shown(ctx: Context, there: int, shots: Shots) -> dict[str, str]:
    """The few-shots in full, as they precede every prompt of the node, for its result.

    A note says if there are fewer than were asked for; `there` is the number that the constitution has.
    """
    asked = ctx.params["fewshots"]
    if there < asked:
        ctx.note("fewshots", f"fewshots={asked}, but the constitution has {there} examples that fit here")
    return {"fewshots": shots.text}
