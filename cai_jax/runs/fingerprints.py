"""Fingerprints of outside data: text that changes when the contents do, whatever they are called."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from cai_jax.data.hub import snapshot
from cai_jax.models.locate import base_of
from cai_jax.runs import files

_BUILTIN = Path(__file__).resolve().parent.parent / "tiny"


class Fingerprints:
    """Content hashes, remembered by path, size and modification time.

    Args:
      memory: the file that remembers.
    """

    def __init__(self, memory: Path) -> None:
        self._memory = memory
        try:
            self._known: dict[str, list] = files.read_json(memory)
        except (OSError, ValueError):
            self._known = {}
        self._news = False

    def of(self, path: str) -> str:
        """The fingerprint of an absolute path or a name with a scheme.

        Files and folders go by their contents, an adapter by its base's too, `hf:` by the commit in the local cache,
        `builtin:` by its name and the part of the package that makes it, and `init:` by its name.
        """
        scheme, colon, name = path.partition(":")
        if not colon or os.path.isabs(path):
            base = base_of(Path(path))
            return self._contents([Path(path), *([base] if base else [])])
        if scheme == "tfds":
            return self._contents([Path(name)])
        if scheme == "hf":
            found = snapshot("models", name) or snapshot("datasets", name)
            return f"{path}@{found.name if found else 'absent'}"
        if scheme == "builtin":
            made_by = [_BUILTIN / "checkpoint"] if name == "tiny" else sorted(_BUILTIN.glob("*.py"))
            return f"{path}@{self._contents(made_by)}"
        return path

    def save(self) -> None:
        """Writes down what was learnt."""
        if self._news:
            self._memory.parent.mkdir(parents=True, exist_ok=True)
            files.write_json(self._memory, self._known)
            self._news = False

    def _contents(self, roots: Sequence[Path]) -> str:
        digest, found = hashlib.blake2b(digest_size=16), False
        for root in roots:
            members = [root] if root.is_file() else sorted(path for path in root.rglob("*") if path.is_file())
            for path in members:
                found = True
                inside = path.relative_to(root).as_posix() if path != root else root.suffix
                digest.update(f"{inside}\0{self._file(path)}\n".encode())
        return digest.hexdigest() if found else f"absent {', '.join(map(str, roots))}"

    def _file(self, path: Path) -> str:
        stat = path.stat()
        known = self._known.get(str(path))
        if known is None or known[:2] != [stat.st_size, stat.st_mtime_ns]:
            with open(path, "rb") as stream:
                content = hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
            known = self._known[str(path)] = [stat.st_size, stat.st_mtime_ns, content]
            self._news = True
        return known[2]
