"""`finetune`: supervised training on replies (SL-CAI, arXiv 2212.08073 §3.1), or on documents."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from cai_jax.lang.signature import Call, Cost, Kind, Param, Problem, Signature, Type
from cai_jax.pipeline.row_counts import PROMPT, expected_rows
from cai_jax.stages.declare import (
    ADAPTER,
    DECAY,
    EPOCHS,
    LENGTH,
    OPTIMIZER,
    OVERLONG,
    SEED,
    WARMUP,
    batch,
    passing,
    rate,
    rises,
    says,
)


def _result(call: Call) -> Type:
    data, model = call.types["data"], call.types["model"]
    return replace(model, lineage=model.lineage | data.lineage)


def _check(call: Call) -> Iterable[Problem]:
    yield from passing(call, "data")
    if call.values["steps"]:
        yield from rises(call, call.values["steps"])


SIGNATURE = Signature(
    name="finetune",
    about="Supervised training: next-token loss on the replies alone, each after its prompt.",
    params=(
        Param("data", "Replies, or documents.", kinds=(Kind.RESPONSES, Kind.DIALOGS, Kind.DOCUMENTS)),
        Param("model", "Where training starts; the paper takes the pretrained model.", kinds=(Kind.MODEL,)),
        replace(EPOCHS, needs=says("steps", 0)),
        rate(1e-3, "Peak learning rate; the paper takes half of pretraining's."),
        batch(32, "Rows of a step."),
        LENGTH,
        Param("steps", "Stop after so many steps; 0 takes all epochs.", value="int", default=0, low=0),
        OPTIMIZER,
        DECAY,
        WARMUP,
        ADAPTER,
        OVERLONG,
        SEED,
    ),
    result=_result,
    check=_check,
    version=6,
    settings=("mesh", "microbatch", "remat"),
    example="revised + chat |> finetune(base, epochs=1)",
)  # fmt: skip


def _sizes(ctx, whole: int) -> tuple[int, int]:
    """Tokens of a row, of at most `whole`, and how many steps there are."""
    from cai_jax.pipeline.examples import row_length
    from cai_jax.pipeline.training import passes

    p, data = ctx.params, ctx.inputs["data"].type
    rows = expected_rows(data)
    if data.kind is Kind.DOCUMENTS:  # of which a row holds several
        length = p["length"] or whole
        rows = math.ceil(rows * min(data.length or PROMPT, length) / length)
    else:
        length = p["length"] or row_length(ctx.prompt + ctx.reply, whole)
    return length, p["steps"] or math.ceil(passes(p["epochs"], rows) / p["batch"])


def cost(ctx) -> Cost:
    """The supervised step."""
    from cai_jax.forecast.stage_cost import training
    from cai_jax.learn import chunks

    found = Cost()
    for model in ctx.decoders("model"):
        length, total = _sizes(ctx, model.config.max_position)
        found += training(ctx, model, ctx.params["batch"], length, total, chunks.SFT)
    return found


def _learner(ctx, model, total: int):
    """Settings, compiled step, what is frozen below it, and `weights -> the state before the first step`."""
    from cai_jax.learn import optim, sft
    from cai_jax.learn.state import TrainState
    from cai_jax.pipeline import adapters
    from cai_jax.pipeline.training import compiled, computing, optim_of

    p = ctx.params
    settings = sft.SFT(optim_of(p, total), scale=adapters.scale_of(p), **computing(ctx, model))
    frozen = adapters.frozen(p, model.params)
    step = compiled(ctx, partial(sft.make_step, model.config, settings), frozen=frozen)

    def start(weights):
        return TrainState.create(adapters.initial_trained(ctx, weights), optim.optimizer(settings.optim))

    return settings, step, frozen, start


def steps(ctx) -> list:
    """The supervised step."""
    import jax

    from cai_jax.forecast import compile_steps

    model = ctx.model("model", trained=True)
    length, total = _sizes(ctx, model.config.max_position)
    settings, step, frozen, start = _learner(ctx, model, total)
    state = jax.eval_shape(start, model.params)
    rows = {name: ((length,), "int32") for name in ("tokens", "segments", "positions")}
    batch_ = compile_steps.batch(ctx, ctx.params["batch"], **rows, weights=((length,), "float32"))
    return [compile_steps.training("train", step, total, state, batch_, ctx.held(), settings.chunk, frozen)]


def run(ctx) -> Mapping[str, Any]:
    """Trains and writes hf/; result: steps, seen (rows of all passes), dtype, format."""
    from cai_jax.pipeline import adapters
    from cai_jax.pipeline.examples import Rows, corpus
    from cai_jax.pipeline.model_store import format_choices, model_of
    from cai_jax.pipeline.rng import draw_of
    from cai_jax.pipeline.training import train

    p = ctx.params
    model = model_of(ctx, ctx.inputs["model"], trained=True)
    data = corpus(ctx, model)
    rows = Rows(data, p["batch"], p["epochs"], draw_of(ctx), p["steps"])
    total = rows.steps
    _, step, _, start = _learner(ctx, model, total)
    state = train(ctx, partial(start, model.params), step, rows.batches, total, p["batch"] * data.length)
    data.fitter.note(ctx)
    adapters.save(ctx, adapters.trained(p, model, state.params))
    return {"steps": total, "seen": rows.seen, **format_choices(ctx.inputs["model"])}
