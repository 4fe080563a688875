"""Pretraining documents as segments, read by number so that training can begin anywhere."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from cai_jax.data.file_readers import Record, records, refuse
from cai_jax.data.hf_cache import on_disk
from cai_jax.data.row_values import fits
from cai_jax.data.rows import DataError
from cai_jax.pipeline.context import Artefact
from cai_jax.prompting import render
from cai_jax.prompting.render import END, Segment


def count(source: Mapping[str, Any], bad: Callable[[DataError], None] = refuse) -> int:
    """Count the documents of a source (the parameters of stage `documents`).

    Args:
      bad: gets the error of each row that holds none; raises it by default.
    """
    if source["path"].startswith("builtin:"):
        return source["rows"]
    whole = sum(1 for _ in _texts(source, bad)) - source["skip"]
    if whole <= 0:
        raise DataError(f"{source['path']}: no documents are left after skip={source['skip']}")
    return min(whole, source["rows"] or whole)


def texts(source: Mapping[str, Any]) -> Iterator[str]:
    """The text of every document of a source, as `read` gives it."""
    first, rows = source["skip"], source["rows"]
    if source["path"].startswith("builtin:"):
        return map(render.text_of, _world(source, first, first + rows))
    last = first + rows if rows else None
    return itertools.islice(_texts(source, _unless_skipped(source)), first, last)


def read(source: Mapping[str, Any], start: int, stop: int) -> Iterator[list[Segment]]:
    """Documents `start` to `stop` (exclusive) of a source, each a list of segments that ends with END."""
    first, last = source["skip"] + start, source["skip"] + stop
    if source["path"].startswith("builtin:"):
        yield from _world(source, first, last)
        return
    if "where" in source:
        found = itertools.islice((row["text"] for row in chosen(source)), start, stop)
    else:
        found = itertools.islice(_texts(source, _unless_skipped(source)), first, last)
    for text in found:
        yield [Segment(text, trusted=False, trained=True, truncatable=True), END]


def source_of(artefact: Artefact) -> dict[str, Any]:
    """The parameters by which a `documents` node, or documents chosen from one, are read: of the rows that there are.

    Of chosen ones `where` lists the conditions, and `among` is the number of documents that they are chosen from.
    """
    if "where" not in artefact.result:
        return {**artefact.params, "path": on_disk(artefact.source("path")), **artefact.result}
    of = source_of(artefact.made_from(artefact.result["of"]))
    where = [*of.get("where", []), artefact.result["where"]]
    return {**of, "among": of.get("among", of["rows"]), "where": where, "rows": artefact.result["rows"]}


def chosen(source: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The columns of every document of a source that fits its conditions, with its text as `text`, in order."""
    every = _found(source, _unless_skipped(source))
    for record, text in itertools.islice(every, source["skip"], source["skip"] + source["among"]):
        row = {**record.fields, "text": text, "id": record.where}
        if all(fits(row, columns) for columns in source["where"]):
            yield row


def text_of(record: Record, column: str) -> str:
    """A document's text.

    Raises:
      DataError: the column holds none.
    """
    text = record.fields.get(column)
    if not isinstance(text, str):
        raise DataError(f"{record.where}: field `{column}`: no text", 'name the text\'s column: column="…"')
    return text


def _texts(source: Mapping[str, Any], bad: Callable[[DataError], None]) -> Iterator[str]:
    return (text for _, text in _found(source, bad))


def _found(source: Mapping[str, Any], bad: Callable[[DataError], None]) -> Iterator[tuple[Record, str]]:
    # All of a dataset is read, so that it does not matter which files belong to which split.
    for record in records(source["path"], config=source["config"], named=False, bad=bad):
        try:
            text = text_of(record, source["column"])
        except DataError as error:
            bad(error)
        else:
            yield record, text


def _unless_skipped(source: Mapping[str, Any]) -> Callable[[DataError], None]:
    """The handler of a malformed row, which was counted already if malformed rows are left out."""
    return (lambda error: None) if source["malformed"] == "skip" else refuse


def _world(source: Mapping[str, Any], first: int, last: int) -> Iterator[list[Segment]]:
    from cai_jax.world.documents import document

    for index in range(first, last):
        # Constitutions have few examples or many.
        shots = random.Random(f"tiny shots {index}").randint(1, source["shots"]) if source["shots"] else 0
        yield document(index, source["form"], shots, source["contrast"], source["endings"])
