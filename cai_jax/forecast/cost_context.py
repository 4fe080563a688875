"""What the steps of a stage cost on a machine, for `plan`: those that compile_context.py compiles. Imports no JAX."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from cai_jax.engine import batch_shapes, buckets
from cai_jax.engine.generation_config import GenerationConfig
from cai_jax.engine.option_tail import Tail
from cai_jax.forecast.decoder_cost import WIDE, DecoderCost, Work
from cai_jax.forecast.machines import Machine
from cai_jax.forecast.node_view import OPTIONS, Input, NodeView
from cai_jax.lang.signature import Node
from cai_jax.stages.protocol import Stage

_SIZES = {"float32": 4, "bfloat16": 2}


class Grid(NamedTuple):
    """How many devices a mesh has along each axis (parallel/mesh.py)."""

    data: int
    fsdp: int = 1
    tensor: int = 1

    @property
    def rows(self) -> int:
        """Parts into which rows are split."""
        return self.data * self.fsdp


@dataclass(frozen=True)
class Cost:
    """A node's estimated work on all devices together.

    Attributes:
      tokens: read and written, with the padding of rows.
      flops: of products, 2·m·n·k each.
      bytes: to and from main memory.
    """

    tokens: float = 0.0
    flops: float = 0.0
    bytes: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.tokens + other.tokens, self.flops + other.flops, self.bytes + other.bytes)


@dataclass(frozen=True)
class CostStep:
    """A step and what all of its calls together cost on all devices."""

    name: str
    cost: Cost


@dataclass(frozen=True)
class Learning:
    """Steps that train a model, and the model as other steps see it meanwhile.

    Attributes:
      held: for `CompileContext`; costs do not depend on what else lies in memory.
    """

    steps: list[CostStep]
    model: DecoderCost
    held: None = None


class CostContext(NodeView):
    """A node whose cost is estimated for a machine.

    Where its models' shapes are not known there are none, and nothing is counted.
    """

    def __init__(self, node: Node, inputs: Mapping[str, Any], prompt: int, machine: Machine) -> None:
        super().__init__(node, inputs, prompt)
        self.machine = machine

    def models(self, name: str, trained: bool = False) -> list[DecoderCost]:
        """The decoders of the artefact given as parameter `name`; none where their shape is not known."""
        given = self.inputs[name]
        return [
            DecoderCost(
                config,
                *(_SIZES[dtype], _SIZES[dtype], self.machine.platform),
                *(_rank(given), self._grid().tensor, self.machine.on_chip),
            )
            for config, dtype in given.type.decoders
        ]

    def shots(self, model: DecoderCost, constitution: str = "constitution") -> int:
        """Tokens of the examples in front of every prompt."""
        return self.shot_tokens(model.config, constitution)

    def reading_shots(self, model: DecoderCost, tokens: int) -> list[CostStep]:
        """Reading them once, which every device does."""
        if not tokens:
            return []
        width = _stored(tokens)
        work = model.read(self._share(1), width, kept=True)
        return [self._everywhere("read examples", work, width, 1)]

    def generating(
        self,
        model: DecoderCost,
        name: str,
        texts: float,
        longest: int,
        shots: int = 0,
        exact: bool = False,
        held: None = None,
    ) -> list[CostStep]:
        """Writing `texts` texts behind prompts of up to `longest` tokens, as `CompileContext.generating` does."""
        from cai_jax.pipeline.generation import SLOTS

        new = self.params.get("max_new", 128)
        slots = self.node.schedule.get("slots") or SLOTS * self._grid().rows
        room = model.config.max_position - new - shots
        longest = max(1, min(longest, room))
        longest = longest if exact else min(buckets.next_power_of_two(longest), max(1, room))
        settings = GenerationConfig(new, slots=slots, longest=longest)
        width, positions = buckets.next_power_of_two(longest), settings.positions(longest)
        before = _stored(shots)
        rows = self._share(settings.batch)
        copied = Work(0.0, model.copied(settings.batch, width, self._grid().rows))
        filled = model.read(rows, width, before, kept=True).plus(copied)
        drawn = model.decode(self._share(slots), positions, settings.chunk, before)
        fills = math.ceil(texts / settings.batch)
        chunks = math.ceil(texts / slots) * math.ceil(new / settings.chunk)
        return [
            self._everywhere(f"{name}: read prompts", filled, settings.batch * width, fills),
            self._everywhere(f"{name}: decode {settings.chunk} tokens", drawn, slots * settings.chunk, chunks),
        ]

    def asking(self, model: DecoderCost, name: str, questions: float, longest: int, shots: int = 0) -> list[CostStep]:
        """Scoring the two options behind so many questions of up to `longest` tokens."""
        tail, parts = Tail.of(OPTIONS), self._grid().rows
        longest = min(longest, model.config.max_position - shots - max(map(len, OPTIONS)))
        width = buckets.next_eighth_octave(longest + tail.tokens.size)
        at_once = batch_shapes.tokens_at_once(self.machine.platform)
        rows = batch_shapes.rows_at_once(parts, at_once * parts, width)
        mine = self._share(rows)
        read = model.read(mine, width, _stored(shots), kernel=False)
        work = read.plus(model.unembed(mine * tail.sources.size))
        return [self._everywhere(f"{name}: score options", work, rows * width, math.ceil(questions / rows))]

    def scoring(self, name: str, replies: float, held: None = None) -> list[CostStep]:
        """Scoring replies with the preference model given as parameter `name`, or with all of a mixture."""
        label = f"score by {self.inputs[name].label}"
        return [step for model in self.models(name) for step in self.scores(model, label, replies)]

    def scores(
        self, model: DecoderCost, name: str, replies: float, held: None = None, parts: int = 1
    ) -> list[CostStep]:
        """Scoring replies with one preference model, whose weights lie in so many parts."""
        from cai_jax.pipeline.reward_scoring import BATCH

        width = min(buckets.next_power_of_two(self.prompt + self.reply), model.config.max_position)
        work = model.read(self._share(BATCH), width, parts=parts)
        return [self._everywhere(name, work, BATCH * width, math.ceil(replies / BATCH))]

    def learning(
        self,
        model: DecoderCost,
        learner: Callable[[Any], Any],
        rows: int,
        arrays: Mapping[str, tuple[tuple[int, ...], str]],
        calls: float,
        chunk: int | None = None,
        scored: bool = False,
    ) -> Learning:
        """Updates on batches of `rows` rows, `chunk` positions unembedded at a time; None: none are.

        Args:
          arrays: of a batch, by name: shape of a row and dtype. "tokens" are `[T]`, or `[S, T]` for S texts a row.
        """
        *texts, width = arrays["tokens"][0]
        step = self._training("train", model, rows, width, calls, chunk, math.prod(texts))
        trained, _ = self._trained(model)
        return Learning([step], replace(trained, size=trained.stored))

    def score_references(self, learning: Learning, replies: float) -> list[CostStep]:
        """Scoring replies with the preference model that is being trained."""
        return self.scores(learning.model, "score references", replies, parts=self._grid(True).fsdp)

    def reinforcing(self, model: DecoderCost, scorers: Sequence[DecoderCost], width: int) -> Learning:
        """Of every iteration of PPO the reference's log-probabilities, preparing the rollout, and the updates."""
        from cai_jax.learn.chunks import PPO
        from cai_jax.pipeline.training import updates_of

        p = self.params
        learner, _ = self._trained(model)
        read = (p["batch"], width, p["steps"])
        # Policy and critic each: one unembeds, the other has a head.
        prepared = [self._reading("prepare", learner, *read, PPO), self._reading("prepare", learner, *read)]
        learned = (p["minibatch"] or p["batch"], width, p["steps"] * updates_of(p))
        updated = [self._training("update", model, *learned, PPO), self._training("update", model, *learned)]
        steps = [self._reading("reference", model, *read, PPO), *prepared, *updated]
        return Learning(steps, replace(learner, stored=model.stored))

    def _grid(self, training: bool = False) -> Grid:
        """The node's mesh (pipeline/node_devices.py); under pmap, models that are only read lie on one device."""
        asked, devices = self.node.schedule.get("mesh", "auto"), self.machine.devices
        if asked == "one" or (asked == "pmap" and not training):
            return Grid(1)
        if isinstance(asked, str):
            return Grid(devices)
        rest = asked["fsdp"] * asked["tensor"]
        return Grid(asked["data"] or max(1, devices // rest), asked["fsdp"], asked["tensor"])

    def _everywhere(self, name: str, work: Work, tokens: float, calls: float, training: bool = False) -> CostStep:
        """So many calls, in each of which every device does this work, and all together go through `tokens`."""
        done = work.times(calls * math.prod(self._grid(training)))
        return CostStep(name, Cost(tokens * calls, done.flops, done.bytes))

    def _share(self, rows: int, training: bool = False) -> int:
        """Rows that a device computes of so many: its part, or all where they do not divide."""
        parts = self._grid(training).rows
        return rows if rows % parts else rows // parts

    def _reading(
        self, name: str, model: DecoderCost, rows: int, width: int, calls: float, chunk: int | None = None
    ) -> CostStep:
        """Log-probabilities of rows by the training forward, `chunk` positions unembedded at a time; None: none are."""
        times, mine = self._micro_batches(rows)
        work = model.read(mine, width, parts=self._grid(True).fsdp)
        if chunk is not None:
            positions, blocks = _blocks(width, chunk)
            work = work.plus(model.unembed(mine * positions).times(blocks))
        return self._everywhere(name, work.times(times), rows * width, calls, True)

    def _training(
        self,
        name: str,
        model: DecoderCost,
        rows: int,
        width: int,
        calls: float,
        chunk: int | None = None,
        texts: int = 1,
    ) -> CostStep:
        model, frozen = self._trained(model)
        times, mine = self._micro_batches(rows)
        grid = self._grid(True)
        work = model.train(mine * texts, width, frozen, self.node.schedule.get("remat", False), grid.fsdp)
        if chunk is not None:
            positions, blocks = _blocks(width, chunk)
            work = work.plus(model.learn(mine * positions, blocks, frozen))
        weights = model.trained(frozen, chunk is not None)
        moved = model.update(weights, grid.rows > 1, grid.fsdp)
        if times > 1:  # gradients are added up, from zeros
            moved += 3.0 * WIDE * weights * times / (grid.fsdp * grid.tensor)
        work = work.times(times).plus(Work(0.0, moved))
        if self.params.get("optimizer") == "muon":
            work = work.plus(model.orthogonalised())
        return self._everywhere(name, work, rows * texts * width, calls, True)

    def _trained(self, model: DecoderCost) -> tuple[DecoderCost, bool]:
        """A model as the node trains it, and whether of it an adapter alone; else all weights are, merged and wide."""
        adapter = self.params["adapter"]
        if adapter == "full":
            return replace(model, rank=0, stored=WIDE), False
        return replace(model, rank=model.rank + adapter["rank"]), True

    def _micro_batches(self, rows: int) -> tuple[int, int]:
        """How many micro-batches so many rows make, and how many rows of each a device computes."""
        from cai_jax.pipeline.training import micro_size

        micro = min(micro_size(self), rows)
        return -(-rows // micro), self._share(micro, True)


def cost_of(stage: Stage, ctx: CostContext) -> Cost:
    """What all steps of a stage cost; nothing of one that computes nothing on the devices."""
    steps = getattr(stage, "steps", None)
    return sum((step.cost for step in steps(ctx)), Cost()) if steps else Cost()


def _rank(given: Input) -> int:
    """Columns of an artefact's adapters, from the base up."""
    adapter = given.node.params.get("adapter", "full")
    return 0 if adapter == "full" else adapter["rank"] + _rank(given.inputs["model"])


def _stored(tokens: int) -> int:
    """Positions that so many shared tokens take."""
    return buckets.next_power_of_two(tokens) if tokens else 0


def _blocks(width: int, chunk: int) -> tuple[int, int]:
    """Positions of a row that are unembedded at a time, and how often: all but the last predict."""
    chunk = min(chunk, width - 1)
    return chunk, -(-(width - 1) // chunk)
