"""The jitted steps of a stage, from shapes instead of weights and data: what `cai-jax compile` compiles.

Every stage's `steps(ctx)` goes through the same functions that its `run` goes through, with a `Described` in place of
a context. Where a step comes in several widths (a prompt's bucket), the widest is described: it takes the most.
"""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from cai_jax.errors import UserError
from cai_jax.lang.signature import Node, Type
from cai_jax.pipeline import model_store
from cai_jax.pipeline.node_devices import devices_of

if TYPE_CHECKING:
    import jax

    from cai_jax.models.checkpoint import Model
    from cai_jax.models.config import Config

Tree = Any  # a pytree of ShapeDtypeStruct

# What cannot be known before a tokenizer has read it: an instruction with its template, an example of a constitution.
REQUEST_TOKENS = 64
SHOT_TOKENS = 256
# The two options of a question are a bracket, a letter and a bracket in most tokenizers.
OPTIONS = [[0, 1, 3], [0, 2, 3]]


@dataclass(frozen=True)
class Step:
    """One jitted function with what it is given.

    Attributes:
      name: what it does.
      calls: how often a run calls it, as far as that is known.
      given: its arguments, by name.
      held: what else lies in memory meanwhile, or is among the arguments, by name.
      lower: lowers it for the devices of `parallel.target`.
      trips: how often at most those of its loops run whose count the data decides.
    """

    name: str
    calls: float
    given: Mapping[str, Tree]
    held: Mapping[str, Tree]
    lower: Callable[[], jax.stages.Lowered]
    trips: int = 1

    def beside(self, held: Mapping[str, Tree]) -> Step:
        """The step with this in memory."""
        return replace(self, held=held)

    def others(self) -> dict[str, Tree]:
        """What is held and not among the arguments."""
        import jax

        counted = {id(leaf) for leaf in jax.tree.leaves(dict(self.given))}
        beside = {}
        for name, tree in self.held.items():  # of which adapted models share their base
            found = {id(leaf): leaf for leaf in jax.tree.leaves(tree) if id(leaf) not in counted}
            counted |= found.keys()
            beside |= {name: list(found.values())} if found else {}
        return beside


@dataclass(frozen=True)
class Input:
    """An artefact that is still to be made (`stages.protocol.Artefact`), and what it is made from."""

    node: Node
    label: str
    inputs: Mapping[str, Any]

    @property
    def type(self) -> Type:
        return self.node.type


def connected(nodes: Iterable[Node], labels: Mapping[str, str]) -> Iterator[Input]:
    """Nodes in topological order as artefacts, each with what it is made from."""
    known: dict[str, Input] = {}
    for node in nodes:
        inputs = {
            name: tuple(known[one] for one in key) if isinstance(key, tuple) else known[key]
            for name, key in node.inputs.items()
        }
        known[node.key] = Input(node, labels.get(node.key, node.stage), inputs)
        yield known[node.key]


@dataclass
class ResidentModels:
    """The models that stay loaded from one node to the next, as pipeline/model_store.py keeps them."""

    kept: OrderedDict[tuple, tuple[str, Model]] = field(default_factory=OrderedDict)

    def load(self, key: tuple, label: str, make: Callable[[], Model]) -> Model:
        if key not in self.kept:
            self.kept[key] = (label, make())
        self.kept.move_to_end(key)
        found = self.kept[key][1]
        while len(self.kept) > model_store.KEPT:
            self.kept.popitem(last=False)
        return found

    def copy(self) -> ResidentModels:
        return ResidentModels(self.kept.copy())


