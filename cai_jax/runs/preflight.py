"""What can be said only once the data is read: prompts that are both trained on and measured on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from cai_jax.lang.types import Kind, Node
from cai_jax.runs.executor import input_keys
from cai_jax.stages.protocol import Stage

_ROWS = (Kind.PROMPTS, Kind.PREFS)
_TRAINED = (Kind.MODEL, Kind.REWARD_MODEL)


def data(nodes: Sequence[Node], registry: Mapping[str, Stage]) -> list[Node]:
    """The nodes that are read rather than made: prompts and preferences that no model has a part in."""
    found: dict[str, Node] = {}
    for node in nodes:
        read = registry[node.stage].SIGNATURE.group in ("source", "operator") and node.type.kind in _ROWS
        if read and all(key in found for key in input_keys(node)):
            found[node.key] = node
    return list(found.values())


def overlaps(
    nodes: Sequence[Node],
    labels: Mapping[str, str],
    read: Iterable[Node],
    rows: Callable[[str], Iterable[Mapping[str, Any]]],
) -> list[str]:
    """One sentence for every metric whose prompts were, in part, also trained on.

    Args:
      nodes: of the plan, inputs first.
      labels: key -> what people call the node.
      read: `data(nodes)`.
      rows: key of such a node -> its rows.
    """
    by_key = {node.key: node for node in nodes}
    readable = {node.key for node in read}
    texts: dict[str, set[str]] = {}

    def said(key: str) -> set[str]:
        if key not in texts:
            texts[key] = {row["id"].rpartition("-")[0] for row in rows(key)}
        return texts[key]

    found = []
    for node in nodes:
        if node.type.kind is not Kind.METRIC:
            continue
        trained = _trained_on(node, by_key, readable)
        for measured in [key for key in input_keys(node) if key in readable]:
            for key in sorted(trained - {measured}):
                both = len(said(measured) & said(key))
                if both:
                    found.append(
                        f"{labels[node.key]}: {both} of {len(said(measured))} prompts of "
                        f"{labels[measured]} are also in {labels[key]}, which was trained on"
                    )
    return found


def _trained_on(metric: Node, by_key: Mapping[str, Node], readable: set[str]) -> set[str]:
    """Keys of the data from which the models behind a metric were trained."""
    found: set[str] = set()
    seen: set[tuple[str, bool]] = set()
    stack = [(metric.key, False)]
    while stack:
        key, trained = stack.pop()
        if (key, trained) in seen:
            continue
        seen.add((key, trained))
        if key in readable:
            if trained:
                found.add(key)
            continue
        trained = trained or by_key[key].type.kind in _TRAINED
        stack.extend((one, trained) for one in input_keys(by_key[key]))
    return found
