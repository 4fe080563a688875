"""`--seed` and `--limit`: a plan under another run seed, or on the first rows of its sources only.

Both are part of a node's meaning. A changed node gets a key made from its old key and from what changed, and
so does every node that is made from one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from cai_jax.lang.identity import key_of
from cai_jax.lang.plan import FlowPlan, Measure, Plan, Pool, Side
from cai_jax.lang.signature import Call, Node, Type
from cai_jax.stages.protocol import Stage


def overridden(plan: Plan, registry: Mapping[str, Stage], seed: int | None, limit: int | None) -> Plan:
    """The plan with another seed or row limit, or the same plan if neither says anything new."""
    if seed == plan.settings["seed"]:
        seed = None
    if seed is None and limit is None:
        return plan
    keys: dict[str, str] = {}
    nodes = tuple(_changed(node, registry, seed, limit, keys) for node in plan.nodes)
    if limit is not None:
        nodes = recounted(nodes, registry)
    flows = {}
    for name, flow in plan.flows.items():
        inner = tuple(_changed(node, registry, seed, limit, keys) for node in flow.nodes)
        flows[name] = FlowPlan(keys[flow.hole], keys[flow.output], inner)
    return replace(
        plan,
        nodes=nodes,
        flows=flows,
        names={name: keys[key] for name, key in plan.names.items()},
        expects=tuple(
            replace(
                claim,
                left=_rekeyed(claim.left, keys),
                right=_rekeyed(claim.right, keys),
            )
            for claim in plan.expects
        ),
        measures=tuple(_remeasured(measure, keys) for measure in plan.measures),
        pools=tuple(
            Pool(_remeasured(pool.measure, keys), tuple(keys[key] for key in pool.keys)) for pool in plan.pools
        ),
        settings=plan.settings if seed is None else {**plan.settings, "seed": seed},
    )


def _rekeyed(side: Side, keys: Mapping[str, str]) -> Side:
    if side.key is None:
        return side
    return replace(side, key=keys[side.key], seeds=tuple(keys[key] for key in side.seeds))


def _remeasured(measure: Measure, keys: Mapping[str, str]) -> Measure:
    written = {text: keys[key] for text, key in measure.written.items()}
    return replace(measure, key=keys.get(measure.key, ""), written=written)


def recounted(
    nodes: Sequence[Node], registry: Mapping[str, Stage], known: Mapping[str, Mapping[str, Any]] | None = None
) -> tuple[Node, ...]:
    """The nodes, inputs first, with rows and lengths of their types as parameters and inputs make them, for estimates.

    Args:
      known: key -> fields of its type, for nodes of which more is known than their parameters say.
    """
    types: dict[str, Type] = {}
    out = []
    for node in nodes:
        if known and node.key in known:
            made = replace(node.type, **known[node.key])
        else:
            given = {
                name: tuple(types[one] for one in key) if isinstance(key, tuple) else types[key]
                for name, key in node.inputs.items()
            }
            told = registry[node.stage].SIGNATURE.result(Call(node.params, given))
            made = replace(node.type, rows=told.rows, length=told.length)
        out.append(replace(node, type=made))
        types[node.key] = made
    return tuple(out)


def reinput(node: Node, keys: Mapping[str, str], what: Mapping[str, Any]) -> Node:
    """The node on other inputs, under a key made from its old one, the new inputs and `what` else is new."""
    inputs = {
        name: tuple(keys.get(one, one) for one in key) if isinstance(key, tuple) else keys.get(key, key)
        for name, key in node.inputs.items()
    }
    if inputs == dict(node.inputs) and not what:
        return node
    return replace(node, inputs=inputs, key=key_of(node.stage, {"was": node.key, "inputs": inputs, **what}))


def _changed(
    node: Node, registry: Mapping[str, Stage], seed: int | None, limit: int | None, keys: dict[str, str]
) -> Node:
    signature = registry[node.stage].SIGNATURE if node.stage in registry else None
    what: dict[str, Any] = {}
    bound = signature.limit if signature is not None else ""
    if bound and limit is not None and not 0 < node.params[bound] <= limit:
        what["limit"] = limit
    if seed is not None and signature is not None and signature.group in ("stage", "metric"):
        what["seed"] = seed
    made = replace(reinput(node, keys, what), limited=limit is not None)
    if "limit" in what:
        made = replace(made, params={**made.params, bound: limit})
    keys[node.key] = made.key
    return made
