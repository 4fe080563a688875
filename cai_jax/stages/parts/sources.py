"""What the sources of rows share: parameters, splits, and the check that their data is there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from cai_jax.data.hub import snapshot
from cai_jax.errors import UserError
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
    from cai_jax.data.sources import splits

    path = call.resolve(call.values["path"])
    if path.startswith(("builtin:", "tfds:")):
        return frozenset({"train", "test"})
    try:
        return splits(on_disk(path), split=call.values["split"], test=call.values["test"])
    except (UserError, OSError):
        return frozenset({"train", "test"})


def on_disk(path: str) -> str:
    """Where the data named by `path` lies: of "hf:org/name" the folder in the local cache, else `path` itself.

    Raises:
      UserError: it is not in the local cache.
    """
    if not path.startswith("hf:"):
        return path
    found = snapshot("datasets", path.removeprefix("hf:"))
    if found is None:
        raise UserError(f"the dataset {path} is not on this machine", "fetch it into the local Hugging Face cache")
    return str(found)


def missing(call: Call, builtin: Sequence[str]) -> Iterable[Problem]:
    """Problems where the data named by `path` is not there, or cannot be read."""
    path = call.resolve(call.values["path"])
    scheme, _, name = path.partition(":")
    if scheme == "builtin":
        if name not in builtin:
            known = ", ".join(f'"builtin:{each}"' for each in builtin)
            yield Problem("E221", "path", f"there is no built-in data {name!r}", hint=f"there is {known}")
    elif scheme == "hf":
        if snapshot("datasets", name) is None:
            yield Problem(
                "W301",
                "path",
                f"the dataset {name} is not in the local Hugging Face cache",
                hint="fetch it before the run, for example with `hf download --repo-type dataset`",
                warning=True,
            )
    elif not Path(name if scheme == "tfds" else path).exists():
        yield Problem("E221", "path", f"there is no file or folder {path}", hint="paths are relative to the program")
