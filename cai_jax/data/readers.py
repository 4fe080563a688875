"""Raw records out of files: JSON lines, parquet, Hugging Face dataset folders, prepared TFDS datasets."""

from __future__ import annotations

import gzip
import json
import math
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from cai_jax.data.rows import DataError

_SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet", ".arrow")
_SPLIT_NAMES = {name: name for name in ("train", "test", "validation")}
_SPLIT_NAMES |= {"valid": "validation", "val": "validation"}
# What reading a cut off or damaged file raises, whatever its format.
_DAMAGE = (OSError, EOFError, ValueError, NotImplementedError, RecursionError, zlib.error)


class Record(NamedTuple):
    """One record: where ("file:line"), the split that its file is named after, and its fields as JSON values."""

    where: str
    split: str | None
    fields: dict[str, Any]


def records(path: str) -> Iterator[Record]:
    """Every record of a dataset, in a fixed order.

    Fields become JSON values: bytes text, dates text in ISO format, arrays lists. What JSON cannot say (bytes that
    are not text, numbers that are not finite) becomes null.

    Args:
      path: a .jsonl, .jsonl.gz, .parquet or .arrow file; a folder of such files (a Hugging Face dataset
        directory, as saved by `save_to_disk` or as downloaded); or "tfds:" and a prepared TFDS dataset's
        version folder.

    Raises:
      DataError: nothing there, damaged, or a record that is not an object; names file and line, and the field
        where it is one field's value that cannot be read.
    """
    if path.startswith("tfds:"):
        yield from _tfds(path.removeprefix("tfds:"))
        return
    for file, split in files(path):
        reader, line = _json_lines if ".jsonl" in file.name else _tables, 0
        try:
            for line, fields in reader(file):
                yield _record(f"{file}:{line}", split, fields)
        except _DAMAGE as error:
            reason = str(error).partition("\n")[0] or type(error).__name__
            raise DataError(f"{file}: cannot be read beyond row {line} ({reason})", "write the file again") from error


def files(path: str) -> list[tuple[Path, str | None]]:
    """The data files behind `path` in order, each with the split that it is named after.

    A file given by itself has no split, whatever its name.
    """
    root = Path(path)
    if root.is_file():
        if not root.name.endswith(_SUFFIXES):
            raise DataError(f"{root}: not a kind of file that is read", f"use one of {', '.join(_SUFFIXES)}")
        return [(root, None)]
    if not root.is_dir():
        raise DataError(f"{root}: no such file or directory", "a path is taken beside the program")
    found = sorted(file for file in root.rglob("*") if _is_data(file.relative_to(root)))
    if not found:
        raise DataError(f"{root}: holds no dataset files", f"expected files ending in {', '.join(_SUFFIXES)}")
    return [(file, _split_of(file.relative_to(root))) for file in found]


def _is_data(relative: Path) -> bool:
    # save_to_disk leaves caches of `map` beside the data; they are no part of it.
    hidden = any(part.startswith((".", "cache-")) for part in relative.parts)
    return relative.name.endswith(_SUFFIXES) and not hidden


def _split_of(relative: Path) -> str | None:
    """From "train-00000-of-00002.parquet", "test.jsonl.gz" or "train/data-00000-of-00001.arrow"."""
    for part in reversed(relative.parts):
        name = re.split(r"[-_.]", part)[0].lower()
        if name in _SPLIT_NAMES:
            return _SPLIT_NAMES[name]
    return None


def _json_lines(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    opened = gzip.open(file, "rb") if file.name.endswith(".gz") else open(file, "rb")
    with opened as stream:
        for number, line in enumerate(stream, 1):
            if line.strip():
                yield number, _json_object(line.strip(), f"{file}:{number}", "utf-8-sig" if number == 1 else "utf-8")


def _json_object(line: bytes, where: str, encoding: str) -> dict[str, Any]:
    try:
        value = json.loads(line.decode(encoding))
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: not UTF-8 ({error.reason})", "save the file as UTF-8") from error
    except json.JSONDecodeError as error:
        message = f"{where}: not JSON ({error.msg} at column {error.colno})"
        raise DataError(message, "each line must be one JSON object") from error
    except RecursionError as error:
        raise DataError(f"{where}: nested too deeply", "each line must be one JSON object") from error
    if not isinstance(value, dict):
        raise DataError(f"{where}: not a JSON object", "each line must be one object, {…}")
    return value


def _tables(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    batches = pq.ParquetFile(file).iter_batches() if file.suffix == ".parquet" else _arrow_batches(pa, file)
    number = 0
    for batch in batches:
        for row in range(batch.num_rows):
            number += 1
            cells = zip(batch.schema.names, batch.columns, strict=True)
            yield number, {name: _cell(column[row], f"{file}:{number}", name) for name, column in cells}


def _cell(scalar: Any, where: str, field: str) -> Any:
    """A pyarrow scalar as a Python value."""
    try:
        return scalar.as_py()
    except ValueError as error:
        raise DataError(f"{where}: field `{field}`: cannot be read ({error})", "repair the row") from error


def _arrow_batches(pa, file: Path) -> Iterator:
    """Record batches of an .arrow file: the stream format that `datasets` writes, else the file format."""
    source = pa.memory_map(str(file))
    try:
        yield from pa.ipc.open_stream(source)
    except pa.ArrowInvalid:
        source.seek(0)
        reader = pa.ipc.open_file(source)
        yield from (reader.get_batch(i) for i in range(reader.num_record_batches))


def _tfds(directory: str) -> Iterator[Record]:
    if not Path(directory, "dataset_info.json").is_file():
        raise DataError(
            f"{directory}: not a prepared TFDS dataset, it has no dataset_info.json",
            "name the version folder, such as tfds:/data/my_dataset/1.0.0",
        )
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(directory)
    for split in builder.info.splits:
        name = re.split(r"[-_.]", split)[0].lower()
        for number, example in enumerate(builder.as_data_source(split), 1):
            yield _record(f"{directory}[{split}]:{number}", _SPLIT_NAMES.get(name, split), example)


def _record(where: str, split: str | None, fields: dict[str, Any]) -> Record:
    """A record with its fields as JSON values."""
    plain = {}
    for field, value in fields.items():
        try:
            plain[_plain(field)] = _plain(value)
        except (UnicodeEncodeError, RecursionError) as error:
            wrong = "nested too deeply" if isinstance(error, RecursionError) else "holds half of a surrogate pair"
            raise DataError(f"{where}: field `{field}`: {wrong}", "repair the row") from error
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
        return _plain(value.tolist())
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
