"""Warnings that need the data: conversations that are both trained on and measured on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from cai_jax.data.rows import asked_hash
from cai_jax.lang.program_rules import other_prompts, sides
from cai_jax.lang.signature import Kind, Node
from cai_jax.runs.executor import input_keys
from cai_jax.stages.protocol import Stage

_TEXT = (Kind.RESPONSES, Kind.DIALOGS)
_ROWS = (Kind.PROMPTS, Kind.PREFS, Kind.QUESTIONS, *_TEXT)
_TRAINED = (Kind.MODEL, Kind.REWARD_MODEL)


def data(nodes: Sequence[Node], registry: Mapping[str, Stage]) -> list[Node]:
    """The nodes that are read rather than made: prompts, preferences and replies that no model has a part in."""
    found: dict[str, Node] = {}
    for node in nodes:
        read = registry[node.stage].SIGNATURE.group in ("source", "operator") and node.type.kind in _ROWS
        if read and all(key in found for key in input_keys(node)):
            found[node.key] = node
    return list(found.values())


def models(nodes: Sequence[Node], registry: Mapping[str, Stage]) -> list[Node]:
    """The models that are not made here: those in folders and in the local cache, which may not be whole."""
    return [node for node in nodes if registry[node.stage].SIGNATURE.group == "source" and node.type.kind in _TRAINED]


def unmatched(
    nodes: Sequence[Node],
    registry: Mapping[str, Stage],
    labels: Mapping[str, str],
    read: Iterable[Node],
    rows: Callable[[str], Iterable[Mapping[str, Any]]],
) -> list[str]:
    """One sentence for every metric that compares replies that were read, to prompts that are not the same.

    Args:
      as for `overlaps`.
    """
    readable, found = {node.key for node in read}, []
    for node in (node for node in nodes if node.type.kind is Kind.METRIC):
        given = [key for _, key in sides(registry[node.stage].SIGNATURE, node.inputs).values()]
        keys = [key for key in given if key in readable]
        for key in keys[1:]:
            wrong = other_prompts(*(Counter(row["id"] for row in rows(each)) for each in (keys[0], key)))
            found += [f"{labels[node.key]}: {wrong}"] if wrong else []
    return found


def overlaps(
    nodes: Sequence[Node],
    labels: Mapping[str, str],
    read: Iterable[Node],
    rows: Callable[[str], Iterable[Mapping[str, Any]]],
) -> list[str]:
    """One sentence for every metric and data measured on of which conversations were trained on.

    Conversations are compared by `asked_hash`, so that copies under another name, in other files, or under another
    system's prompt are found. Documents are not looked into.

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
            texts[key] = {asked_hash(row["turns"]) for row in rows(key)}
        return texts[key]

    found = []
    for metric in (node for node in nodes if node.type.kind is Kind.METRIC):
        # The very same data is the checker's to find, which knows where it does no harm.
        about = _reached([metric.key], by_key, readable, past=lambda node: node.type.kind not in _TRAINED)
        trained = _reached(_models(metric, by_key), by_key, readable, past=lambda node: True)
        for measured in sorted(about):
            seen = {key: said(measured) & said(key) for key in sorted(trained - {measured})}
            both = set().union(*seen.values())
            if both:
                where = " and ".join(labels[key] for key, common in seen.items() if common)
                found.append(
                    f"{labels[metric.key]}: {len(both)} of {len(said(measured))} measured conversations of "
                    f"{labels[measured]} were trained on, as part of {where}"
                )
    return found


def _reached(
    begin: Iterable[str], by_key: Mapping[str, Node], readable: set[str], past: Callable[[Node], bool]
) -> set[str]:
    """The nearest data from which some nodes are made, reached only through nodes that one may go `past`."""
    found, seen, stack = set(), set(), list(begin)
    while stack:
        key = stack.pop()
        if key in readable:
            found.add(key)
        elif key not in seen and past(by_key[key]):
            seen.add(key)
            stack.extend(input_keys(by_key[key]))
    return found


def _models(metric: Node, by_key: Mapping[str, Node]) -> list[str]:
    """The models that a metric asks, and those that had a part in the replies that it measures."""
    found, seen, stack = [], set(), [metric.key]
    while stack:
        for key in input_keys(by_key[stack.pop()]):
            if by_key[key].type.kind in _TRAINED:
                found.append(key)
            elif by_key[key].type.kind in _TEXT and key not in seen:
                seen.add(key)
                stack.append(key)
    return found
