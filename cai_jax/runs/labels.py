"""What people call the nodes of a plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cai_jax.lang.plan import Plan
from cai_jax.lang.types import Node, Param
from cai_jax.stages.protocol import Stage


def labels(plan: Plan, registry: Mapping[str, Stage]) -> dict[str, str]:
    """Key -> the node's names, or else an expression: `red.train`, `a + b`, `sample(red.train, base)`."""
    # A metric has lifted its model to replies, and is better known as it was written.
    found = {measure.key: measure.name for measure in plan.measures}
    for node in plan.nodes:
        if node.key not in found:
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
    given = [f"{p.name}={node.params[p.name]}" for p in signature.params if _is_given(p, node)]
    return f"{node.stage}({', '.join([*inputs, *given])})" if inputs or given else node.stage


def _is_given(param: Param, node: Node) -> bool:
    """Whether a plain parameter has another value than its default."""
    return not param.kinds and param.name in node.params and node.params[param.name] != param.default


def _flat(value: Any) -> tuple[str, ...]:
    return value if isinstance(value, tuple) else (value,)
