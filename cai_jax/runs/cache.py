"""The node cache: one folder a node, named by its key, finished when DONE stands in it (DESIGN.md §5)."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cai_jax.lang.types import Node
from cai_jax.runs import files

LEASE_TEMPORARY = ".lease-"
NODE, DONE, LEASE, METRICS, CHECKPOINTS, NOTES = "node.json", "DONE", "LEASE", "metrics.jsonl", "ckpt", "notes.json"
CLEARING = "CLEARING"  # stands while the folder is being emptied
_OWN = (NODE, DONE, LEASE, METRICS, CHECKPOINTS, NOTES, CLEARING)  # what the stage has not made


class Entry:
    """One node's folder."""

    def __init__(self, key: str, folder: Path) -> None:
        self.key = key
        self.dir = folder

    @property
    def done(self) -> bool:
        """DONE stands, and every file that it lists is there in full."""
        try:
            return files.intact(self.dir, files.read_json(self.dir / DONE)["parts"])
        except (OSError, ValueError):
            return False

    @property
    def damaged(self) -> bool:
        """The node was finished, and has lost something since: no part of it can be trusted."""
        return (self.dir / DONE).exists() and not self.done

    @property
    def untidy(self) -> bool:
        """`finish` was killed after DONE, before `tidy`."""
        return (self.dir / NOTES).exists() or (self.dir / CHECKPOINTS).exists()

    def parts(self) -> list[Path]:
        return sorted(self.dir.glob("part-*.jsonl"))

    def rows(self) -> list[dict[str, Any]]:
        """All committed rows, in order."""
        return [row for part in self.parts() for row in files.read_lines(part)]

    def count(self) -> int:
        """How many rows are committed."""
        return sum(part.read_bytes().count(b"\n") for part in self.parts())

    def record(self) -> dict[str, Any]:
        """node.json; {} if it is not there or not whole."""
        try:
            return files.read_json(self.dir / NODE)
        except (OSError, ValueError):
            return {}

    def open(self, node: Node, version: int) -> None:
        """Readies the folder for an attempt: keeps an earlier one's parts if they are whole, else clears it."""
        self.dir.mkdir(parents=True, exist_ok=True)
        parts = self.parts()
        if self.damaged or (self.dir / CLEARING).exists() or parts != [self._part(i) for i in range(len(parts))]:
            self.clear()
        for left in self.dir.glob(f"{files.TEMPORARY}*"):
            left.unlink(missing_ok=True)
        if not self.record():
            files.write_json(self.dir / NODE, meaning(node, version))

    def append(self, index: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Writes part number `index`."""
        files.write_text(self._part(index), files.json_lines(rows))

    def finish(self, record: Mapping[str, Any]) -> None:
        """Writes node.json, then DONE, then drops the checkpoints; in this order nothing can be lost."""
        made = [
            path
            for top in sorted(self.dir.iterdir())
            if top.name not in _OWN and not top.name.startswith(".")
            for path in (top, *sorted(top.rglob("*")))
        ]
        for path in made:
            files.sync(path)  # parts are durable already, but not what the stage wrote by other means
        files.write_json(self.dir / NODE, record)
        files.write_json(self.dir / DONE, {"parts": files.sizes(self.dir, made)})
        self.tidy()

    def tidy(self) -> None:
        """Removes what only an unfinished node needs."""
        (self.dir / NOTES).unlink(missing_ok=True)
        if (self.dir / CHECKPOINTS).is_dir():
            shutil.rmtree(self.dir / CHECKPOINTS)

    def clear(self) -> None:
        """Empties the folder but for its lease. If this is interrupted, the next `open` goes on with it."""
        marker = self.dir / CLEARING
        marker.touch()
        (self.dir / DONE).unlink(missing_ok=True)
        files.sync(self.dir)
        for path in self.dir.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name not in (LEASE, CLEARING) and not path.name.startswith(LEASE_TEMPORARY):
                path.unlink()
        files.sync(self.dir)
        marker.unlink()

    def _part(self, index: int) -> Path:
        return self.dir / f"part-{index:05d}.jsonl"


class Cache:
    """All nodes ever made under one output folder.

    Args:
      root: the folder `cache`.
      scratch: another folder, for the nodes in `scratch_keys`, which are not to be kept.
    """

    def __init__(self, root: Path, scratch: Path | None = None, scratch_keys: frozenset[str] = frozenset()) -> None:
        self.root = root
        self._scratch = scratch
        self._scratch_keys = scratch_keys

    def entry(self, key: str) -> Entry:
        root = self._scratch if self._scratch is not None and key in self._scratch_keys else self.root
        return Entry(key, root / key)

    def entries(self, stage: str = "") -> Iterator[Entry]:
        """Finished nodes, of one stage if it is given, in the order of their keys."""
        pattern = f"{stage}-*" if stage else "*-*"
        for folder in sorted(self.root.glob(pattern)):
            if (folder / DONE).is_file() and not folder.name.startswith("."):
                yield Entry(folder.name, folder)


def meaning(node: Node, version: int) -> dict[str, Any]:
    """What a node's folder says about it from the first moment: all that its key was made of."""
    return {
        "key": node.key,
        "stage": node.stage,
        "version": version,
        "names": list(node.names),
        "kind": str(node.type.kind),
        "params": dict(node.params),
        "inputs": {name: list(key) if isinstance(key, tuple) else key for name, key in node.inputs.items()},
        "schedule": dict(node.schedule),
    }
