"""Raw records out of files: JSON, separated values, Parquet, Arrow, Hugging Face dataset folders, prepared TFDS."""

from __future__ import annotations

import functools
import itertools
import json
import math
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cai_jax.data import arrow_files, dataset_files, text_files
from cai_jax.data.rows import DataError

# What reading a cut off or damaged file raises, whatever its format.
_DAMAGE = (OSError, EOFError, ValueError, ArithmeticError, NotImplementedError, RecursionError, MemoryError, zlib.error)
LOOK = 1000  # rows of a dataset that are enough to see what it is, without waiting
_LOOK_FILES = 16  # of a folder that a look opens
_LOOK_CHARS = 2**22  # of the rows of a file at which a look ends: a fraction of a second


class Record(NamedTuple):
    """One record: where ("file:line"), the split that its file is named after, and its fields as JSON values."""

    where: str
    split: str | None
    fields: dict[str, Any]


class Look(NamedTuple):
    """The beginning of a dataset.

    Attributes:
      records: the first rows of each of the first files and of the last one, and the last row of JSON lines.
      bad: errors of malformed rows among them.
      whole: True if there are no other rows.
      splits: of the files, read or not; None for those whose names have none.
    """

    records: list[Record]
    bad: list[DataError]
    whole: bool
    splits: frozenset[str | None]


def refuse(error: DataError) -> None:
    """Raise the error of a malformed row, unless the reader is given another handler."""
    raise error


def records(
    path: str,
    *,
    config: str = "",
    delimiter: str = "",
    named: bool = True,
    bad: Callable[[DataError], None] = refuse,
    note: Callable[[str, str], None] = lambda code, message: None,
) -> Iterator[Record]:
    """Every record of a dataset, in a fixed order.

    Fields become JSON values: bytes text, dates text in ISO format, arrays lists. What JSON cannot say (bytes that
    are not text, numbers that are not finite) becomes null, and so does an empty cell of separated values.

    Args:
      path: a file of `dataset_files.KINDS`; a folder of such files (a Hugging Face dataset directory, as saved by
        `save_to_disk` or as downloaded); or "tfds:" and a prepared TFDS dataset's version folder.
      config: which configuration of the folder's dataset card.
      delimiter: of separated values; "" takes a comma, or a tab in .tsv.
      named: whether it matters which split a file belongs to.
      bad: gets what is wrong with a malformed row, which is then left out; raises it by default.
      note: gets (code, message) about files that are not read.

    Raises:
      DataError: nothing there, or damaged; names file and line, and the field where it is one field's value that
        cannot be read.
    """
    if path.startswith("tfds:"):
        for record in _tfds(path.removeprefix("tfds:")):
            yield from _good(record, bad)
        return
    found = dataset_files.find(path, config, named)
    if found.left_out:
        more = " and others" if len(found.left_out) > 3 else ""
        note("files", f"of another kind than the data, and not read: {', '.join(found.left_out[:3])}{more}")
    for file, split in found.files:
        for record in _file(file, split, delimiter):
            yield from _good(record, bad)


def look(path: str, *, config: str = "", delimiter: str = "", named: bool = True) -> Look:
    """Read a bounded part of a dataset of files.

    Raises:
      DataError: as `records`, for that part.
    """
    # A program may name one file many times, and each time is looked at more than once.
    stat = os.stat(path) if os.path.isfile(path) else None
    seen = _look if stat is None else _remembered
    return seen(path, config, delimiter, named, stat and (stat.st_mtime_ns, stat.st_size))


