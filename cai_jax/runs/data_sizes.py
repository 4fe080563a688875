"""Sizes of a plan's data: rows and lengths of the data that was read, assumptions about the rest."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import Any, NamedTuple

from cai_jax.errors import UserError
from cai_jax.lang.plan import Plan
from cai_jax.lang.signature import Kind, Node
from cai_jax.pipeline.row_counts import PROMPT, expected_rows
from cai_jax.runs.overrides import recounted
from cai_jax.stages import documents
from cai_jax.stages.protocol import Stage

# English text has about four characters to a token; a word is at least one.
_CHARACTERS = 4
_TURN = 8  # tokens of a turn's marks in chat templates
_DATA = (Kind.PROMPTS, Kind.PREFS, Kind.QUESTIONS, Kind.RESPONSES, Kind.DIALOGS)
_WORLD = 1000  # documents of the built-in world that are enough to know how long they are


class Lengths(NamedTuple):
    """Documents that were read: their number, and estimated tokens of the mean one and of the longest."""

    rows: int
    mean: int
    longest: int


@dataclass(frozen=True)
class Size:
    """A source's size.

    Attributes:
      key: the node.
      rows: their number; longest: estimated tokens of the longest prompt, or document.
      read: True if both were found by reading it, rather than assumed.
      mean: estimated tokens of the mean document; None for other sources.
    """

    key: str
    rows: int
    longest: int
    read: bool
    mean: int | None = None


class Sized(NamedTuple):
    """A plan with the rows of its data; the longest prompt that each node uses, in tokens; sizes of the sources."""

    plan: Plan
    prompts: Mapping[str, int]
    data: Sequence[Size]


def sized(
    plan: Plan,
    registry: Mapping[str, Stage],
    rows: Mapping[str, Sequence[Mapping[str, Any]]],
    read: Mapping[str, Lengths],
    longest: int | None,
) -> Sized:
    """Find the sizes of the data that the nodes of a plan process.

    Args:
      rows: key -> rows, of the data that was read; read: the same with the lengths of documents.
      longest: tokens of the longest prompt, instead of the data's own; None takes that.
    """
    known = {node.key: _type(node, rows[node.key]) for node in plan.nodes if node.key in rows}
    known |= {key: {"rows": {"": each.rows}, "length": each.mean} for key, each in read.items()}
    plan = replace(plan, nodes=recounted(plan.nodes, registry, known))
    prompts: dict[str, int] = {}
    kinds = {node.key: node.type.kind for node in plan.nodes}
    for node in plan.nodes:
        behind = [prompts[key] for key in _keys(node) if kinds[key] in _DATA]
        if node.key in rows:
            prompts[node.key] = max((_prompt(row) for row in rows[node.key]), default=1)
        else:
            prompts[node.key] = max((each for each in behind), default=PROMPT)
        prompts[node.key] = longest or prompts[node.key]
    data = []
    for node in (node for node in plan.nodes if registry[node.stage].SIGNATURE.group == "source"):
        if node.type.kind in _DATA:
            data.append(Size(node.key, expected_rows(node.type), prompts[node.key], node.key in rows))
        elif node.type.kind is Kind.DOCUMENTS:
            found = read.get(node.key, Lengths(expected_rows(node.type), PROMPT, PROMPT))
            data.append(Size(node.key, found.rows, found.longest, node.key in read, found.mean))
    return Sized(plan, prompts, data)


def lengths(params: Mapping[str, Any]) -> Lengths:
    """Lengths found by reading the documents of these parameters; of the built-in world, only the first of them.

    Raises:
      UserError: they are not on this machine, cannot be read, or there are none.
    """
    texts = documents.texts(params)
    world = params["path"].startswith("builtin:")
    found = [tokens(text) for text in (islice(texts, _WORLD) if world else texts)]
    if not found:
        raise UserError(f"{params['path']}: no documents are left after skip={params['skip']}")
    return Lengths(params["rows"] if world else len(found), math.ceil(sum(found) / len(found)), max(found))


def as_json(data: Iterable[Size]) -> list[dict[str, Any]]:
    """The sizes as data."""
    return [asdict(size) for size in data]


def text(sizes: Iterable[Size], labels: Mapping[str, str]) -> str:
    """A text of the sizes that were read and those that are assumed, a source a line."""
    told = []
    for size in sizes:
        if size.mean is None:
            about = f"{size.rows:,} rows, prompts of up to about {size.longest:,} tokens"
        else:
            about = f"{size.rows:,} documents of about {size.mean:,} tokens, the longest of about {size.longest:,}"
        told.append(f"{labels[size.key]}: {about} ({'read' if size.read else 'assumed: it is not here'})")
    return "\n".join(told)


def _keys(node: Node) -> list[str]:
    return [one for value in node.inputs.values() for one in (value if isinstance(value, tuple) else (value,))]


def _type(node: Node, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A node's type with the sizes found by reading its rows."""
    found: dict[str, Any] = {"rows": dict(Counter(row.get("split", "") for row in rows))}
    replies = [tokens(row[side]) for row in rows for side in ("reply", "a", "b") if side in row]
    replies += [tokens(option) for row in rows for option in row.get("options", ())]
    return found | ({"length": max(replies), "replies": None} if replies else {})


def _prompt(row: Mapping[str, Any]) -> int:
    return sum(tokens(turn["text"]) + _TURN for turn in row["turns"])


def tokens(text: str) -> int:
    """About how many tokens a text has, without asking a tokenizer."""
    return max(len(text.split()), math.ceil(len(text.encode("utf-8", "replace")) / _CHARACTERS))
