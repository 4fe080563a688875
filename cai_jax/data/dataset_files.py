"""Files of a dataset, and the split that each belongs to, by the rules of Hugging Face `datasets`.

In order: the `configs:` in the dataset card (README.md), the folders of `DatasetDict.save_to_disk`, shards named
"data/<split>-00000-of-00002", and else folders and files with a split's name in theirs ("test", "my_dev_file",
"train1").
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from cai_jax.data.rows import DataError

# By reader; each but the binary ones may be packed, with ".gz" behind.
KINDS = {".jsonl": "json", ".json": "json", ".csv": "csv", ".tsv": "csv", ".parquet": "parquet", ".arrow": "arrow"}
_PACKED = (".jsonl", ".json", ".csv", ".tsv")
READ = (*KINDS, *(f"{suffix}.gz" for suffix in _PACKED))
_CANONICAL = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
# What `datasets` leaves beside data, and what `save_to_disk` does.
_BESIDE = {"config.json", "dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"}
_SHARD = re.compile(r"(\w+(?:\.\w+)*)-\d{5}-of-\d{5}")
_NO_SPLIT = {"data", "part", "shard", "dataset"}  # names of shards that are not a split's, such as save_to_disk's
_LARGEST = 50_000  # entries of a folder: the largest datasets have ten thousand shards, a home folder has millions
_CARD = 2**20  # bytes of a dataset card in which its header is looked for
_NAME = 4096  # characters of a name or a path in it: no file has a longer one
# How a card, of which every value is read as text, says "yes" and nothing at all.
_TRUE, _NULL = "true True TRUE yes Yes YES on On ON".split(), ("", "~", "null", "Null", "NULL")


class Found(NamedTuple):
    """The data files in order, each with its split (None: not named), and other files there, which are not read."""

    files: list[tuple[Path, str | None]]
    left_out: list[str]


def kind_of(name: str) -> str | None:
    """The kind of reader that a file of this name needs, of the values of KINDS; None for a file that is not read."""
    stem, suffix = os.path.splitext(name.lower())
    if suffix == ".gz":
        suffix = os.path.splitext(stem)[1]
        return KINDS[suffix] if suffix in _PACKED else None
    return KINDS.get(suffix)


def canonical(split: str) -> str:
    """A split's name, or what `datasets` calls the split that the name is a synonym of: "dev" is "validation"."""
    return _CANONICAL.get(split.lower(), split)


def find(path: str, config: str = "", named: bool = True) -> Found:
    """Find the data files of a path.

    Args:
      path: a file, which has no split whatever its name, or a folder.
      config: name of a configuration in the folder's dataset card; "" takes its default.
      named: True if the files' splits matter; without it, contradictory names are not an error.

    Raises:
      DataError: there is no readable file, or names do not determine the splits; lists the files.
    """
    root = Path(path)
    if os.path.isfile(path):
        if kind_of(root.name) is None:
            raise DataError(f"{root}: not a kind of file that is read", f"use one of {', '.join(READ)}")
        if config:
            raise DataError(f"{root}: a file has no configurations", "leave config= out")
        return Found([(root, None)], [])
    if not os.path.isdir(path):
        what = "no regular file, nor a folder" if os.path.exists(path) else "no such file or directory"
        raise DataError(f"{root}: {what}", "a path is taken beside the program")
    listed, chosen = _walk(root), _configuration(root, config)
    folder = PurePosixPath(_text(root, "data_dir", chosen.get("data_dir") or "."))
    if chosen.get("data_files"):
        return Found(_of_patterns(root, listed, folder, chosen["data_files"]), [])
    base = root / folder
    kept, left_out = _one_kind(base, [each.relative_to(folder) for each in listed if each.is_relative_to(folder)])
    splits = _splits(base, kept) if named else dict.fromkeys(kept)
    return Found([(base / relative, splits[relative]) for relative in kept], left_out)


def _walk(root: Path) -> list[PurePosixPath]:
    """Every regular file below that is read, sorted, but for hidden ones and caches of `map`; no link to a folder."""
    found, seen = [], 0
    for folder, folders, names in os.walk(root):
        seen += len(folders) + len(names)
        if seen > _LARGEST:
            message = f"{root}: more than {_LARGEST:,} files and folders"
            raise DataError(message, "name the folder that holds the data alone")
        folders[:] = [name for name in folders if not name.startswith((".", "__", "cache-"))]
        for name in names:
            hidden = name.startswith((".", "cache-")) or name in _BESIDE
            # A FIFO or a device would be waited for without end.
            if not hidden and kind_of(name) and os.path.isfile(os.path.join(folder, name)):
                found.append(PurePosixPath(os.path.relpath(os.path.join(folder, name), root)))
    return sorted(found)


