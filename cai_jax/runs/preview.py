"""`cai-jax plan --prompts`: the exact prompts of every stage, as far as they can be known before it runs.

Data and constitutions are read for it. What a model has yet to write stands as a placeholder in angle
brackets.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from cai_jax.lang.plan import Plan
from cai_jax.lang.types import Kind, Node, Type
from cai_jax.runs import preflight
from cai_jax.runs.cache import Cache
from cai_jax.runs.errors import StageFailed, UserError
from cai_jax.runs.executor import Executor, Outcome, input_keys
from cai_jax.runs.labels import labels
from cai_jax.runs.signals import Interrupts
from cai_jax.stages.model import locate
from cai_jax.stages.protocol import Stage

if TYPE_CHECKING:
    from cai_jax.data.render import Segment

_DATA = ("source", "operator")
_MODELS = (Kind.MODEL, Kind.REWARD_MODEL)


@dataclass
class Placeholder:
    """An artefact still to be made (`stages.protocol.Artefact`): prompts with placeholders for replies.

    A model reads as the one that it will be made from, whose tokenizer's folder is its `path`.
    """

    key: str
    type: Type
    maker: str
    inputs: Sequence[Any]
    result: Mapping[str, Any]
    dir: Path = Path()

    def rows(self) -> list[dict[str, Any]]:
        told = f"<a reply written by {self.maker}>"
        out = []
        for row in next((each.rows() for each in self.inputs if _has_rows(each)), []):
            for sample in range(self.type.replies or 1):
                written = {"sample": sample, "reply": told, "logprob": 0.0, "tokens": 0, "ended": True}
                if self.type.kind is Kind.PREFS:
                    written = {
                        "a": told,
                        "b": told.replace("a reply", "another reply"),
                        "p": 0.5,
                        "weight": 1.0,
                    }
                out.append({**row, **written})
        return out

    def __len__(self) -> int:
        return len(self.rows())

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows())

    @property
    def path(self) -> Path:
        if "path" not in self.result:
            raise UserError(f"{self.maker} is not on this machine", "fetch it first: its tokenizer makes the prompts")
        return Path(self.result["path"])


def prompts(
    plan: Plan, registry: Mapping[str, Stage], cache: Cache, n: int
) -> Iterator[tuple[str, Node, list[list[Segment]]]]:
    """`(label, node, the first n prompts)` of every node whose stage can show its prompts.

    Raises:
      StageFailed: data cannot be read.
    """
    called = labels(plan, registry)
    with tempfile.TemporaryDirectory() as scratch:
        artefacts = _artefacts(plan, registry, cache, Path(scratch), called)
        for node in plan.nodes:
            stage = registry[node.stage]
            if hasattr(stage, "rendered"):
                context = SimpleNamespace(
                    node=node,
                    params=node.params,
                    inputs={
                        name: tuple(artefacts[k] for k in key) if isinstance(key, tuple) else artefacts[key]
                        for name, key in node.inputs.items()
                    },
                    seed=plan.settings["seed"],
                )
                if shown := stage.rendered(context, n):
                    yield called[node.key], node, shown


def warnings(plan: Plan, registry: Mapping[str, Stage], cache: Cache) -> list[str]:
    """What the data says about the plan: training and measuring on the same prompts, or data not to be read."""
    read = preflight.data(plan.nodes, registry)
    with tempfile.TemporaryDirectory() as scratch:
        executor = _executor(plan, registry, cache, Path(scratch))
        try:
            outcomes = executor.run(read)
        except StageFailed as error:
            return [f"{error.where}: {error.message}" + (f"; {error.hint}" if error.hint else "")]
        rows = {key: outcome.artefact.rows() for key, outcome in outcomes.items()}
    return preflight.overlaps(plan.nodes, labels(plan, registry), read, rows.__getitem__)


def text(label: str, node: Node, rendered: Sequence[Sequence[Segment]]) -> str:
    """Prompts for people: untrusted text stands between ⟦ and ⟧."""
    head = f"=== {label} ({node.stage}): {len(rendered)} prompts; what is between ⟦ and ⟧ is data"
    return "\n".join([head, *(f"--- {i}\n{_marked(segments)}" for i, segments in enumerate(rendered, 1))])


def as_json(label: str, node: Node, rendered: Sequence[Sequence[Segment]]) -> dict[str, Any]:
    """The same as data: of every prompt its segments, in order."""
    return {
        "label": label,
        "stage": node.stage,
        "key": node.key,
        "prompts": [
            [{"text": segment.text, "trusted": segment.trusted} for segment in segments] for segments in rendered
        ],
    }


def _marked(segments: Sequence[Segment]) -> str:
    return "".join(s.text if s.trusted else f"⟦{s.text}⟧" for s in segments)


def _artefacts(
    plan: Plan, registry: Mapping[str, Stage], cache: Cache, scratch: Path, called: Mapping[str, str]
) -> dict[str, Any]:
    """An artefact for every node: cached, made here if it is only data, or a placeholder."""
    executor = _executor(plan, registry, cache, scratch)
    found: dict[str, Any] = {}
    for node in plan.nodes:
        keys = input_keys(node)
        data = registry[node.stage].SIGNATURE.group in _DATA and node.type.kind is not Kind.MODEL
        if cache.entry(node.key).done or (data and all(key in executor.outcomes for key in keys)):
            outcomes: dict[str, Outcome] = executor.run([node])
            found[node.key] = outcomes[node.key].artefact
        else:
            inputs = [found[key] for key in keys]
            found[node.key] = Placeholder(node.key, node.type, called[node.key], inputs, _reading(node, inputs))
    return found


def _reading(node: Node, inputs: Sequence[Any]) -> dict[str, Any]:
    """What is known of how a model reads before it is made."""
    if node.type.kind not in _MODELS:
        return {}
    for start in inputs:
        if start.type.kind in _MODELS:
            known = {"path": str(start.path)} if not isinstance(start, Placeholder) or "path" in start.result else {}
            return {"format": start.result.get("format", "auto"), **known}
    fresh = node.params.get("path", "").startswith("init:")
    folder = locate(node.params.get("tokenizer" if fresh else "path", ""))
    return {"format": node.params.get("format", "auto"), **({} if folder is None else {"path": str(folder)})}


def _executor(plan: Plan, registry: Mapping[str, Stage], cache: Cache, scratch: Path) -> Executor:
    missing = frozenset(node.key for node in plan.nodes if not cache.entry(node.key).done)
    silent = SimpleNamespace(
        begin=lambda *_, **__: None,
        progress=lambda *_, **__: None,
        end=lambda *_, **__: None,
        say=lambda *_: None,
    )
    return Executor(
        registry=registry,
        cache=Cache(cache.root, scratch, missing),
        seed=plan.settings["seed"],
        reporter=silent,
        interrupts=Interrupts(),
        traces=cache.root.parent,
        labels=labels(plan, registry),
    )


def _has_rows(artefact: Any) -> bool:
    return artefact.type.kind in (Kind.PROMPTS, Kind.RESPONSES, Kind.DIALOGS, Kind.PREFS)
