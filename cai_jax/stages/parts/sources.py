"""What the sources of rows share: parameters, splits, and the check that their data is there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from cai_jax.lang.types import Call, Param, Problem

SPLIT_COLUMN = Param("split", "The column that names the split, where there is one.", value="str", default="split")
COLUMN_TEST = Param(
    "test",
    "Where nothing names a split: the fraction of prompts, by a hash of their text, that becomes `test`.",
    value="float",
    default=0.2,
    low=0,
    high=1,
    unit="fraction",
)
LIMIT = Param("limit", "Only the first rows of every split; 0 takes all.", value="int", default=0, low=0, unit="rows")


def name_of(path: str) -> str:
    """What lineage calls a source."""
    return path if ":" in path else Path(path).name


def splits_of(call: Call) -> frozenset[str]:
    """The splits that a source has, as far as it can be told without reading every row."""
    from cai_jax.data.rows import DataError
    from cai_jax.data.sources import splits

    path = call.resolve(call.values["path"])
    if path.startswith(("builtin:", "tfds:")):
        return frozenset({"train", "test"})
    try:
        return splits(path, split=call.values["split"], test=call.values["test"])
    except (DataError, OSError):
        return frozenset({"train", "test"})


def missing(call: Call, builtin: Sequence[str]) -> Iterable[Problem]:
    """Problems where the data named by `path` is not there, or cannot be read."""
    path = call.resolve(call.values["path"])
    scheme, _, name = path.partition(":")
    if scheme == "builtin":
        if name not in builtin:
            known = ", ".join(f'"builtin:{each}"' for each in builtin)
            yield Problem("E221", "path", f"there is no built-in data {name!r}", hint=f"there is {known}")
    elif scheme == "hf":
        yield Problem(
            "E221",
            "path",
            "datasets are read from disk, never from a hub",
            hint="download it, and give the folder",
        )
    elif not Path(name if scheme == "tfds" else path).exists():
        yield Problem("E221", "path", f"there is no file or folder {path}", hint="paths are relative to the program")