def _one_kind(root: Path, listed: Sequence[PurePosixPath]) -> tuple[list[PurePosixPath], list[str]]:
    """The files of the kind that most of them have, and the names of the others."""
    if not listed:
        raise DataError(f"{root}: holds no dataset files", f"expected files ending in {', '.join(READ)}")
    (kind, most), *others = Counter(kind_of(relative.name) for relative in listed).most_common()
    if others and others[0][1] == most:
        raise _unclear(root, "has as many files of one kind as of another", listed)
    kept = [relative for relative in listed if kind_of(relative.name) == kind]
    stems = Counter(relative.with_name(_stem(relative)) for relative in kept)
    twice = [relative for relative in kept if stems[relative.with_name(_stem(relative))] > 1]
    if twice:
        raise _unclear(root, "has files of one name, which may be the same rows twice", twice)
    return kept, [str(relative) for relative in listed if kind_of(relative.name) != kind]


def _splits(root: Path, files: Sequence[PurePosixPath]) -> dict[PurePosixPath, str | None]:
    """The split of every file; None for all where no name says one."""
    if (root / "dataset_dict.json").is_file():
        return {relative: relative.parts[0] if len(relative.parts) > 1 else None for relative in files}
    said, words = {}, defaultdict(set)
    for relative in files:
        splits = _said(relative)
        if len({split for split, _ in splits}) > 1:
            raise _unclear(root, "has a file whose name says several splits", [relative])
        said[relative] = splits[0][0] if splits else None
        for split, word in splits[-1:]:
            words[split].add(word)
    if any(said.values()) and not all(said.values()):
        raise _unclear(root, "has files whose names say a split, and others", files, said)
    for split, different in words.items():
        if len(different) > 1:
            same = [relative for relative in files if said[relative] == split]
            raise _unclear(root, f"has files of several names that all say {split}", same)
    return said


def _said(relative: PurePosixPath) -> list[tuple[str, str]]:
    """The splits that the parts of a path say, each with the name that says it, counting digits left out."""
    shard = _SHARD.match(relative.name)
    stem = shard[1] if shard else _stem(relative)
    if shard and relative.parts[:-1] == ("data",) and stem.lower() not in _NO_SPLIT:
        return [(stem, stem)]  # it stands for itself, as the Hub's own conversions write it
    found: list[tuple[str, str]] = []
    words: list[str] = []
    for part in (*relative.parts[:-1], stem):
        words = re.split(r"[-._ 0-9]+", part.lower())
        found += [(_CANONICAL[word], "-".join(filter(None, words))) for word in words if word in _CANONICAL]
    own = len(found) == 1 and not _CANONICAL.keys().isdisjoint(words) and stem.lower() not in _CANONICAL
    if shard and own:  # so that "train_sft" and "train_prefs" are never put together
        return [(stem, stem)]
    return found


def _stem(relative: PurePosixPath) -> str:
    name = re.sub(r"\.gz$", "", relative.name, flags=re.IGNORECASE)
    return name.rpartition(".")[0]


def _unclear(root: Path, what: str, files: Sequence[PurePosixPath], said: dict | None = None) -> DataError:
    shown = [f"{relative}" + (f" ({said[relative] or 'none'})" if said else "") for relative in files]
    if said:  # one of each kind tells more than the first of many
        shown.sort(key=lambda text: not text.endswith("(none)"))
    listed = ", ".join(shown[:6]) + (f" and {len(shown) - 6} more" if len(shown) > 6 else "")
    cure = "name one file or folder of them, or say which is which by `configs:` in the folder's README.md"
    return DataError(f"{root}: {what}: {listed}", cure)


# -- the dataset card


