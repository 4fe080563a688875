"""What people call the nodes of a plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cai_jax.lang.types import Node
from cai_jax.stages.protocol import Stage


def labels(nodes: Sequence[Node], registry: Mapping[str, Stage]) -> dict[str, str]:
    """Key -> the node's names, or else an expression: `red.train`, `a + b`, `sample(red.train, base)`."""
    found: dict[str, str] = {}
    for node in nodes:
        found[node.key] = ", ".join(node.names) or _expression(node, registry, found)
    return found


def _expression(node: Node, registry: Mapping[str, Stage], known: Mapping[str, str]) -> str:
    signature = registry[node.stage].SIGNATURE
    inputs = [known.get(key, key) for value in node.inputs.values() for key in _flat(value)]
    plain = [str(node.params[p.name]) for p in signature.params if not p.kinds and p.name in node.params]
    if signature.operator == "+":
        return " + ".join(inputs)
    if signature.operator == "*" and plain and inputs:
        return f"{plain[0]} * {inputs[0]}"
    if signature.operator == "." and plain and inputs:
        return f"{inputs[0]}.{plain[0]}"
    if not inputs and signature.source and signature.operator == "":
        return f'{node.stage}("{node.params[signature.source]}")'
    return f"{node.stage}({', '.join(inputs)})" if inputs else node.stage


def _flat(value: Any) -> tuple[str, ...]:
    return value if isinstance(value, tuple) else (value,)
