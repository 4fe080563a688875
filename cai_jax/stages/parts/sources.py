"""What the sources of rows share: parameters, splits, and the check that their data is there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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


def lineage(call: Call) -> frozenset[str]:
    """What lineage calls a source: its absolute path, or its name with a scheme."""
    return frozenset({call.resolve(call.values["path"])})


def splits_of(call: Call) -> frozenset[str] | None:
    """The splits that a source has; None where only reading every row would tell."""
    from cai_jax.data.sources import splits

    path = call.resolve(call.values["path"])
    if path.startswith("builtin:"):
        return frozenset({"train", "test"})
    try:
        return splits(on_disk(path), split=call.values["split"], test=call.values["test"])
    except UserError:
        return None


def rows_of(call: Call, builtin: Mapping[str, int], splits: Iterable[str] | None) -> Mapping[str, int] | None:
    """Rows of each split, at most; None where neither `limit` nor `builtin`, the sizes of built-in data, tells."""
    limit = call.values["limit"]
    if call.values["path"].startswith("builtin:"):
        return {split: min(size, limit or size) for split, size in builtin.items()}
    return dict.fromkeys(splits, limit) if limit and splits else None


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


def columns_missing(call: Call, options: Sequence[str], usual: Iterable[set[str]]) -> Iterable[Problem]:
    """Problems where the first row of a dataset that is here has not the columns that are read.

    Args:
      call: of the source.
      options: parameters that name columns, `split` apart.
      usual: sets of columns, in lower case, of which one must be there where no option names any.
    """
    from cai_jax.data.readers import records
    from cai_jax.lang.diagnostics import did_you_mean, listed

    path = call.resolve(call.values["path"])
    try:
        row = None if path.startswith(("builtin:", "tfds:")) else next(records(on_disk(path)), None)
    except UserError:
        row = None  # reading it tells what is wrong with it
    if row is None:
        return
    have = listed(row.fields, "and") if row.fields else "none"
    named = {option: call.values[option] for option in options if call.values[option]}
    if call.values.get("split", SPLIT_COLUMN.default) != SPLIT_COLUMN.default:
        named["split"] = call.values["split"]
    for option, name in named.items():
        if name not in row.fields:
            hint = f"{did_you_mean(name, row.fields)} its columns are {have}".lstrip()
            yield Problem("E224", option, f"the data has no column `{name}`", "no such column", hint)
    if not set(named) - {"split"} and not any(each <= {name.lower() for name in row.fields} for each in usual):
        hint = f"its columns are {have}; say which by {listed(options)}"
        yield Problem("E224", "path", "the data has none of the columns that are looked for", "holds what?", hint)
