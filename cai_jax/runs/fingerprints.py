"""Fingerprints of outside data: text that changes when the contents do, whatever they are called."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from pathlib import Path

from cai_jax.data.file_stamps import Stamp, members, stamp_of
from cai_jax.data.hf_cache import snapshot
from cai_jax.errors import UserError
from cai_jax.lang.parser_cache import cache_folder
from cai_jax.models.locate import BUILTIN, bases
from cai_jax.runs import files

_WORLD = Path(__file__).resolve().parent.parent / "world"
# Only of larger files is the hash remembered beyond this process: smaller ones are read in a millisecond.
_WORTH_KEEPING = 1 << 20
# A file that was written to so shortly before may be written to once more under the same time stamp: the coarsest file
# systems (FAT) count in two seconds.
_SETTLED_NS = 2_000_000_000

# What this process has hashed: real path -> (stamp, hash).
_hashed: dict[str, tuple[Stamp, str]] = {}


class Fingerprints:
    """Content hashes, remembered by path, inode, size and times.

    Args:
      memory: the file that remembers; None for the one in the user's own cache, if there can be one.
    """

    def __init__(self, memory: Path | None = None) -> None:
        folder = cache_folder() if memory is None else memory.parent
        self._memory = memory or (folder and folder / "fingerprints.json")
        self._known = _remembered(self._memory)
        self._news: dict[str, tuple[Stamp, str]] = {}

    def of(self, path: str) -> str:
        """The fingerprint of an absolute path or a name with a scheme.

        Files and folders go by their contents, an adapter by those of all bases below it too, `hf:` by the contents of
        the local cache, `builtin:` by its name and the part of the package that makes it, and `init:` by its name.

        Raises:
          UserError: a file changes while it is read, or is not a regular file.
          ModelError: the base of an adapter is not on this machine.
        """
        scheme, colon, name = path.partition(":")
        if not colon or os.path.isabs(path):
            return self._contents([Path(path), *bases(Path(path))]) or f"absent {path}"
        if scheme == "tfds":
            return self._contents([Path(name)]) or f"absent {path}"
        if scheme == "hf":
            model, data = snapshot("models", name), snapshot("datasets", name)
            here = [*([model, *bases(model)] if model else []), *([data] if data else [])]
            return self._contents(here) or f"absent {path}"
        if scheme == "builtin":
            made_by = [BUILTIN[name], _WORLD / "tokenizer.py"] if name in BUILTIN else sorted(_WORLD.glob("*.py"))
            return f"{path}@{self._contents(made_by)}"
        return path

    def save(self) -> None:
        """Write the new hashes to the memory file, if it can be written."""
        if self._memory is None or not self._news:
            return
        # Another process may have learnt something meanwhile.
        known = {path: each for path, each in _remembered(self._memory).items() if os.path.exists(path)} | self._news
        try:
            self._memory.parent.mkdir(parents=True, exist_ok=True)
            files.write_json(self._memory, known)
        except OSError:
            pass  # it only saves time
        self._news = {}

    def _contents(self, roots: Sequence[Path]) -> str:
        """One hash of all files below the roots and their places; "" if there are none."""
        digest, found = hashlib.blake2b(digest_size=16), False
        for number, root in enumerate(roots):
            for name, path in members(root):
                found = True
                digest.update(f"{number}\0{name or _kind(root)}\0{self._file(path)}\n".encode(errors="surrogateescape"))
        return digest.hexdigest() if found else ""

    def _file(self, path: Path) -> str:
        real = os.path.realpath(path)
        stamp = stamp_of(os.stat(real))
        for known in (_hashed.get(real), self._known.get(real)):
            if known is not None and known[0] == stamp:
                return known[1]
        settled = time.time_ns() - _SETTLED_NS > max(stamp[3:])
        with open(real, "rb") as stream:
            content = hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
        if stamp_of(os.stat(real)) != stamp:
            raise UserError(f"{path} changes while it is read", "run again when it is written")
        _hashed[real] = stamp, content
        if settled and stamp[2] >= _WORTH_KEEPING:
            self._news[real] = stamp, content
        return content


def _remembered(memory: Path | None) -> dict[str, tuple[Stamp, str]]:
    """The contents of the memory file; nothing if it cannot be read, and no entries that `save` would not write."""
    try:
        found = files.read_json(memory) if memory is not None else {}
    except (OSError, ValueError, RecursionError):
        return {}
    known: dict[str, tuple[Stamp, str]] = {}
    for path, each in found.items() if isinstance(found, dict) else ():
        match each:
            case [[int(), int(), int(), int(), int()] as stamp, str(content)]:
                known[path] = tuple(stamp), content
    return known


def _kind(file: Path) -> str:
    """The suffix of a file's name, by which a file named by itself is known to be of some kind."""
    name = file.name.lower()
    return "".join(Path(name).suffixes[-2:]) if name.endswith((".gz", ".zst", ".bz2", ".xz")) else file.suffix
