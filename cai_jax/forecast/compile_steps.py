"""The steps that stages have in common, as forecast/node_view.py describes them: writing, asking, scoring, training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from cai_jax.errors import UserError
from cai_jax.forecast.node_view import OPTIONS, CompileContext, Step, Tree

if TYPE_CHECKING:
    from cai_jax.models.attention import Prefix
    from cai_jax.models.checkpoint import Model
    from cai_jax.parallel.step import CompiledStep


def shots(ctx: CompileContext, model: Model, constitution: str = "constitution") -> Prefix | None:
    """The examples in front of every prompt; None without any."""
    from cai_jax.forecast import engine_shapes

    tokens = ctx.shots(model.config, constitution)
    return engine_shapes.prefix(model.params, model.config, tokens) if tokens else None


def reading_shots(ctx: CompileContext, model: Model, prefix: Prefix | None) -> list[Step]:
    """Reading them once."""
    import jax

    from cai_jax.engine.prefix_cache import read_prefix
    from cai_jax.parallel.placement import lowered

    if prefix is None:
        return []
    tokens = jax.ShapeDtypeStruct((1, prefix.layers[0].k.shape[1]), "int32")
    config = model.config.reaching(tokens.shape[1])
    lower = partial(lowered, read_prefix, model.params, model.params, config, tokens, None)
    return [Step("read examples", 1, {"model": model.params, "tokens": tokens}, ctx.held(), lower)]


def writing(
    ctx: CompileContext,
    model: Model,
    name: str,
    texts: float,
    longest: int,
    prefix: Prefix | None = None,
    exact: bool = False,
    held: Mapping[str, Tree] | None = None,
) -> list[Step]:
    """Writing `texts` texts behind prompts of up to `longest` tokens: reading the prompts, and decoding a chunk.

    The cache is made for prompts of so many tokens: to a power of two, or with `exact` for just as many.
    """
    from cai_jax.engine import decode_steps
    from cai_jax.forecast import engine_shapes
    from cai_jax.parallel.placement import lowered
    from cai_jax.pipeline.context_length import room_of
    from cai_jax.pipeline.generation import Writer

    writer = replace(Writer.from_context(ctx, model, None, stops=()), prefix=prefix)
    longest = min(longest, room_of(model, prefix, writer.max_new))
    settings = replace(writer, longest=longest if exact else None).sampling(longest, ())
    params, config = model.params, model.config.reaching(longest)
    state, rows, told = (
        engine_shapes.state(params, config, settings),
        engine_shapes.texts(settings),
        engine_shapes.decoding(settings),
    )
    held = ctx.held() if held is None else held
    given = {"model": params, "cache": state, "examples": prefix}
    fill = partial(lowered, decode_steps.fill, params, params, config, state, rows, prefix)
    decode = partial(lowered, decode_steps.decode, params, params, config, settings.chunk, state, *told, prefix)
    chunks = math.ceil(texts / settings.slots) * math.ceil(settings.max_new / settings.chunk)
    return [
        Step(f"{name}: read prompts", math.ceil(texts / settings.batch), given | {"prompts": rows}, held, fill),
        Step(f"{name}: decode {settings.chunk} tokens", chunks, given | {"sampling": told}, held, decode),
    ]


def asking(
    ctx: CompileContext, model: Model, name: str, questions: float, longest: int, prefix: Prefix | None = None
) -> list[Step]:
    """Scoring the two options behind so many questions of up to `longest` tokens."""
    from cai_jax.engine import batch_shapes, option_scoring
    from cai_jax.engine.prefix_cache import length_of
    from cai_jax.forecast import engine_shapes
    from cai_jax.parallel import target
    from cai_jax.parallel.placement import lowered, shards_of

    params, config = model.params, model.config
    longest = min(longest, config.max_position - length_of(prefix) - max(map(len, OPTIONS)))
    config = config.reaching(longest)
    parts = shards_of(params)
    table, *rest = engine_shapes.scoring(config, parts, longest, OPTIONS, prefix)
    rows = batch_shapes.rows_at_once(parts, batch_shapes.tokens_at_once(target.platform()) * parts, table.shape[1])
    table, *rest = engine_shapes.scoring(config, rows, longest, OPTIONS, prefix)
    lower = partial(lowered, option_scoring._score, params, params, config, table, *rest)
    given = {"model": params, "questions": (table, rest[:-1]), "examples": prefix}
    return [Step(f"{name}: score options", math.ceil(questions / rows), given, ctx.held(), lower)]


def auditing(ctx: CompileContext, model: Model, constitution: str, replies: float) -> list[Step]:
    """Reading few-shots, and asking about every principle of every reply."""
    prefix = shots(ctx, model, constitution)
    asked = asking(ctx, model, "audit", *ctx.audits(constitution, replies), prefix)
    return reading_shots(ctx, model, prefix) + asked


def scoring(ctx: CompileContext, name: str, replies: float, held: Mapping[str, Tree] | None = None) -> list[Step]:
    """Scoring replies with the preference model given as parameter `name`, or with all of a mixture."""
    found = []
    for model in ctx.models(name):
        found += scores(ctx, model, f"score by {ctx.inputs[name].label}", replies, held)
    return found


def scores(
    ctx: CompileContext, model: Model, name: str, replies: float, held: Mapping[str, Tree] | None = None
) -> list[Step]:
    """Scoring replies with one preference model."""
    import jax

    from cai_jax.engine import buckets
    from cai_jax.parallel.placement import lowered
    from cai_jax.pipeline.reward_scoring import BATCH, compiled

    width = min(buckets.next_power_of_two(ctx.prompt + ctx.reply), model.config.max_position)
    params = {"decoder": model.params, "head": model.head}
    tokens = jax.ShapeDtypeStruct((BATCH, width), "int32")
    lengths = jax.ShapeDtypeStruct((BATCH,), "int32")
    function = compiled(model.config, model.params["embed"].dtype.name)
    lower = partial(lowered, function, model.params, params, tokens, lengths)
    given = {"preference model": params, "replies": (tokens, lengths)}
    return [Step(name, math.ceil(replies / BATCH), given, ctx.held() if held is None else held, lower)]


def batch(ctx: CompileContext, rows: int, **arrays: tuple[tuple[int, ...], str]) -> dict[str, Tree]:
    """A batch of `rows` rows, split into micro-batches: `name=(shape of a row, dtype)`.

    Raises:
      UserError: the rows do not divide into micro-batches.
    """
    import jax

    from cai_jax.pipeline.training import micro_size

    micro = micro_size(ctx)
    if rows % micro:
        raise UserError(f"{rows} rows do not divide into micro-batches of {micro}", f"use a divisor of {rows}")
    size = (rows // micro, micro)
    return {name: jax.ShapeDtypeStruct((*size, *shape), dtype) for name, (shape, dtype) in arrays.items()}


def training(
    name: str,
    step: CompiledStep,
    calls: float,
    state: Tree,
    rows: Mapping[str, Any],
    held: Mapping[str, Tree],
    chunk: int | None = None,
    frozen: Tree = None,
) -> Step:
    """A step of `learn` on a state and a batch, given as shapes that need not say where they lie.

    `chunk` positions of its rows are unembedded at a time, as many times as data asks for (`learn.losses`). `frozen` is
    what the step was compiled with besides; it says where it lies.
    """
    state, rows = step.shapes(state, rows)
    trips = 1 if chunk is None else -(-(rows["tokens"].shape[-1] - 1) // chunk)
    given = {"state": state, "batch": rows, "frozen": frozen}
    return Step(name, calls, given, held, partial(step.lower, state, rows), trips)
