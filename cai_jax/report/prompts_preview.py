"""`cai-jax plan --prompts`: the exact prompts of every stage, as far as they can be known before it runs.

Data and constitutions are read for it. Text that a model has yet to write is shown as a placeholder in angle
brackets.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

from cai_jax.data.row_columns import Row
from cai_jax.exit_codes import Interrupted, StageFailed, UserError
from cai_jax.lang.plan import Plan
from cai_jax.lang.signature import Kind, Node
from cai_jax.report import preflight
from cai_jax.runs import data_sizes, memory_cache
from cai_jax.runs.cache import Cache
from cai_jax.runs.context import MODELS, CachedArtefact, NodeArtefact, inputs_of
from cai_jax.runs.data_sizes import Lengths
from cai_jax.runs.executor import failed, input_keys
from cai_jax.runs.input_guard import Outside
from cai_jax.runs.node_labels import labels, said
from cai_jax.runs.signals import Interrupts
from cai_jax.stages.model import locate
from cai_jax.stages.protocol import Stage
from cai_jax.terminal import BRACKETS, LINE, escaped, visible

if TYPE_CHECKING:
    from cai_jax.prompting.render import Segment

_DATA = ("source", "operator")


class Placeholder(NodeArtefact):
    """An artefact still to be made (`pipeline.context.Artefact`): prompts with placeholders for replies.

    A model reads as the one that it will be made from.
    """

    def __init__(self, maker: str, *more: Any) -> None:
        super().__init__(*more)
        self.maker = maker
        self.sources = inputs_of(self)
        self.start = next((one for one in self.sources if one.type.kind in MODELS), None)
        self.result = {"format": self.params["format"]} if "format" in self.params else {}
        if self.type.kind in MODELS and self.start is not None:
            self.result = self.start.result

    def rows(self) -> list[Row]:
        told = f"<a reply written by {self.maker}>"
        out: list[Row] = []
        for row in next((each.rows() for each in self.sources if _has_rows(each)), []):
            for sample in range(self.type.replies or 1):
                # Replies that are to be compared differ.
                reply = told.replace("a reply", "another reply") if sample else told
                written: Row = {"sample": sample, "reply": reply, "logprob": 0.0, "tokens": 0, "ended": True}
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

    @property
    def path(self) -> Path:
        if self.start is not None:
            return self.start.path
        if self._located and self._located(self.params) is not None:
            return super().path
        # Fresh weights, of which only the tokenizer is known.
        folder = locate(self.params.get("tokenizer", ""))
        if folder is None:
            raise UserError(f"{self.maker} is not on this machine", "fetch it first: its tokenizer makes the prompts")
        return folder

    @property
    def bases(self) -> tuple[Path, ...]:
        return self.start.bases if self.start is not None else super().bases


def prompts(
    plan: Plan, registry: Mapping[str, Stage], cache: Cache, n: int
) -> Iterator[tuple[str, Node, list[list[Segment]]]]:
    """`(label, node, the first n prompts)` of every node whose stage can show its prompts.

    Raises:
      StageFailed: data cannot be read.
    """
    called = labels(plan, registry)
    artefacts = _artefacts(plan, registry, cache, called)
    for node in plan.nodes:
        stage = registry[node.stage]
        if hasattr(stage, "rendered"):
            inputs = {name: _given(key, artefacts) for name, key in node.inputs.items()}
            seed = plan.settings["seed"] if node.seed is None else node.seed
            context = SimpleNamespace(node=node, params=node.params, inputs=inputs, seed=seed)
            if shown := stage.rendered(context, n):
                yield called[node.key], node, shown


class Data(NamedTuple):
    """The data of a plan: key -> rows, or lengths of documents, of what could be read; what was wrong with the rest."""

    rows: Mapping[str, list[Row]]
    documents: Mapping[str, Lengths]
    wrong: list[str]


def read(plan: Plan, registry: Mapping[str, Stage], cache: Cache) -> Data:
    """Read the data that a plan only reads: documents, and prompts, preferences and replies that no model has made."""
    called = labels(plan, registry)
    found: dict[str, NodeArtefact] = {}
    wrong: list[str] = []
    for node in preflight.data(plan.nodes, registry):
        if any(key not in found for key in input_keys(node)):
            continue
        try:
            found[node.key] = _read(node, registry, cache, called, found, plan.settings["seed"])
        except StageFailed as error:
            wrong.append(_told(error.where, error))
    documents: dict[str, Lengths] = {}
    for node in plan.nodes:
        if node.type.kind is Kind.DOCUMENTS and registry[node.stage].SIGNATURE.group == "source":
            try:
                documents[node.key] = data_sizes.lengths(node.params)
            except UserError as error:
                wrong.append(_told(called[node.key], error))
    return Data({key: made.rows() for key, made in found.items()}, documents, wrong)


def _told(where: str, error: UserError) -> str:
    return f"{where}: {error.message}" + (f"; {error.hint}" if error.hint else "")


def warnings(plan: Plan, registry: Mapping[str, Stage], data: Data) -> list[str]:
    """Warnings from the data of the plan: training and measuring on the same prompts, or data that cannot be read."""
    if data.wrong:
        return data.wrong
    nodes = [node for node in plan.nodes if node.key in data.rows]
    return preflight.overlaps(plan.nodes, labels(plan, registry), nodes, data.rows.__getitem__)


def text(label: str, node: Node, rendered: Sequence[Sequence[Segment]]) -> str:
    """Prompts for people, verbatim: indented by two spaces, data between ⟦ and ⟧, and `escaped`."""
    head = visible(f"=== {said(label, node)}: {len(rendered)} prompts; what is between ⟦ and ⟧ is data", LINE)
    return "\n".join([head, *(f"--- {i}\n  {_marked(segments)}" for i, segments in enumerate(rendered, 1))])


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
    shown = [(segment.trusted, escaped(segment.text, BRACKETS).replace("\n", "\n  ")) for segment in segments]
    return "".join(text if trusted else f"⟦{text}⟧" for trusted, text in shown)


def _artefacts(plan: Plan, registry: Mapping[str, Stage], cache: Cache, called: Mapping[str, str]) -> dict[str, Any]:
    """An artefact for every node: cached, held in memory if it is only data, or a placeholder."""
    found: dict[str, Any] = {}
    for node in plan.nodes:
        known = all(not isinstance(found[key], Placeholder) for key in input_keys(node))
        data = registry[node.stage].SIGNATURE.group in _DATA and node.type.kind is not Kind.MODEL
        if cache.entry(node.key).done or (data and known):
            found[node.key] = _read(node, registry, cache, called, found, plan.settings["seed"])
        else:
            inputs = {name: _given(key, found) for name, key in node.inputs.items()}
            stage, entry = registry[node.stage], cache.entry(node.key)
            found[node.key] = Placeholder(called[node.key], node, entry.dir, {}, inputs, stage)
    return found


def _read(
    node: Node,
    registry: Mapping[str, Stage],
    cache: Cache,
    called: Mapping[str, str],
    found: Mapping[str, Any],
    seed: int,
) -> NodeArtefact:
    """A node out of the cache, or made in memory.

    Raises:
      StageFailed: its stage raised.
    """
    inputs = {name: _given(key, found) for name, key in node.inputs.items()}
    entry, stage, outside = cache.entry(node.key), registry[node.stage], Outside()
    if entry.done:
        return CachedArtefact(entry, node, inputs, stage, outside)
    try:
        return memory_cache.make(node, stage, inputs, seed, Interrupts(), outside)
    except (Interrupted, KeyboardInterrupt):
        raise
    except BaseException as error:
        # What `plan` finds out, it writes nowhere: not even into the folder of the runs.
        raise failed(node, called[node.key], error, Path(tempfile.gettempdir()), stage.SIGNATURE.code) from error


def _given(key: str | tuple[str, ...], found: Mapping[str, Any]) -> Any:
    return tuple(found[one] for one in key) if isinstance(key, tuple) else found[key]


def _has_rows(artefact: Any) -> bool:
    return artefact.type.kind in (Kind.PROMPTS, Kind.RESPONSES, Kind.DIALOGS, Kind.PREFS, Kind.QUESTIONS)