def _look(path: str, config: str, delimiter: str, named: bool, version: tuple[int, int] | None) -> Look:
    files = dataset_files.find(path, config, named).files
    chosen = files if len(files) <= _LOOK_FILES else [*files[: _LOOK_FILES - 1], files[-1]]
    found: list[Record] = []
    bad: list[DataError] = []
    whole = len(chosen) == len(files)
    for file, split in chosen:
        rows, chars = _file(file, split, delimiter), 0
        for record in itertools.islice(rows, max(1, LOOK // len(chosen))):
            found += _good(record, bad.append)
            chars += 0 if isinstance(record, DataError) else len(str(record.fields))
            if chars > _LOOK_CHARS:
                break
        if next(rows, None) is not None:
            whole = False
            last = text_files.last_row(file)
            if last is not None:
                where = f"{file}: last line"
                found += _good(last if isinstance(last, DataError) else _record(where, split, last), bad.append)
    return Look(found, bad, whole, frozenset(split for _, split in files))


def rows_within(found: Sequence[Record]) -> str:
    """The field in which JSON files that are one object each hold what are rows; "" where they are not such."""
    files = [record.where.rpartition(":")[0] for record in found]
    if not files or len(set(files)) < len(files) or {dataset_files.kind_of(file) for file in files} != {"json"}:
        return ""
    return next((name for name in found[0].fields if all(_holds_rows(record.fields.get(name)) for record in found)), "")


def _holds_rows(value: Any) -> bool:
    """True if a value is a list of objects, and not of messages, which a row may hold."""
    listed = isinstance(value, list) and len(value) > 0
    return listed and all(isinstance(each, dict) and not {"role", "from"} & set(each) for each in value)


_remembered = functools.lru_cache(maxsize=4)(_look)


def _good(record: Record | DataError, bad: Callable[[DataError], Any]) -> Iterator[Record]:
    if isinstance(record, DataError):
        bad(record)
    else:
        yield record


def _file(file: Path, split: str | None, delimiter: str) -> Iterator[Record | DataError]:
    """Every record of one file; in place of a malformed one, what is wrong with it."""
    binary, line = dataset_files.kind_of(file.name) in ("parquet", "arrow"), 0
    try:
        for line, fields in arrow_files.rows(file) if binary else text_files.rows(file, delimiter):
            yield fields if isinstance(fields, DataError) else _record(f"{file}:{line}", split, fields)
    except _DAMAGE as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise DataError(f"{file}: cannot be read beyond row {line} ({reason})", "write the file again") from error


def prepared(directory: str) -> None:
    """Refuse a folder that is not a prepared TFDS dataset, or has features of classes that are not TFDS's own.

    TFDS imports any module that a feature names as that of its class, which would run code that came with the data.

    Raises:
      DataError: it is one of these; the text says why.
    """
    folder = Path(directory)
    if not os.path.isfile(folder / "dataset_info.json"):
        raise DataError(
            f"{directory}: not a prepared TFDS dataset, it has no dataset_info.json",
            "name the version folder, such as tfds:/data/my_dataset/1.0.0",
        )
    for file in sorted(folder.glob("*features.json")):
        try:
            features = json.loads(file.read_text(encoding="utf-8"))
            foreign = sorted(name for name in _classes(features) if not name.startswith("tensorflow_datasets."))
        except (OSError, ValueError, RecursionError) as error:
            raise DataError(f"{file}: cannot be read ({error})", "prepare the dataset again") from error
        if foreign:
            message = f"{file}: names the class {foreign[0]!r}, which is not one of TFDS and would be imported"
            raise DataError(message, "save the rows as Parquet or JSON lines, and read these")


def _classes(features: Any) -> Iterator[str]:
    """Every name of a class in the description of features, whose older form has "type" and "content"."""
    if isinstance(features, list):
        for item in features:
            yield from _classes(item)
    if isinstance(features, dict):
        for key, value in features.items():
            legacy = key == "type" and "content" in features
            if isinstance(value, str) and (legacy or key.lower().replace("_", "") in ("pythonclassname", "protocls")):
                yield value
            elif isinstance(value, str) and key in ("json", "content"):
                yield from _classes(json.loads(value))  # a description as text within another
            else:
                yield from _classes(value)


def _tfds(directory: str) -> Iterator[Record | DataError]:
    prepared(directory)
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder_from_directory(directory)
        for split in builder.info.splits:
            name = dataset_files.canonical(split)
            for number, example in enumerate(builder.as_data_source(split), 1):
                yield _record(f"{directory}[{split}]:{number}", name, _narrow(example))
    except (*_DAMAGE, KeyError, TypeError, AttributeError, RuntimeError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise DataError(f"{directory}: cannot be read ({reason})", "prepare the dataset again") from error


def _narrow(example: dict[str, Any]) -> dict[str, Any]:
    """An example with its numbers in the precision in which TFDS stores all of them."""
    import numpy as np

    return {name: np.float32(value) if isinstance(value, float) else value for name, value in example.items()}


def _record(where: str, split: str | None, fields: dict[str, Any]) -> Record | DataError:
    """A record with its fields as JSON values, or which of them cannot be said so."""
    plain = {}
    for field, value in fields.items():
        try:
            plain[_plain(field)] = _plain(value)
        except (UnicodeEncodeError, RecursionError) as error:
            wrong = "nested too deeply" if isinstance(error, RecursionError) else "holds half of a surrogate pair"
            return DataError(f"{where}: field `{field}`: {wrong}", "repair the row")
    return Record(where, split, plain)


def _plain(value: Any) -> Any:
    """A value as JSON has it.

    Raises:
      UnicodeEncodeError: a text that cannot be written as UTF-8.
    """
    if isinstance(value, str):
        value.encode()
        return value
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return None
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):  # NumPy's arrays and numbers
        # The shortest decimal that a number of few bits stands for: 0.4, and not the 0.4000000059604645 next to it.
        return _plain(float(str(value)) if value.dtype.kind == "f" and not value.ndim else value.tolist())
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
