"""Raw records out of files: JSON lines, parquet, Hugging Face dataset folders, prepared TFDS datasets."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from cai_jax.data.rows import DataError

_SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet", ".arrow")
_SPLIT_NAMES = {name: name for name in ("train", "test", "validation")}
_SPLIT_NAMES |= {"valid": "validation", "val": "validation"}


class Record(NamedTuple):
    """One record as its file has it: where ("file:line"), the split that the file is named after, its fields."""

    where: str
    split: str | None
    fields: dict[str, Any]


def records(path: str) -> Iterator[Record]:
    """Every record of a dataset, in a fixed order.

    Args:
      path: a .jsonl, .jsonl.gz, .parquet or .arrow file; a folder of such files (a Hugging Face dataset
        directory, as saved by `save_to_disk` or as downloaded); or "tfds:" and a prepared TFDS dataset's
        version folder.

    Raises:
      DataError: nothing there, not readable, or a record that is not an object.
    """
    if path.startswith("tfds:"):
        yield from _tfds(path.removeprefix("tfds:"))
        return
    for file, split in files(path):
        reader = _json_lines if ".jsonl" in file.name else _tables
        for line, fields in reader(file):
            yield Record(f"{file}:{line}", split, fields)


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


def columns(path: str) -> tuple[str, ...]:
    """Field names of the first record (of the schema, where the format has one); reads no further."""
    for record in records(path):
        return tuple(record.fields)
    raise DataError(f"{path}: holds no rows", "give a dataset with at least one row")


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
            if not line.strip():
                continue
            try:
                value = json.loads(line.strip().decode("utf-8-sig" if number == 1 else "utf-8"))
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{file}:{number}: not UTF-8 ({error.reason})", "save the file as UTF-8"
                ) from error
            except json.JSONDecodeError as error:
                raise DataError(
                    f"{file}:{number}: not JSON ({error.msg} at column {error.colno})",
                    "each line must be one JSON object",
                ) from error
            if not isinstance(value, dict):
                raise DataError(f"{file}:{number}: not a JSON object", "each line must be one object, {…}")
            yield number, value


def _tables(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if file.suffix == ".parquet":
            batches = pq.ParquetFile(file).iter_batches()
        else:
            batches = _arrow_batches(pa, file)
        number = 0
        for batch in batches:
            for fields in batch.to_pylist():
                number += 1
                yield number, fields
    except pa.ArrowInvalid as error:
        reason = str(error).splitlines()[0]
        raise DataError(
            f"{file}: not a readable {file.suffix} file ({reason})", "write the file again"
        ) from error


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
        for number, example in enumerate(builder.as_data_source(split), 1):
            where = f"{directory}[{split}]:{number}"
            name = re.split(r"[-_.]", split)[0].lower()
            fields = {field: _plain(value, where, field) for field, value in example.items()}
            yield Record(where, _SPLIT_NAMES.get(name, split), fields)


def _plain(value: Any, where: str, field: str) -> Any:
    """A TFDS value as JSON: bytes become text, arrays lists, NumPy numbers Python's."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            raise DataError(f"{where}: field `{field}`: not UTF-8 text", "choose a text column") from error
    if isinstance(value, dict):
        return {key: _plain(item, where, field) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, where, field) for item in value]
    if hasattr(value, "tolist"):
        plain = value.tolist()
        return plain if isinstance(plain, (int, float, bool, str)) else _plain(plain, where, field)
    return value
