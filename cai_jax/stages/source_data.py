"""Common parts of the sources of rows: parameters, splits, and the check that their data can be read."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypedDict

from cai_jax.data.hf_cache import on_disk, snapshot
from cai_jax.data.row_columns import Row
from cai_jax.errors import UserError
from cai_jax.lang.signature import Call, Needs, Param, Problem
from cai_jax.pipeline.context import Context
from cai_jax.stages.declare import OWN_DATA

if TYPE_CHECKING:
    from cai_jax.data.columns import Options, Reading
    from cai_jax.data.conversations import Splits
    from cai_jax.data.file_readers import Look


def _unsplit(call: Call) -> bool:
    """True if a hash of the text decides between the splits of the user's own data, as far as its first rows show."""
    found = _splits(call)
    return OWN_DATA.met(call) and (found.hashed or found.names is None)


def _separated(call: Call) -> bool:
    """True if the user's own data holds separated values, as far as is known here."""
    from cai_jax.data.dataset_files import find, kind_of

    path = call.values["path"]
    if path.startswith(("builtin:", "tfds:")):
        return False
    try:
        files = find(on_disk(call.resolve(path)), call.values["config"], named=False).files
    except UserError:
        return True
    return any(kind_of(file.name) == "csv" for file, _ in files)


SPLIT_COLUMN = Param(
    "split", "The column that names the split, where there is one.", value="str", default="split", needs=OWN_DATA
)
COLUMN_TEST = Param(
    "test",
    "Where nothing names a split: the fraction of prompts, by a hash of their text, that becomes `test`.",
    value="float",
    default=0.2,
    low=0,
    high=1,
    unit="fraction",
    needs=Needs("data of one's own whose splits nothing names", ("path", "split"), _unsplit),
)
TURNS = Param(
    "turns",
    'Read text as a transcript, "Human: … Assistant: …", with its turns, or as the text of one turn; by default it is '
    "a transcript in HH-RLHF's columns (chosen and rejected, transcript), and a note says so. `text` also keeps "
    "messages that are written as JSON text.",
    value="enum",
    default="auto",
    choices=("auto", "transcript", "text"),
    needs=OWN_DATA,
)
MALFORMED = Param(
    "malformed",
    "Treatment of a row that cannot be read: an error that names it, or left out and counted in a note; by default "
    "an error in files of your own, and left out in `hf:` and `tfds:`, which cannot be repaired.",
    value="enum",
    default="auto",
    choices=("auto", "error", "skip"),
    needs=OWN_DATA,
)
CLUSTER = Param(
    "cluster",
    "A column whose equal values mark rows that depend on each other, such as wordings of one question.",
    value="str",
    default="",
    needs=OWN_DATA,
)
CONFIG = Param("config", "Configuration of the dataset card.", value="str", default="",
               needs=Needs("a folder or `hf:` name", ("path",),
                           lambda call: not call.values["path"].startswith(("builtin:", "tfds:"))))  # fmt: skip
DELIMITER = Param(
    "delimiter", "Delimiter of the cells, if neither a comma nor a tab.", value="str", default="",
    needs=Needs("a .csv or .tsv", ("path",), _separated)
)  # fmt: skip
LIMIT = Param("limit", "Only the first rows of every split; 0 takes all.", value="int", default=0, low=0, unit="rows")
READING = (SPLIT_COLUMN, COLUMN_TEST, TURNS, MALFORMED, CLUSTER, CONFIG, DELIMITER, LIMIT)
PATH_ABOUT = 'a .jsonl, .json, .csv, .tsv, .parquet or .arrow file, a folder of them, "hf:org/name" or "tfds:folder"'


def options_of(params: Mapping[str, Any]) -> Options:
    """Options of reading the rows of a source."""
    from cai_jax.data.columns import Options

    given = {each.name: params[each.name] for each in READING}
    return Options(**given | {"limit": params["limit"] or None, "malformed": by_itself(params)})


def by_itself(params: Mapping[str, Any]) -> str:
    """Treatment of malformed rows, "error" or "skip", also where a program leaves it open."""
    if params["malformed"] != "auto":
        return params["malformed"]
    return "skip" if params["path"].startswith(("hf:", "tfds:")) else "error"


def lineage(call: Call) -> frozenset[str]:
    """The name of a source in lineage: its absolute path, or its name with a scheme.

    Where a hash of the rows decides between train and test, "?test=" and its fraction are appended.
    """
    path = call.resolve(call.values["path"])
    if not path.startswith("builtin:") and "test" in call.values and _splits(call).hashed:
        path += f"?test={call.values['test']:g}"
    return frozenset({path})


def splits_of(call: Call) -> frozenset[str] | None:
    """The splits that a source has; None where only reading every row would show them."""
    if call.values["path"].startswith("builtin:"):
        return frozenset({"train", "test"})
    return _splits(call).names


def _splits(call: Call) -> Splits:
    from cai_jax.data.conversations import Splits, splits

    split, test = call.values["split"], call.values["test"]
    try:
        how = _reading(call)
        return splits(on_disk(call.resolve(call.values["path"])), split=split, test=test, **how)
    except UserError:
        return Splits(None, False)


class _How(TypedDict):
    config: str
    delimiter: str


def _reading(call: Call) -> _How:
    """Options of reading the first rows of the data.

    Raises:
      UserError: the delimiter is invalid.
    """
    delimiter = call.values.get("delimiter", "")
    if len(delimiter) > 1 or delimiter in ('"', "\n", "\r"):
        raise UserError("a delimiter is one character, no quote and no line break")
    return {"config": call.values.get("config", ""), "delimiter": delimiter}


