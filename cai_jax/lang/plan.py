"""A checked program as nodes with keys (`lang.identity`): what `plan` shows and `run` does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cai_jax.lang import settings
from cai_jax.lang.checker import Arm, Checked, Claim
from cai_jax.lang.checker import Side as CheckedSide
from cai_jax.lang.identity import Identities, code_of, outside
from cai_jax.lang.knobs import label
from cai_jax.lang.program_rules import item
from cai_jax.lang.signature import Kind, Node
from cai_jax.lang.values import Artefact, Flow


@dataclass(frozen=True)
class Side:
    """One side of an `expect`: the metric of node `key` plus `constant`; a pure constant where key is None."""

    key: str | None
    constant: float = 0.0


@dataclass(frozen=True)
class Expect:
    """A claim to test. `level` is that of the interval, such as 0.95, or None to compare point estimates.

    `arm` is "kl=0.01" where the claim belongs to one arm of a sweep, else "".
    """

    text: str
    left: Side
    op: str
    right: Side
    level: float | None
    why: str
    line: int
    arm: str = ""


@dataclass(frozen=True)
class Measure:
    """A metric of the plan: its bound name, or else its expression, and the text of its arguments.

    `of` is what is measured, `on` on what; `given` are all others, such as "by=judge, under=harmless". `arm` is
    "kl=0.01" where it belongs to some arms of a sweep only, else "". `written` has the key of every argument that is
    an artefact, by its text. `items` are the texts of what is measured, where that is a list.
    """

    name: str
    expression: str
    key: str
    of: str
    on: str
    given: str = ""
    arm: str = ""
    written: Mapping[str, str] = field(default_factory=dict)
    items: tuple[str, ...] = ()


@dataclass(frozen=True)
class FlowPlan:
    """A flow, lowered: `nodes` in order, from the one that represents the prompts (`hole`) to `output`.

    Nodes of its models and constitutions, which do not depend on the prompts, are in the plan itself.
    """

    hole: str
    output: str
    nodes: tuple[Node, ...]


@dataclass(frozen=True)
class Plan:
    """The plan of a program: its nodes, names and claims.

    Attributes:
      nodes: in topological order, each once.
      names: name of the program -> key; "rl[kl=0.01]" where the arms of a sweep differ.
      expects, measures: in the program's order, those of every arm.
      flows: by name, as for names.
      knobs: knob -> value in effect.
      settings: those of `run (…)`, filled in.
    """

    nodes: tuple[Node, ...]
    names: Mapping[str, str]
    expects: tuple[Expect, ...] = ()
    measures: tuple[Measure, ...] = ()
    flows: Mapping[str, FlowPlan] = field(default_factory=dict)
    knobs: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    def node(self, key: str) -> Node:
        """The node with this key; KeyError if there is none."""
        for node in self.nodes:
            if node.key == key:
                return node
        raise KeyError(key)


def lower(checked: Checked, fingerprint: Callable[[str], str]) -> Plan:
    """The plan of a program without errors.

    Args:
      checked: its `ok` must hold.
      fingerprint: absolute path, or name with a scheme ("builtin:tiny"), of outside data -> text that changes
        with its contents; called once per path.

    Raises:
      ValueError: the program has errors.
    """
    if not checked.ok:
        raise ValueError("a program with errors cannot be lowered")
    return _Lowering(checked, fingerprint).plan()


class _Lowering:
    def __init__(self, checked: Checked, fingerprint: Callable[[str], str]) -> None:
        self.checked = checked
        self.identities = Identities(checked.resolve, fingerprint)
        self.names: dict[str, str] = {}
        self.flows: dict[str, FlowPlan] = {}
        self.expects: list[Expect] = []
        self.measures: dict[tuple[str, str], Measure] = {}  # by key and bound name

    def plan(self) -> Plan:
        arms, nodes, hidden = self.checked.arms, [], set()
        for arm in arms:
            self._arm(arm)
        for flow in self.flows.values():
            hidden |= {node.key for node in flow.nodes}
        owners: dict[str, list[str]] = {}
        for name, key in self.names.items():
            owners.setdefault(key, []).append(name)
        for key, artefact in self.identities.ordered.items():
            if key not in hidden:
                nodes.append(self._node(key, artefact, tuple(owners.get(key, ()))))
        return Plan(
            nodes=tuple(nodes),
            names=self.names,
            expects=tuple(self.expects),
            measures=tuple(self.measures.values()),
            flows=self.flows,
            knobs={knob.name: knob.value for knob in self.checked.knobs},
            settings=arms[0].run,
        )

    # -- arms

    def _arm(self, arm: Arm) -> None:
        for name, value in arm.names.items():
            shown = f"{name}[{label(arm.values)}]" if self._differs(name) else name
            if isinstance(value, Flow):
                self.flows[shown] = self._flow(value)
                continue
            self.names[shown] = self.identities.key(value)
            if value.type.kind is Kind.METRIC:
                self._measure(value, name, arm)
        for claim in arm.claims:
            self._expect(claim, arm)

    def _differs(self, name: str) -> bool:
        values = [arm.names.get(name) for arm in self.checked.arms]
        results = [value.result if isinstance(value, Flow) else value for value in values]
        return any(result is not results[0] for result in results)

    def _expect(self, claim: Claim, arm: Arm) -> None:
        left, right = self._side(claim.left, arm), self._side(claim.right, arm)
        line = claim.span.source.position(claim.span.start)[0]
        made = Expect(claim.text, left, claim.op, right, claim.level, claim.why, line, self._arm_of(claim, arm))
        if made not in self.expects:
            self.expects.append(made)

    def _arm_of(self, claim: Claim, arm: Arm) -> str:
        same = [c for other in self.checked.arms for c in other.claims if c.span == claim.span]
        alike = all((c.left, c.right) == (claim.left, claim.right) for c in same)
        return "" if alike else label(arm.values)

    def _side(self, side: CheckedSide, arm: Arm) -> Side:
        if side.metric is None:
            return Side(None, side.constant)
        key = self.identities.key(side.metric)
        if not any(measured == key for measured, _ in self.measures):
            self._measure(side.metric, "", arm)
        return Side(key, side.constant)

    def _measure(self, metric: Artefact, name: str, arm: Arm) -> None:
        signature = metric.signature
        assert signature is not None and metric.span is not None  # a stage makes a metric, where one is written
        key, expression = self.identities.key(metric), metric.span.on_one_line
        texts = {p.name: metric.written[p.name][0] for p in signature.params if p.name in metric.written}
        data = [p.name for p in signature.params if p.kinds and p.name in texts]
        items = {name: self._items(metric, name) for name in data}
        written = {
            metric.written[key][0]: self._argument(metric, key) for name in data for key in items[name] or [name]
        }
        of = texts.pop(data[0]) if data else ""
        listed = tuple(metric.written[key][0] for key in items[data[0]]) if data else ()
        about = [name for name in data[1:] if {Kind.PROMPTS, Kind.PREFS} & {*signature.param(name).kinds}]
        on = texts.pop(about[0]) if about else ""
        given = ", ".join(f"{name}={text}" for name, text in texts.items())
        where = self._arm_of_metric(metric, name, arm)
        made = Measure(name or expression, expression, key, of, on, given, where, written, listed)
        self.measures.setdefault((key, name), made)

    @staticmethod
    def _items(metric: Artefact, name: str) -> list[str]:
        """The keys of the items of a list that is given as parameter `name` (`program_rules.item`)."""
        given = metric.inputs[name]
        keys = [item(name, i) for i in range(len(given))] if isinstance(given, tuple) else []
        return [key for key in keys if key in metric.written]

    def _argument(self, metric: Artefact, key: str) -> str:
        """The key of a metric's argument: of what is written there, or of the replies where that is a flow."""
        value = metric.written[key][1]
        if isinstance(value, Artefact):
            return self.identities.key(value)
        name, _, index = key.partition(".")
        made = metric.inputs[name]
        return self.identities.key(made[int(index or 0)] if isinstance(made, tuple) else made)

    def _arm_of_metric(self, metric: Artefact, name: str, arm: Arm) -> str:
        """The swept values on which a metric depends: those that all arms which measure it have in common."""
        arms = self.checked.arms
        sharing = [
            other for other in arms if metric is other.names.get(name) or (not name and metric in self._claimed(other))
        ]
        if len(sharing) == len(arms):
            return ""
        return label({k: v for k, v in arm.values.items() if all(other.values[k] == v for other in sharing)})

    @staticmethod
    def _claimed(arm: Arm) -> list[Artefact]:
        """The metrics in an arm's claims."""
        return [side.metric for claim in arm.claims for side in (claim.left, claim.right) if side.metric]

    def _flow(self, flow: Flow) -> FlowPlan:
        hole, output = self.identities.key(flow.hole), self.identities.key(flow.result)
        waiting, ordered, inner = {hole}, self.identities.ordered, _between(flow)
        for key, artefact in ordered.items():
            if any(self.identities.key(source) in waiting for source in artefact.sources()):
                waiting.add(key)
        nodes = [self._node(key, made, ()) for key, made in ordered.items() if key in waiting and id(made) in inner]
        return FlowPlan(hole, output, tuple(nodes))

    # -- nodes

    def _node(self, key: str, artefact: Artefact, names: tuple[str, ...]) -> Node:
        params = dict(artefact.values)
        for name in outside(artefact):
            value = params[name]
            resolve = self.checked.resolve
            params[name] = [resolve(one) for one in value] if isinstance(value, list) else resolve(value)
        # What is drawn or trained has a schedule: the run's, but for what its own `with (…)` gives.
        run = {name: value for name, value in self.checked.arms[0].run.items() if name in settings.SCHEDULE}
        schedule = {**run, **artefact.schedule} if artefact.meaning else {}
        inputs, data, code = self.identities.inputs(artefact), self.identities.data(artefact), code_of(artefact)
        return Node(key, artefact.stage, params, inputs, artefact.type, names, schedule, data, code=code)


def _between(flow: Flow) -> set[int]:
    """`id` of every artefact that the flow's result is made from."""
    seen, stack = set(), [flow.result]
    while stack:
        current = stack.pop()
        if id(current) not in seen:
            seen.add(id(current))
            stack.extend(current.sources())
    return seen
