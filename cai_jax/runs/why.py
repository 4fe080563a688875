"""Why a node would run: what sets it apart from the nearest node in the cache (DESIGN.md §1, Identity)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cai_jax.lang.types import Node
from cai_jax.runs.cache import CHECKPOINTS, Cache, Entry, meaning


class Reasons:
    """Explains nodes of one plan against one cache.

    Args:
      labels: key -> what people call the node.
      versions: stage name -> version of its meaning.
      cache: what there is.
      seed: the run's.
    """

    def __init__(
        self,
        labels: Mapping[str, str],
        versions: Mapping[str, int],
        cache: Cache,
        seed: int = 0,
    ) -> None:
        self._labels = labels
        self._versions = versions
        self._cache = cache
        self._seed = seed
        self._known: dict[str, list[tuple[Entry, dict[str, Any]]]] = {}

    def why(self, node: Node) -> str:
        """What to say of a node: "cached", or why it would run."""
        entry = self._cache.entry(node.key)
        if entry.done:
            return "cached"
        if entry.damaged:
            return "runs: its files were changed or deleted"
        if entry.parts() or (entry.dir / CHECKPOINTS).is_dir():
            return f"goes on: interrupted after {entry.count()} rows" if entry.parts() else "goes on: interrupted"
        nearest = self._nearest(node)
        if nearest is None:
            return "runs: first time"
        changes = self._changes(node, nearest)
        if not changes and nearest["seed"] != self._seed:
            changes.append(f"seed of the run {nearest['seed']} -> {self._seed}")
        return f"runs: {', '.join(changes) or 'its source has changed'}"

    def _nearest(self, node: Node) -> dict[str, Any] | None:
        """Record of the cached node of this stage and name that differs least; None if there is none."""
        if node.stage not in self._known:
            self._known[node.stage] = [(entry, entry.record()) for entry in self._cache.entries(node.stage)]
        records = [record for _, record in self._known[node.stage] if record and self._same_name(node, record)]

        def distance(record: Mapping[str, Any]) -> tuple[int, float]:
            return len(self._changes(node, record)), -record.get("started", 0.0)

        return min(records, key=distance, default=None)

    def _same_name(self, node: Node, record: Mapping[str, Any]) -> bool:
        """Whether people call both alike: by a name, or by the expression where they have none."""
        return bool({*record["names"], record.get("label")} & {*node.names, self._labels[node.key]})

    def _changes(self, node: Node, record: Mapping[str, Any]) -> list[str]:
        """What differs, in words."""
        now = meaning(node, self._versions[node.stage])
        changes = []
        if record["version"] != now["version"]:
            changes.append(f"stage version {record['version']} -> {now['version']}")
        for name in dict.fromkeys([*now["params"], *record["params"]]):
            before, after = record["params"].get(name), now["params"].get(name)
            if before != after:
                changes.append(f"{name} {_short(before)} -> {_short(after)}")
        for name in dict.fromkeys([*now["inputs"], *record["inputs"]]):
            if record["inputs"].get(name) != now["inputs"].get(name):
                changes.append(f"{name} changed ({self._inputs(now['inputs'].get(name))})")
        return changes

    def _inputs(self, keys: Any) -> str:
        listed = keys if isinstance(keys, list) else [keys]
        return ", ".join(self._labels.get(key, "none") for key in listed)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else text[:37] + "..."
