"""A constitution as stages read it: its principles, and its few-shot examples rendered in front of prompts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cai_jax.data import formats
from cai_jax.data.render import Segment, escape
from cai_jax.errors import UserError
from cai_jax.lang.types import Principle
from cai_jax.stages.parts.draws import Draw

_FIELDS = {
    "critique": ("turns", "reply", "critique_request", "critique", "revision_request", "revision"),
    "comparison": ("turns", "a", "b", "answer"),
    "reasoning": ("turns", "a", "b", "reasoning", "answer"),
}


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
      UserError: a line is not JSON or lacks a field; names file, line and field.
    """
    path = constitution.result.get("fewshots")
    if not path:
        return []
    rows = []
    for number, line in enumerate(Path(path).read_text("utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(f"{path}:{number}: not JSON: {error.msg}", "one JSON object a line") from None
        fields = _FIELDS.get(row.get("form") if isinstance(row, dict) else None)
        if fields is None:
            raise UserError(f"{path}:{number}: field `form` is none of {', '.join(_FIELDS)}")
        for field in fields:
            if field not in row:
                raise UserError(f"{path}:{number}: field `{field}` is missing", f"a {row['form']} needs it")
        if row["form"] == form:
            rows.append(row)
    return rows


def critique_shots(constitution, count: int, direct: bool = False) -> list[Segment]:
    """Whole conversations with critique and revision, to stand in front (CAI appendix E)."""
    segments: list[Segment] = []
    for shot in examples(constitution, "critique")[:count]:
        if direct:
            segments += formats.direct_revision(shot["turns"], shot["reply"], shot["revision_request"])
        else:
            asked = formats.critique(shot["turns"], shot["reply"], shot["critique_request"])
            segments += formats.revision(asked, shot["critique"], shot["revision_request"])
        segments.append(_said(shot["revision"]))
    return _trusted(segments)


def comparison_shots(constitution, count: int, draw: Draw, reasoned: bool = False) -> list[Segment]:
    """Comparisons with their answers, each under its own principle, drawn once for the whole node (CAI §4.1)."""
    able = principles(constitution, "judge")
    segments: list[Segment] = []
    for index, shot in enumerate(examples(constitution, "reasoning" if reasoned else "comparison")[:count]):
        # A shot may name the principles under which its answer holds.
        suited = [p for p in able if p.name in shot.get("principles", [p.name])]
        principle = draw.principle(suited, "shot", index).compare if suited else shot["principle"]
        pair = (shot["a"], shot["b"])
        if reasoned:
            asked = formats.reasoned_comparison(shot["turns"], principle, pair)
            segments += formats.concluded(asked, shot["reasoning"])
        else:
            segments += formats.comparison(shot["turns"], principle, pair)
        segments.append(Segment(f" ({shot['answer']})"))
    return _trusted(segments)


def _said(text: str) -> Segment:
    """Text of a constitution's author: trusted, escaped all the same, so that it cannot break the format."""
    return Segment(" " + escape(text.strip()))


def _trusted(segments: Sequence[Segment]) -> list[Segment]:
    """Few-shots come from the constitution, not from data."""
    return [Segment(segment.text) for segment in segments]
