"""What the steps that stages have in common cost, for `plan`: the sizes of compile_steps.py. Imports no JAX."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from cai_jax.engine import batch_shapes, buckets
from cai_jax.engine.generation_config import GenerationConfig
from cai_jax.engine.option_tail import Tail
from cai_jax.forecast.decoder_cost import WIDE, DecoderCost, Work
from cai_jax.forecast.machines import Machine
from cai_jax.forecast.node_view import OPTIONS, Input, NodeView
from cai_jax.lang.signature import Cost, Node

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


class CostContext(NodeView):
    """A node whose cost is estimated for a machine."""

    def __init__(self, node: Node, inputs: Mapping[str, Any], prompt: int, machine: Machine) -> None:
        super().__init__(node, inputs, prompt)
        self.machine = machine

    def grid(self, training: bool = False) -> Grid:
        """The node's mesh (pipeline/node_devices.py); under pmap, models that are only read lie on one device."""
        asked, devices = self.node.schedule.get("mesh", "auto"), self.machine.devices
        if asked == "one" or (asked == "pmap" and not training):
            return Grid(1)
        if isinstance(asked, str):
            return Grid(devices)
        rest = asked["fsdp"] * asked["tensor"]
        return Grid(asked["data"] or max(1, devices // rest), asked["fsdp"], asked["tensor"])

    def decoders(self, name: str) -> list[DecoderCost]:
        """The decoders of the artefact given as parameter `name`; none where their shape is not known."""
        given = self.inputs[name]
        return [
            DecoderCost(
                config,
                *(_SIZES[dtype], _SIZES[dtype], self.machine.platform),
                *(_rank(given), self.grid().tensor, self.machine.on_chip),
            )
            for config, dtype in given.type.decoders
        ]

    def everywhere(self, work: Work, tokens: float, calls: float, training: bool = False) -> Cost:
        """So many calls, in each of which every device does this work, and all together go through `tokens`."""
        done = work.times(calls * math.prod(self.grid(training)))
        return Cost(tokens * calls, done.flops, done.bytes)

    def share(self, rows: int, training: bool = False) -> int:
        """Rows that a device computes of so many: its part, or all where they do not divide."""
        parts = self.grid(training).rows
        return rows if rows % parts else rows // parts


def _rank(given: Input) -> int:
    """Columns of an artefact's adapters, from the base up."""
    adapter = given.node.params.get("adapter", "full")
    return 0 if adapter == "full" else adapter["rank"] + _rank(given.inputs["model"])


def reading_shots(ctx: CostContext, model: DecoderCost, tokens: int) -> Cost:
    """Reading the examples in front of every prompt once, which every device does."""
    if not tokens:
        return Cost()
    width = _stored(tokens)
    return ctx.everywhere(model.read(ctx.share(1), width, kept=True), width, 1)


def _stored(tokens: int) -> int:
    """Positions that so many shared tokens take."""
    return buckets.next_power_of_two(tokens) if tokens else 0


def writing(
    ctx: CostContext, model: DecoderCost, texts: float, longest: int, shared: int = 0, exact: bool = False
) -> Cost:
    """Writing `texts` texts behind prompts of up to `longest` tokens, as `described.writing` lays them out."""
    from cai_jax.pipeline.generation import SLOTS

    new = ctx.params.get("max_new", 128)
    slots = ctx.node.schedule.get("slots") or SLOTS * ctx.grid().rows
    room = model.config.max_position - new - shared
    longest = max(1, min(longest, room))
    longest = longest if exact else min(buckets.next_power_of_two(longest), max(1, room))
    settings = GenerationConfig(new, slots=slots, longest=longest)
    width, positions, before = buckets.next_power_of_two(longest), settings.positions(longest), _stored(shared)
    rows = ctx.share(settings.batch)
    filled = model.read(rows, width, before, kept=True).plus(
        Work(0.0, model.copied(settings.batch, width, ctx.grid().rows))
    )
    drawn = model.decode(ctx.share(slots), positions, settings.chunk, before)
    fills = math.ceil(texts / settings.batch)
    chunks = math.ceil(texts / slots) * math.ceil(new / settings.chunk)
    return ctx.everywhere(filled, settings.batch * width, fills) + ctx.everywhere(drawn, slots * settings.chunk, chunks)


def asking(ctx: CostContext, model: DecoderCost, questions: float, longest: int, shared: int = 0) -> Cost:
    """Scoring the two options behind so many questions of up to `longest` tokens."""
    tail, parts = Tail.of(OPTIONS), ctx.grid().rows
    longest = min(longest, model.config.max_position - shared - max(map(len, OPTIONS)))
    width = buckets.next_eighth_octave(longest + tail.tokens.size)
    rows = batch_shapes.rows_at_once(parts, batch_shapes.tokens_at_once(ctx.machine.platform) * parts, width)
    mine = ctx.share(rows)
    work = model.read(mine, width, _stored(shared), kernel=False).plus(model.unembed(mine * tail.sources.size))
    return ctx.everywhere(work, rows * width, math.ceil(questions / rows))


def auditing(ctx: CostContext, model: DecoderCost, constitution: str, replies: float) -> Cost:
    """Reading few-shots, and asking about every principle of every reply."""
    shots = ctx.shots(model.config, constitution)
    return reading_shots(ctx, model, shots) + asking(ctx, model, *ctx.audits(constitution, replies), shots)


def scores(ctx: CostContext, model: DecoderCost, replies: float, parts: int = 1) -> Cost:
    """Scoring replies with one preference model, whose weights lie in so many parts."""
    from cai_jax.pipeline.reward_scoring import BATCH

    width = min(buckets.next_power_of_two(ctx.prompt + ctx.reply), model.config.max_position)
    return ctx.everywhere(model.read(ctx.share(BATCH), width, parts=parts), BATCH * width, math.ceil(replies / BATCH))


def scoring(ctx: CostContext, name: str, replies: float) -> Cost:
    """Scoring replies with the preference model given as parameter `name`, or with all of a mixture."""
    return sum((scores(ctx, model, replies) for model in ctx.decoders(name)), Cost())


def reading(
    ctx: CostContext, model: DecoderCost, rows: int, width: int, calls: float, chunk: int | None = None
) -> Cost:
    """Log-probabilities of rows by the training forward, `chunk` positions unembedded at a time; None: none are."""
    times, mine = _micro_batches(ctx, rows)
    work = model.read(mine, width, parts=ctx.grid(True).fsdp)
    if chunk is not None:
        positions, blocks = _blocks(width, chunk)
        work = work.plus(model.unembed(mine * positions).times(blocks))
    return ctx.everywhere(work.times(times), rows * width, calls, True)


def training(
    ctx: CostContext, model: DecoderCost, rows: int, width: int, calls: float, chunk: int | None = None, texts: int = 1
) -> Cost:
    """Updates on batches of so many rows of `texts` texts, `chunk` positions unembedded at a time; None: none are."""
    model, frozen = trained(ctx, model)
    times, mine = _micro_batches(ctx, rows)
    grid = ctx.grid(True)
    work = model.train(mine * texts, width, frozen, ctx.node.schedule.get("remat", False), grid.fsdp)
    if chunk is not None:
        positions, blocks = _blocks(width, chunk)
        work = work.plus(model.learn(mine * positions, blocks, frozen))
    weights = model.trained(frozen, chunk is not None)
    moved = model.update(weights, grid.rows > 1, grid.fsdp)
    if times > 1:  # gradients are added up, from zeros
        moved += 3.0 * WIDE * weights * times / (grid.fsdp * grid.tensor)
    work = work.times(times).plus(Work(0.0, moved))
    if ctx.params.get("optimizer") == "muon":
        work = work.plus(model.orthogonalised())
    return ctx.everywhere(work, rows * texts * width, calls, True)


def trained(ctx: CostContext, model: DecoderCost) -> tuple[DecoderCost, bool]:
    """A model as the node trains it, and whether of it an adapter alone; else all weights are, merged and wide."""
    adapter = ctx.params["adapter"]
    if adapter == "full":
        return replace(model, rank=0, stored=WIDE), False
    return replace(model, rank=model.rank + adapter["rank"]), True


def _micro_batches(ctx: CostContext, rows: int) -> tuple[int, int]:
    """How many micro-batches so many rows make, and how many rows of each a device computes."""
    from cai_jax.pipeline.training import micro_size

    micro = min(micro_size(ctx), rows)
    return -(-rows // micro), ctx.share(micro, True)


def _blocks(width: int, chunk: int) -> tuple[int, int]:
    """Positions of a row that are unembedded at a time, and how often: all but the last predict."""
    chunk = min(chunk, width - 1)
    return chunk, -(-(width - 1) // chunk)
