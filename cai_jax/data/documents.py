"""Pretraining documents as segments, read by number so that training can begin anywhere."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping
from typing import Any

from cai_jax.data.readers import records
from cai_jax.data.render import END, Segment
from cai_jax.data.rows import DataError


def count(source: Mapping[str, Any]) -> int:
    """How many documents a source (the parameters of stage `documents`) holds."""
    if source["path"].startswith("builtin:"):
        return source["rows"]
    whole = sum(1 for _ in records(source["path"])) - source["skip"]
    if whole <= 0:
        raise DataError(f"{source['path']}: no documents are left after skip={source['skip']}")
    return min(whole, source["rows"] or whole)


def read(source: Mapping[str, Any], start: int, stop: int) -> Iterator[list[Segment]]:
    """Documents `start` to `stop` (exclusive) of a source, each a list of segments that ends with END."""
    first, last = source["skip"] + start, source["skip"] + stop
    if source["path"].startswith("builtin:"):
        yield from _world(source, first, last)
        return
    for record in itertools.islice(records(source["path"]), first, last):
        text = record.fields.get(source["column"])
        if not isinstance(text, str):
            raise DataError(
                f"{record.where}: field `{source['column']}`: no text", 'name the text\'s column: column="…"'
            )
        yield [Segment(text, trusted=False, trained=True, spare=True), END]


def _world(source: Mapping[str, Any], first: int, last: int) -> Iterator[list[Segment]]:
    from cai_jax.tiny.documents import document

    for index in range(first, last):
        draw = random.Random(f"tiny shots {index}")
        few = draw.random() < source["few"]
        shots = draw.randint(1, source["shots"]) if few else 0
        yield document(index, shots=shots, contrast=draw.random() < source["contrast"])
