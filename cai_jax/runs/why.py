"""Why a node would run: what sets it apart from the nearest node in the cache (DESIGN.md §1, Identity)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cai_jax.lang.types import Node
from cai_jax.runs.cache import CHECKPOINTS, Cache, Entry, meaning


class Reasons:
    """Explains nodes of one plan against one cache.

    Args:
      nodes: the plan's nodes, inputs first.
      versions: stage name -> version of its meaning.
      cache: what there is.
      force: keys that are to run whatever the cache holds.
      seed: the run's.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        versions: Mapping[str, int],
        cache: Cache,
        force: frozenset[str] = frozenset(),
        seed: int = 0,
    ) -> None:
        self._names = {node.key: node.names[0] if node.names else node.stage for node in nodes}
        self._versions = versions
        self._cache = cache
        self._force = force
        self._seed = seed
        self._known: dict[str, list[tuple[Entry, dict[str, Any]]]] = {}

    def why(self, node: Node) -> str:
        """What to say of a node: "cached", or why it would run."""
        entry = self._cache.entry(node.key)
        if node.key in self._force:
            return "runs: forced"
        if entry.done:
            return "cached"
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
        """Record of the cached node of this stage that differs least; those of the same name go first."""
        if node.stage not in self._known:
            self._known[node.stage] = [(entry, entry.record()) for entry in self._cache.entries(node.stage)]
        records = [record for _, record in self._known[node.stage] if record]
        if not records:
            return None

        def distance(record: Mapping[str, Any]) -> tuple[bool, int, float]:
            named = bool(set(record["names"]) & set(node.names))
            return not named, len(self._changes(node, record)), -record.get("started", 0.0)

        return min(records, key=distance)

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
        return ", ".join(self._names.get(key, "none") for key in listed)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else text[:37] + "..."