def _configs(root: Path) -> list[dict[str, Any]]:
    """The configurations in the header of README.md."""
    try:
        with open(root / "README.md", encoding="utf-8", errors="replace") as card:
            text = card.read(_CARD)
    except OSError:
        return []
    header = re.match(r"\ufeff?---[ \t]*\n(.*?\n)---[ \t]*(?:\n|$)", text, re.DOTALL)
    if not header:
        return []
    import yaml

    try:
        # All values are text, as it stands there. Merges ("<<") are not carried out: nested ones fill the memory.
        said = yaml.load(header[1], yaml.BaseLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{root / 'README.md'}: its header is no YAML ({reason})", "repair it") from error
    configs = said.get("configs") if isinstance(said, dict) else None
    found = [one for one in configs if isinstance(one, dict)] if isinstance(configs, list) else []
    if any("<<" in one for one in found):
        raise DataError(f"{root / 'README.md'}: a configuration is merged with another by `<<`", "write it out")
    return found


def _text(root: Path, field: str, value: Any) -> str:
    """A name or a path in the card, which may hold anything, even aliases of aliases too large for any memory."""
    if not isinstance(value, str) or len(value) > _NAME:
        what = f"longer than {_NAME:,} characters" if isinstance(value, str) else "no text"
        raise DataError(f"{root / 'README.md'}: `{field}` of a configuration is {what}", "repair the card")
    return value


def _configuration(root: Path, name: str) -> dict[str, Any]:
    """The configuration of this name, "" for the default one; without any in README.md, all is "default"."""
    card = _configs(root) or [{}]
    names = [_text(root, "config_name", one.get("config_name", "default")) for one in card]
    marked = [one for one in card if one.get("default") in _TRUE]
    marked += [one for one, called in zip(card, names, strict=True) if called == "default"]
    chosen = [one for one, called in zip(card, names, strict=True) if called == name] if name else marked[:1] or card
    if len(chosen) != 1:
        known = ", ".join(f'"{called}"' for called in dict.fromkeys(names))
        what = f"has no configuration {name!r}" if name else "has several configurations"
        raise DataError(f"{root}: {what} in its README.md", f"there is {known}: say which by config=")
    return {key: value for key, value in chosen[0].items() if value not in _NULL}


def _of_patterns(root: Path, listed: Sequence[PurePosixPath], folder: PurePosixPath, said: Any) -> list:
    """The files that `data_files` of a configuration names by patterns, which start from its folder."""
    by_name = {str(relative): relative for relative in listed}
    found: dict[PurePosixPath, str] = {}
    for split, pattern in _patterns(root, said):
        matching = [by_name[name] for name in _matching(str(folder / pattern), by_name)]
        if not matching:
            message = f"{root}: no data file that is read matches {pattern!r} of its README.md"
            raise DataError(message, "fetch the whole dataset, or name a file of it")
        twice = [str(root / relative) for relative in matching if relative in found]
        if twice:
            message = f"{root}: its README.md puts {', '.join(twice[:3])} into a split twice, or into two splits"
            raise DataError(message, "name the file itself, or repair the card")
        found |= dict.fromkeys(matching, split)
    return [(root / relative, split) for relative, split in found.items()]


def _patterns(root: Path, said: Any) -> Iterator[tuple[str, str]]:
    """(split, pattern) out of `data_files` in any of its forms; without a split's name it is "train"."""
    entries = said if isinstance(said, list) else [said]
    splits: Iterable[tuple[Any, Any]]
    if isinstance(said, dict):
        splits = said.items()
    elif not any(isinstance(entry, dict) for entry in entries):
        splits = [("train", entries)]
    elif all(
        isinstance(entry, dict) and "split" in entry and ("path" in entry or "pattern" in entry) for entry in entries
    ):
        splits = ((entry["split"], entry.get("path", entry.get("pattern"))) for entry in entries)
    else:
        raise DataError(f"{root / 'README.md'}: an entry of `data_files` has no split or no path", "repair the card")
    for split, patterns in splits:
        for pattern in patterns if isinstance(patterns, list) else [patterns]:
            yield _text(root, "split", split), _text(root, "data_files", pattern)


def _matching(pattern: str, names: Collection[str]) -> list[str]:
    """Those of the paths that a pattern names: `*` goes within a folder, `**` through all."""
    if not re.search(r"[*?[]", pattern):
        return [pattern] if pattern in names else []
    steps: list[str | re.Pattern[str]] = []
    for piece in filter(None, re.split(r"(\*\*/|\*\*|\*|\?|\[!?\]?[^]]*\])", pattern)):
        # What stands in brackets, and text, is as the shell has it; `translate` puts it between "(?s:" and ")\Z".
        fixed = "[^/]" if piece == "?" else fnmatch.translate(piece)[4:-3]
        steps.append(piece if piece.startswith("*") else re.compile(fixed))
    return [name for name in names if _matches(steps, name)]


def _matches(steps: Sequence[str | re.Pattern[str]], name: str) -> bool:
    """True if a path matches the steps of a pattern.

    All places that each step can end at are followed at once: one expression of many `*` would try them one by one,
    in every combination.
    """
    ends, size = {0}, len(name)
    for step in steps:
        if isinstance(step, re.Pattern):
            ends = {match.end() for end in ends if (match := step.match(name, end))}
            if not ends:
                return False
        elif step == "**":
            ends = set(range(min(ends), size + 1))
        elif step == "**/":
            ends |= {at + 1 for at in range(min(ends), size) if name[at] == "/"}
        else:
            ends = {at for end in ends for at in range(end, (name + "/").index("/", end) + 1)}
    return size in ends
