"""The safetensors files of a folder, read by offset and written tensor by tensor.

A file is eight bytes of length, that many bytes of JSON (name -> dtype, shape, offsets), and the data. Reading by
offset instead of through a memory map counts no page twice, and fetches nothing of the tensors' other parts.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

from cai_jax.models.config import read_json
from cai_jax.models.errors import ModelError

_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
_DTYPES = {
    "F64": np.dtype("float64"),
    "F32": np.dtype("float32"),
    "F16": np.dtype("float16"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
}
_CHUNK = 4 << 20  # bytes read at a time
_SHARD = 5 * 10**9  # bytes of the largest file written, as transformers has it

Runs = Sequence[slice]


@dataclass(frozen=True)
class Tensor:
    """A tensor in a file: its data begin at byte `offset`. The dtype is the file's word for it."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    offset: int

    def chunks(self, rows: Runs, columns: slice) -> Iterator[tuple[int, np.ndarray]]:
        """The tensor's rows in these runs, cut to `columns`, a few MB at a time: (how many went before, `[r, c]`).

        A vector is a column. Raises ModelError if its numbers are of another kind than we read, or missing.
        """
        if self.dtype not in _DTYPES:
            raise ModelError(
                f"{self.file} stores weights as {self.dtype}; take the model's unquantised weights, stored as one of "
                f"{', '.join(_DTYPES)}"
            )
        dtype = _DTYPES[self.dtype]
        total = math.prod(self.shape[1:])
        width = columns.stop - columns.start
        most = max(1, _CHUNK // (max(width, 1) * dtype.itemsize))
        done = 0
        with self.file.open("rb", buffering=0) as file:
            for run in rows:
                for first in range(run.start, run.stop, most):
                    chunk = np.empty((min(most, run.stop - first), width), dtype)
                    # Whole rows follow each other in the file; parts of rows are read one by one.
                    pieces = [chunk] if width == total else chunk
                    for number, piece in enumerate(pieces):
                        place = (first + number) * total + columns.start
                        _read(file, self.offset + place * dtype.itemsize, piece)
                    yield done, chunk
                    done += len(chunk)

    def whole(self) -> np.ndarray:
        """All of a matrix that has rows; raises as `chunks`."""
        rows, columns = self.shape
        return np.concatenate([chunk for _, chunk in self.chunks([slice(0, rows)], slice(0, columns))])


def tensors(folder: Path) -> dict[str, Tensor]:
    """All tensors of a folder's safetensors file, or of its shards; only the headers are read.

    Raises ModelError, with the cure, if a file is missing, cut off or damaged.
    """
    if (folder / _WEIGHTS).exists():
        names = [_WEIGHTS]
    elif (folder / _INDEX).exists():
        names = sorted(set(read_json(folder / _INDEX).get("weight_map", {}).values()))
    else:
        raise ModelError(
            f"{folder / _WEIGHTS} does not exist; weights in another format (.bin, .pt) are converted with "
            "transformers' save_pretrained"
        )
    found: dict[str, Tensor] = {}
    for name in names:
        found |= header(folder / name)
    return found


@dataclass(frozen=True)
class Written:
    """A tensor to be written; `make` brings it to the host, C-contiguous, when its turn comes."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    make: Callable[[], np.ndarray]

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def write(folder: Path, written: Sequence[Written], most: int = _SHARD) -> None:
    """Write one file, or shards of at most `most` bytes with their index, one tensor on the host at a time."""
    for old in folder.glob("model*.safetensors*"):
        old.unlink()
    shards: list[list[Written]] = [[]]
    for tensor in written:
        if shards[-1] and sum(each.bytes for each in shards[-1]) + tensor.bytes > most:
            shards.append([])
        shards[-1].append(tensor)
    if len(shards) == 1:
        write_file(folder / _WEIGHTS, written)
        return
    places: dict[str, str] = {}
    for number, shard in enumerate(shards, start=1):
        name = f"model-{number:05}-of-{len(shards):05}.safetensors"
        write_file(folder / name, shard)
        places |= {tensor.name: name for tensor in shard}
    index = {"metadata": {"total_size": sum(tensor.bytes for tensor in written)}, "weight_map": places}
    (folder / _INDEX).write_text(json.dumps(index, indent=2) + "\n", "utf-8")


def header(file: Path) -> dict[str, Tensor]:
    """The tensors of one file; raises ModelError, with the cure, if it is missing, cut off or damaged."""
    try:
        with file.open("rb") as opened:
            size = int.from_bytes(opened.read(8), "little")
            actual = opened.seek(0, 2)
            if not 0 < size <= actual - 8:
                raise ModelError(f"{file} is cut off or damaged; fetch it again")
            opened.seek(8)
            entries = json.loads(opened.read(size))
        found = {
            name: Tensor(file, entry["dtype"], tuple(entry["shape"]), 8 + size + entry["data_offsets"][0])
            for name, entry in entries.items()
            if name != "__metadata__"
        }
        end = max((entry["data_offsets"][1] for name, entry in entries.items() if name != "__metadata__"), default=0)
    except FileNotFoundError:
        raise ModelError(f"{file} does not exist, but {_INDEX} lists it; fetch it") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"{file} is cut off or damaged (its header cannot be read); fetch it again") from None
    if 8 + size + end > actual:
        raise ModelError(f"{file} is cut off: {8 + size + end - actual} bytes are missing; fetch it again")
    return found


def _read(file: BinaryIO, offset: int, into: np.ndarray) -> None:
    file.seek(offset)
    # As bytes, because bfloat16 has no buffer of its own.
    left = memoryview(into.reshape(-1).view(np.uint8))
    while left:
        count = file.readinto(left)
        if not count:
            raise ModelError(f"{file.name} is cut off or damaged; fetch it again")
        left = left[count:]


def write_file(file: Path, written: Sequence[Written]) -> None:
    """Write one file, one tensor on the host at a time."""
    words = {dtype: word for word, dtype in _DTYPES.items()}
    header: dict[str, Mapping[str, Any]] = {"__metadata__": {"format": "pt"}}
    end = 0
    for tensor in written:
        place = [end, end := end + tensor.bytes]
        header[tensor.name] = {"dtype": words[tensor.dtype], "shape": tensor.shape, "data_offsets": place}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # data are aligned
    with file.open("wb") as opened:
        opened.write(len(text).to_bytes(8, "little"))
        opened.write(text)
        for tensor in written:
            opened.write(tensor.make().reshape(-1).view(np.uint8).data)
