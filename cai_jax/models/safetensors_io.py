"""The safetensors files of a folder, read by the safetensors library and written tensor by tensor.

A file is eight bytes of length, that many bytes of JSON (name -> dtype, shape, offsets), and the data. The library
decides whether a file is valid; it has no way to write one tensor at a time.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open

from cai_jax.models.config import read_json
from cai_jax.models.errors import ModelError

_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
_DTYPES = {
    "F64": np.dtype("float64"),
    "F32": np.dtype("float32"),
    "F16": np.dtype("float16"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
}
_CHUNK = 4 << 20  # bytes of a file that are mapped at a time
_HEADER = 10**8  # bytes of the longest header that the library takes
_SHARD = 5 * 10**9  # bytes of the largest file written, as transformers has it

Runs = Sequence[slice]


@dataclass(frozen=True)
class Tensor:
    """A tensor in a file. `dtype` is the file's own name of it, such as "BF16"."""

    file: Path
    name: str
    dtype: str
    shape: tuple[int, ...]

    def chunks(self, rows: Runs, columns: slice) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the tensor's rows in these runs, cut to `columns`, a few MB at a time: (rows yielded before, `[r, c]`).

        A vector is a column.

        Raises:
          ModelError: its numbers are of a dtype that we do not read, or cannot be read.
        """
        if self.dtype not in _DTYPES:
            raise ModelError(
                f"{self.file} stores {self.name} as {self.dtype}; take the model's unquantised weights, stored as one "
                f"of {', '.join(_DTYPES)}"
            )
        most = max(1, _CHUNK // max(1, math.prod(self.shape[1:]) * _DTYPES[self.dtype].itemsize))
        done = 0
        for run in rows:
            for first in range(run.start, run.stop, most):
                chunk = _part(self, slice(first, min(first + most, run.stop)), columns)
                yield done, chunk
                done += len(chunk)

    def whole(self) -> np.ndarray:
        """Return all of a matrix that has rows; raises as `chunks`."""
        rows, columns = self.shape
        return np.concatenate([chunk for _, chunk in self.chunks([slice(0, rows)], slice(0, columns))])


def tensors(folder: Path) -> dict[str, Tensor]:
    """Return all tensors of a folder's safetensors file, or of its shards; only the headers are read.

    Raises:
      ModelError: with the cure, if a file is missing, truncated or damaged, or is in another folder.
    """
    if (folder / _WEIGHTS).exists():
        return header(folder / _WEIGHTS)
    if not (folder / _INDEX).exists():
        raise ModelError(
            f"{folder / _WEIGHTS} does not exist; weights in another format (.bin, .pt) are converted with "
            "transformers' save_pretrained"
        )
    found: dict[str, Tensor] = {}
    for name in _shards(folder / _INDEX):
        more = header(folder / name)
        twice = found.keys() & more.keys()
        if twice:
            first = min(twice)
            raise ModelError(f"{found[first].file} and {name} both hold {first}; fetch them again")
        found |= more
    return found


def _shards(index: Path) -> list[str]:
    """Return the files that an index names; only those of its own folder, which alone belong to the model."""
    places = read_json(index).get("weight_map")
    names = set(places.values()) if isinstance(places, Mapping) and all(map(_text, places.values())) else set()
    if not names:
        raise ModelError(f"{index} has no weight_map from tensors to files; fetch it again")
    for name in sorted(names):
        if Path(name).name != name or name in ("", "..") or "\0" in name:
            raise ModelError(
                f"{index} names the file {name!r}, which is not in its folder; put it there, and name it so"
            )
        if not (index.parent / name).exists():
            raise ModelError(f"{index.parent / name} does not exist, but {_INDEX} lists it; fetch it")
    return sorted(names)


def _text(value: Any) -> bool:
    return isinstance(value, str)


def header(file: Path) -> dict[str, Tensor]:
    """The tensors of one file, by name; raises ModelError, with the cure, if the safetensors library refuses it."""
    with _opened(file) as opened:
        slices = {name: opened.get_slice(name) for name in opened.keys()}
        return {name: Tensor(file, name, part.get_dtype(), tuple(part.get_shape())) for name, part in slices.items()}


def _part(tensor: Tensor, rows: slice, columns: slice) -> np.ndarray:
    """Return some rows and columns `[r, c]` of a matrix; a vector is a column."""
    # Opened for each part: pages of a file that stays mapped count as this process's memory.
    with _opened(tensor.file) as opened:
        found = opened.get_slice(tensor.name)
        return found[rows][:, None] if len(tensor.shape) == 1 else found[rows, columns]


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    if not file.is_file():  # of a pipe or a device there is no end
        raise ModelError(f"{file} is no regular file; fetch the model again")
    try:
        with safe_open(file, framework="np") as opened:
            yield opened
    except (SafetensorError, OSError) as error:
        culprit = _culprit(file)
        where = f", at {culprit}" if culprit and culprit not in str(error) else ""
        raise ModelError(f"{file} is cut off or damaged ({error}{where}); fetch it again") from None


def _culprit(file: Path) -> str:
    """Return the tensor whose entry in a refused header contradicts itself; "" where none does."""
    name = ""
    try:
        with file.open("rb") as opened:
            entries = json.loads(opened.read(min(int.from_bytes(opened.read(8), "little"), _HEADER)))
        entries.pop("__metadata__", None)
        for name, entry in entries.items():
            first, last = entry["data_offsets"]
            size = math.prod(entry["shape"]) * _DTYPES.get(entry["dtype"], np.dtype("int8")).itemsize
            if not 0 <= first <= last or (entry["dtype"] in _DTYPES and last - first != size):
                return name
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return name
    return ""


@dataclass(frozen=True)
class Written:
    """A tensor to be written; `make` brings it to the host, C-contiguous, when it is written."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    make: Callable[[], np.ndarray]

    @property
    def bytes(self) -> int:
        """Size in the file."""
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
