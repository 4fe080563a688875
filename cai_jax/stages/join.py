"""`a + b`: data put together, or preference models whose scores are added."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from cai_jax.lang.signature import Call, Kind, Param, Signature, Type
from cai_jax.pipeline.context import Artefact, Context
from cai_jax.pipeline.row_counts import expected_rows

_DATA = (Kind.RESPONSES, Kind.DIALOGS)


def _result(call: Call) -> Type:
    first, *others = parts = call.types["parts"]
    known = [part.splits for part in parts if part.splits]
    return replace(
        first,
        kind=Kind.DIALOGS if first.kind in _DATA else first.kind,
        replies=None,
        splits=frozenset.intersection(*known) if known else None,
        lineage=frozenset().union(*(part.lineage for part in parts)),
        oracle=all(part.oracle for part in parts),
        rows=_rows(parts),
        known=partial(_known, parts),
        length=_length(parts),
        decoders=tuple(each for part in parts for each in part.decoders),
    )


def _known(parts: Sequence[Type]) -> list[Mapping[str, Any]] | None:
    each = [part.known() for part in parts]
    return None if None in each else [row for rows in each for row in rows or ()]


def _rows(parts: Sequence[Type]) -> Mapping[str, int] | None:
    """Rows of all, where they are known of each."""
    total: Counter[str] = Counter()
    for part in parts:
        if part.rows is None:
            return None
        total.update({split: rows * (part.replies or 1) for split, rows in part.rows.items()})
    return total


def _length(parts: Sequence[Type]) -> int | None:
    """Tokens of the longest reply, or of a document in the mean, where they are known of each part."""
    lengths = [part.length for part in parts if part.length is not None]
    if len(lengths) < len(parts):
        return None
    if parts[0].kind is not Kind.DOCUMENTS:
        return max(lengths)
    rows = [expected_rows(part) for part in parts]
    return math.ceil(sum(count * length for count, length in zip(rows, lengths, strict=True)) / sum(rows))


SIGNATURE = Signature(
    name="join",
    about="Puts datasets together, or adds the scores of preference models.",
    params=(
        Param(
            "parts",
            "Data or preference models to join.",
            kinds=(*_DATA, Kind.PROMPTS, Kind.PREFS, Kind.REWARD_MODEL, Kind.DOCUMENTS),
            many=True,
        ),
    ),
    result=_result,
    version=3,
    group="operator",
    operator="+",
    example="revised + chat",
)


def run(ctx: Context) -> Mapping[str, Any]:
    """Rows of all; of preference models, key and weight of each; of documents, their keys."""
    sides: tuple[Artefact, ...] = ctx.inputs["parts"]
    if ctx.node.type.kind is Kind.REWARD_MODEL:
        from cai_jax.pipeline.reward_scoring import parts

        return {"parts": [{"key": one.key, "weight": weight} for side in sides for weight, one in parts(side)]}
    if ctx.node.type.kind is Kind.DOCUMENTS:
        return {"sources": [key for side in sides for key in side.result.get("sources", [side.key])]}
    rows = [row for side in sides for row in side.rows()]
    if ctx.node.type.kind is Kind.PROMPTS:
        from cai_jax.data.rows import numbered

        # Two sources may hold the same conversation; each of its copies needs an id, and so draws, of its own.
        rows = numbered(rows)
    ctx.commit(rows[len(ctx.committed()) :])
    return {"rows": len(rows)}
