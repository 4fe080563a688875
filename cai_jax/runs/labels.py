"""What people call the nodes of a plan, and which node they mean."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from cai_jax.errors import UserError
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


def find(name: str, names: Mapping[str, str], keys: Collection[str], where: str) -> str:
    """The key of the node that somebody calls `name`: a name, or a name without its arm, or the beginning of a key.

    Args:
      names: name -> key. keys: all that may be meant by their beginning.
      where: what the names belong to, such as "this program".

    Raises:
      UserError: nothing is called so, or several are.
    """
    if name in names:
        return names[name]
    arms = {shown: key for shown, key in names.items() if shown.startswith(f"{name}[")}
    found = sorted(set(arms.values()) or {key for key in keys if key.startswith(name)})
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(f"`{name}` is the name of several nodes", f"choose one of {', '.join(arms or found)}")
    from cai_jax.lang.diagnostics import did_you_mean

    known = f"{where} names {', '.join(names)}" if names else ""
    raise UserError(f"`{name}` is no node of {where}", did_you_mean(name, names) or known)


def _expression(node: Node, registry: Mapping[str, Stage], known: Mapping[str, str]) -> str:
    signature = registry[node.stage].SIGNATURE
    inputs = [known.get(key, key) for value in node.inputs.values() for key in _flat(value)]
    plain = [str(node.params[p.name]) for p in signature.params if not p.kinds and p.name in node.params]
    if signature.operator == "constitution":
        return _principles([principle["name"] for principle in node.params["principles"]])
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


def _principles(names: Sequence[str], shown: int = 3) -> str:
    """A constitution without a name, such as `harmless.safety`, by the first of its principles."""
    more = f", and {len(names) - shown} more" if len(names) > shown else ""
    return f"constitution({', '.join(names[:shown])}{more})"


def _is_given(param: Param, node: Node) -> bool:
    """Whether a plain parameter has another value than its default."""
    return not param.kinds and param.name in node.params and node.params[param.name] != param.default


def _flat(value: Any) -> tuple[str, ...]:
    return value if isinstance(value, tuple) else (value,)
