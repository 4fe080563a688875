"""Rows of Parquet and Arrow files, validated as a whole before any value is read.

A damaged file can hold offsets that point anywhere, and Arrow follows them. So every batch is validated in full first,
and files are read rather than mapped: reading a page that does not exist would end the process.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from cai_jax.data.rows import DataError

_ROWS = 1024  # made into Python values at a time, so that a look at the first rows is quick
_UNHELD = (ValueError, ArithmeticError, NotImplementedError)  # what pyarrow raises of a value that Python cannot hold


def rows(file: Path) -> Iterator[tuple[int, dict[str, Any] | DataError]]:
    """(number from 1, row) for every row; in place of one with a value that cannot be read, what is wrong with it.

    Raises:
      ValueError: the file is damaged, or not what its name says.
    """
    import pyarrow as pa

    number = 0
    try:
        for batch in _batches(pa, file):
            _validate(pa, batch)
            for start in range(0, batch.num_rows, _ROWS):
                part = batch.slice(start, _ROWS)
                columns = [_values(pa, column) for column in part.columns]
                for cells in zip(*columns, strict=True) if columns else ():
                    number += 1
                    yield number, _row(f"{file}:{number}", batch.schema.names, cells)
    except (pa.ArrowException, KeyError, TypeError, ArithmeticError) as error:
        raise ValueError(str(error)) from error


def _batches(pa: ModuleType, file: Path) -> Iterator[Any]:
    """Record batches; of an .arrow file by the stream format that `datasets` writes, or by the file format."""
    if file.suffix.lower() == ".parquet":
        import pyarrow.parquet as pq

        with pq.ParquetFile(file) as parquet:
            yield from parquet.iter_batches(batch_size=_ROWS)
        return
    with pa.OSFile(str(file)) as source:
        if source.read(6) == b"ARROW1":
            reader = pa.ipc.open_file(source)
            yield from (reader.get_batch(i) for i in range(reader.num_record_batches))
        else:
            source.seek(0)
            yield from pa.ipc.open_stream(source)


def _validate(pa: ModuleType, batch: Any) -> None:
    batch.validate()
    for column in batch.columns:
        # As bytes, since text that is no UTF-8 belongs to its row, and cannot do harm.
        wide = {pa.string(): pa.binary(), pa.large_string(): pa.large_binary()}.get(column.type)
        (column.view(wide) if wide else column).validate(full=True)


def _values(pa: ModuleType, column: Any) -> list[Any]:
    """A column's values; in place of one that Python cannot hold, the error.

    Numbers of less than Python's precision are NumPy's, which keep theirs; missing ones are NaN, no number either.
    """
    if column.type in (pa.float16(), pa.float32()):
        return list(column.to_numpy(zero_copy_only=False))
    try:
        return column.to_pylist()
    except _UNHELD:
        return [_value_or_error(pa, scalar) for scalar in column]


def _value_or_error(pa: ModuleType, scalar: Any) -> Any:
    try:
        return _value(pa, scalar)
    except _UNHELD as error:
        return error


def _value(pa: ModuleType, scalar: Any) -> Any:
    """A value, taken apart where Python cannot hold a time in it."""
    try:
        return scalar.as_py()
    except _UNHELD:
        if isinstance(scalar, pa.StructScalar) and len(set(scalar)) == len(scalar):
            return {name: _value(pa, scalar[name]) for name in scalar}
        if isinstance(getattr(scalar, "values", None), pa.Array):  # of a list of any kind
            items = [_value(pa, each) for each in scalar.values]
            return [tuple(each.values()) for each in items] if isinstance(scalar, pa.MapScalar) else items
        if isinstance(getattr(scalar, "value", None), pa.Scalar):  # of a dictionary, a union and the like
            return _value(pa, scalar.value)
        if pa.types.is_decimal(scalar.type):
            raise ValueError(f"the scale of {scalar.type} is out of range") from None
        if not pa.types.is_temporal(scalar.type):
            raise
        return _time(pa, scalar)


def _time(pa: ModuleType, scalar: Any) -> Any:
    """A time without its nanoseconds; in UTC if its own zone cannot be had; as text if Python's years end before."""
    tries, finest = [], getattr(scalar.type, "unit", "") == "ns"
    if pa.types.is_timestamp(scalar.type):
        unit = "us" if finest else scalar.type.unit
        tries = [pa.timestamp(unit, scalar.type.tz), pa.timestamp(unit, scalar.type.tz and "UTC")]
    elif finest:
        tries = [pa.duration("us") if pa.types.is_duration(scalar.type) else pa.time64("us")]
    for each in tries:
        try:
            return scalar.cast(each, safe=False).as_py()
        except _UNHELD:
            continue
    return scalar.cast(pa.string()).as_py()


def _row(where: str, names: list[str], cells: tuple) -> dict[str, Any] | DataError:
    for name, value in zip(names, cells, strict=True):
        if isinstance(value, Exception):
            return DataError(f"{where}: field `{name}`: cannot be read ({value})", "repair the row")
    return dict(zip(names, cells, strict=True))