class NodeView:
    """A node that nothing is known of but its parameters, its inputs' types and the longest prompt.

    Attributes:
      node, params: as a context's (`stages.protocol.Context`).
      inputs: parameter name -> `Input`, or a tuple of them.
      prompt: tokens of the longest prompt of the program.
    """

    def __init__(self, node: Node, inputs: Mapping[str, Any], prompt: int) -> None:
        self.node, self.params, self.inputs, self.prompt = node, node.params, inputs, prompt

    @property
    def reply(self) -> int:
        """Tokens of the longest reply that is acted on."""
        for name in ("replies", "data", "of", "prefs"):
            if name in self.inputs:
                return self.inputs[name].type.length or 128
        return 128

    def shots(self, config: Config, constitution: str = "constitution") -> int:
        """Tokens of the examples in front of every prompt, no more than half of a model's context."""
        if not self.inputs[constitution].node.params.get("fewshots"):
            return 0
        return min(self.params["fewshots"] * SHOT_TOKENS, config.max_position // 2)

    def audits(self, constitution: str, replies: float) -> tuple[float, int]:
        """How many questions ask about every principle of so many replies, and tokens of the longest."""
        principles = self.inputs[constitution].node.params["principles"]
        count = sum(bool(each.get("audit")) for each in principles)
        orders = 1 if self.params.get("orders") == "given" else 2
        return orders * replies * count, self.prompt + self.reply + REQUEST_TOKENS


class CompileContext(NodeView):
    """A node whose steps are made from shapes.

    Attributes:
      seed: as a context's.
    """

    seed = 0

    def __init__(self, node: Node, inputs: Mapping[str, Any], prompt: int, memory: ResidentModels) -> None:
        super().__init__(node, inputs, prompt)
        self._memory = memory
        self._mine: dict[str, Model] = {}

    def used(self, **schedule: Any) -> None:
        """A schedule is noted by runs only."""

    def models(self, name: str, trained: bool = False) -> list[Model]:
        """The models of the artefact given as parameter `name`, loaded; without weights and tokenizer.

        Raises:
          UserError: its shape is not known.
        """
        return self._loaded(self.inputs[name], trained)

    def _loaded(self, given: Input, trained: bool) -> list[Model]:
        scored, devices = given.type.kind == "RewardModel", devices_of(self)
        trained = trained and model_store.two_layouts(devices)
        if not given.type.decoders:
            raise UserError(
                f"the shape of the model {given.label} is not known",
                'fetch it, or say which it has: model("hf:…", shape="llama-3.1-8b")',
            )
        out = []
        for number, (config, dtype) in enumerate(given.type.decoders):
            key = (given.node.key, number, dtype, devices, trained)
            make = functools.partial(self._made, given, config, dtype, devices, trained, scored)
            label = given.label if number == 0 else f"{given.label} ({number + 1})"
            label += ", laid out for training" if trained else ""
            out.append(self._memory.load(key, label, make))
            self._mine[label] = out[-1]
        return out

    def _made(self, given: Input, config, dtype: str, devices, trained: bool, scored: bool) -> Model:
        """One of its models: whole, or an adapter on top of a base that others may stand on as well."""
        if given.node.params.get("adapter", "full") == "full":
            return abstract(config, dtype, devices, trained, scored)
        (below,) = self._loaded(given.inputs["model"], trained)
        return adapted(below, given.node.params["adapter"]["rank"], dtype, devices, trained, scored)

    def model(self, name: str, trained: bool = False) -> Model:
        return self.models(name, trained)[0]

    def held(self) -> dict[str, Tree]:
        """What the models take that are loaded now."""
        return {label: _weights(model) for label, model in [*self._memory.kept.values(), *self._mine.items()]}


def abstract(config, dtype: str, devices, trained: bool, scored: bool) -> Model:
    """A model as `models.load` would place it, of shapes alone."""
    import jax

    from cai_jax.models import decoder
    from cai_jax.models.checkpoint import Model

    params = jax.eval_shape(lambda: decoder.init(config, jax.random.key(0)))
    params = _laid(decoder.trunk(params) if scored else params, dtype, devices, trained)
    return Model(config, params, None, _head(config, devices) if scored else None)


def adapted(below: Model, rank: int, dtype: str, devices, trained: bool, scored: bool) -> Model:
    """A model with an adapter of this rank on top of another, whose shapes it shares."""
    import jax

    from cai_jax.models import decoder, lora

    fresh = jax.eval_shape(lambda params: lora.init(params, rank, jax.random.key(0)), below.params)
    params = on_top(below.params, _laid(fresh, dtype, devices, trained))
    head = _head(below.config, devices) if scored else None
    return replace(below, params=decoder.trunk(params) if scored else params, head=head)


def on_top(params: Mapping[str, Tree], adapter: Mapping[str, Tree]) -> dict[str, Tree]:
    """`lora.joined` of shapes."""
    import jax

    found = dict(params)
    for name, leaf in adapter.items():
        if isinstance(leaf, Mapping):
            found[name] = on_top(found[name], leaf)
        elif name in found:
            side = 1 if name.endswith("_a") else 0
            shape = [*leaf.shape]
            shape[side] += found[name].shape[side]
            found[name] = jax.ShapeDtypeStruct(tuple(shape), leaf.dtype, sharding=leaf.sharding)
        else:
            found[name] = leaf
    return found


def _head(config, devices) -> Tree:
    import jax

    head = {"kernel": (config.hidden_size,), "bias": ()}
    shapes = {name: jax.ShapeDtypeStruct(shape, "float32") for name, shape in head.items()}
    return _laid({"head": shapes}, "float32", devices, trained=False)["head"]


def _laid(tree: Tree, dtype: str, devices, trained: bool) -> Tree:
    """Shapes in a dtype where a model's leaves lie."""
    import jax

    from cai_jax.parallel import target
    from cai_jax.parallel.sharding_rules import SERVED, TRAINED, shardings

    if isinstance(devices, str):
        one = jax.sharding.SingleDeviceSharding(target.local_devices()[0])
        where = jax.tree.map(lambda _: one, tree)
    else:
        where = shardings(tree, devices, TRAINED if trained else SERVED)
    return jax.tree.map(lambda x, at: jax.ShapeDtypeStruct(x.shape, dtype, sharding=at), tree, where)


def _weights(model: Model) -> Tree:
    return model.params if model.head is None else {"decoder": model.params, "head": model.head}