def split_rows(call: Call, builtin: Mapping[str, int], splits: Iterable[str] | None) -> Mapping[str, int] | None:
    """Largest number of rows of each split; None where there is neither `limit` nor a built-in size (`builtin`)."""
    limit = call.values["limit"]
    if call.values["path"].startswith("builtin:"):
        return {split: min(size, limit or size) for split, size in builtin.items()}
    return dict.fromkeys(splits, limit) if limit and splits else None


def columns_of(call: Call) -> set[str]:
    """The columns in the first rows of the data; none where it is not here, or cannot be read."""
    from cai_jax.data.file_readers import look

    try:
        seen = look(on_disk(call.resolve(call.values["path"])), **_reading(call))
    except UserError:
        return set()
    return {name for record in seen.records for name in record.fields}


Read = Callable[..., list[Row]]
Builtin = Callable[[str], Iterable[Row]]


def read_rows(ctx: Context, read: Read, builtin: Builtin | None = None, **columns: str) -> Mapping[str, int]:
    """Commit every row of a source; result: rows.

    Args:
      ctx: of the run.
      read: a reader of datasets, such as `data.conversations.read_prompts`.
      builtin: makes the built-in data of a name; None where a source has none.
      columns: the columns for `read`, by role.
    """
    rows = rows_of(ctx.params, ctx.note, read, builtin, **columns)
    ctx.commit(rows[len(ctx.committed()) :])
    return {"rows": len(rows)}


def rows_of(
    params: Mapping[str, Any],
    note: Callable[[str, str], None],
    read: Read,
    builtin: Builtin | None = None,
    **columns: str,
) -> list[Row]:
    """Every row of a source with these parameters; as `read_rows`."""
    from cai_jax.data.rows import first

    scheme, _, name = params["path"].partition(":")
    if builtin and scheme == "builtin":
        return first(builtin(name), params["limit"] or None)
    return read(on_disk(params["path"]), note=note, **columns, **asdict(options_of(params)))


def missing(call: Call, builtin: Sequence[str]) -> Iterable[Problem]:
    """Problems where the data named by `path` does not exist."""
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
    elif not os.path.exists(name if scheme == "tfds" else path):
        yield Problem("E221", "path", f"there is no file or folder {path}", hint="paths are relative to the program")


def unreadable(
    call: Call, columns: Sequence[str], usual: Iterable[set[str]], read: Callable[[Reading], Any]
) -> Iterable[Problem]:
    """Problems in the first rows of data on this machine, and in the last row of JSON lines.

    Args:
      call: of the source.
      columns: parameters that name columns, `split` and `cluster` apart.
      usual: sets of columns, in lower case, of which one must be there where no option names any.
      read: makes rows of these; raises UserError where they are not of the source's kind.
    """
    from cai_jax.data.columns import Reading
    from cai_jax.data.file_readers import look, prepared, rows_within
    from cai_jax.data.preferences import Unclear

    path = call.resolve(call.values["path"])
    if path.startswith("builtin:"):
        return
    try:
        how = _reading(call)
    except UserError as error:
        yield Problem("E270", "delimiter", error.message)
        return
    local = path.removeprefix("tfds:")
    if path.startswith("hf:"):
        local = str(snapshot("datasets", path.removeprefix("hf:")) or "")
    if not os.path.exists(local):  # which `missing` tells
        return
    if path.startswith("tfds:"):
        try:
            prepared(local)
        except UserError as error:
            yield _unread(error, local)
        return
    try:
        seen = look(local, named="split" in call.values, **how)
    except UserError as error:
        yield _unread(error, local)
        return
    wrong = list(_columns_missing(call, seen, columns, usual))
    try:
        reading = Reading.looked(local, seen, _looking(call))
        if not wrong:
            read(reading)
    except UserError as error:
        if seen.whole or not isinstance(error, Unclear):
            wrong.append(_unread(error, local))
    within = rows_within(seen.records)
    if wrong and within:
        where = seen.records[0].where
        cure = f"save the rows alone, for example with  jq '.[{json.dumps(within)}]' FILE > ROWS.json"
        wrong = [
            _unread(UserError(f"{where}: an object that holds rows in `{within}`, and no row itself", cure), local)
        ]
    yield from wrong


def _looking(call: Call) -> Options:
    from cai_jax.data.columns import Options

    if "split" not in call.values:
        return Options(malformed=by_itself(call.values), turns="text")
    return options_of(call.values)


def _unread(error: UserError, path: str) -> Problem:
    """The problem of an error; the data at `path` is named as shortly as possible from the working directory."""
    short = min(path, os.path.relpath(path), key=len)
    return Problem("E270", "path", error.message.replace(path, short), "cannot be read", error.hint)


def _columns_missing(call: Call, seen: Look, columns: Sequence[str], usual: Iterable[set[str]]) -> Iterable[Problem]:
    """Problems where the rows seen lack the columns that are read."""
    from cai_jax.lang.diagnostics import did_you_mean, listed

    if not seen.records:
        return
    names = list(dict.fromkeys(name for record in seen.records for name in record.fields))
    have = listed(names, "and") if names else "none"
    named = {option: call.values[option] for option in columns if call.values[option]}
    beside = {name: call.values.get(name, "") for name in ("split", "cluster")}
    if beside["split"] == SPLIT_COLUMN.default:
        del beside["split"]
    for option, name in (named | {option: name for option, name in beside.items() if name}).items():
        if name not in names:
            hint = f"{did_you_mean(name, names)} its columns are {have}".lstrip()
            yield Problem("E224", option, f"the data has no column `{name}`", "no such column", hint)
    if not named and not any(each <= {name.lower() for name in names} for each in usual):
        hint = f"its columns are {have}; say which by {listed(columns)}"
        yield Problem("E224", "path", "the data has none of the columns that are looked for", "holds what?", hint)
