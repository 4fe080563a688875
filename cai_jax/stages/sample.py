"""`sample`: a model's replies to prompts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cai_jax.data.row_columns import Row
from cai_jax.lang.signature import Call, Kind, Param, Problem, Signature, Type
from cai_jax.pipeline.context import Context
from cai_jax.pipeline.row_counts import expected_rows
from cai_jax.prompting.paper_format import Prompt
from cai_jax.stages.declare import SAMPLING, fits
from cai_jax.stages.protocol import StepContext

# To a prompt; far beyond the best of 10^4 that studies of over-optimisation draw (arXiv 2210.10760).
MOST_REPLIES = 65536


def _result(call: Call) -> Type:
    prompts, model = call.types["prompts"], call.types["model"]
    return Type(
        Kind.RESPONSES,
        replies=call.values["n"],
        lineage=prompts.lineage,
        oracle=prompts.oracle,
        context=model.context,
        tokenizer=model.tokenizer,
        size=model.size,
        rows=prompts.rows,
        length=call.values["max_new"],
        known=prompts.known,
    )


def _check(call: Call) -> Iterable[Problem]:
    yield from fits(call, "model")
    if call.values["n"] > 1 and not call.values["temperature"]:
        yield Problem(
            "E241",
            "n",
            f"without a temperature all {call.values['n']} replies to a prompt are the same",
            label="draws one reply",
            hint="leave it out, or give a temperature",
            also=(("temperature", "nothing is drawn"),),
        )


SIGNATURE = Signature(
    name="sample",
    about="Replies of a model to prompts (arXiv 2212.08073 §3.1 samples at temperature 1).",
    params=(
        Param("prompts", "Prompts to reply to.", kinds=(Kind.PROMPTS,)),
        Param("model", "The model that replies.", kinds=(Kind.MODEL,)),
        Param("n", "Replies to each prompt.", value="int", default=1, low=1, high=MOST_REPLIES),
        *SAMPLING,
    ),
    result=_result,
    check=_check,
    version=4,
    settings=("mesh", "slots"),
    example="red.train |> sample(base, n=2)",
)


def steps(ctx: StepContext) -> list:
    """Reading the prompts and decoding."""
    texts = expected_rows(ctx.node.type)
    return [step for model in ctx.models("model") for step in ctx.generating(model, "sample", texts, ctx.prompt)]


def rendered(ctx: Context, n: int) -> list[Prompt]:
    """The first n prompts, as the model reads them."""
    from cai_jax.pipeline.model_store import format_of

    form = format_of(ctx.inputs["model"])
    return [form.ask(row["turns"]) for row in ctx.inputs["prompts"].rows()[:n]]


def run(ctx: Context) -> Mapping[str, Any]:
    """Write the replies; result: rows, ended (share that end by themselves), empty (number without a word)."""
    from cai_jax.data.rows import legible
    from cai_jax.pipeline.context_length import fitting
    from cai_jax.pipeline.generation import Writer, in_batches, note_unended
    from cai_jax.pipeline.model_store import format_of, model_of
    from cai_jax.pipeline.rng import draw_of
    from cai_jax.prompting.render import text_of

    form = format_of(ctx.inputs["model"])
    writer = Writer.from_context(ctx, model_of(ctx, ctx.inputs["model"]), form, form.reply_stops)
    draw, n = draw_of(ctx), ctx.params["n"]

    def prompt(row: Row) -> Prompt:
        return form.ask(row["turns"])

    def make(batch: Sequence[Row]) -> list[Row]:
        asked = [(row, sample) for row in batch for sample in range(n)]
        keys = [draw.key("reply", row, sample) for row, sample in asked]
        ids = [found for row, _ in asked if (found := writer.fit(prompt(row))) is not None]  # all of them fit
        written = writer.generate(ids, keys)
        return [
            {
                **row,
                "sample": sample,
                "prompt": text_of(prompt(row)),
                **text.fields,
                "model": ctx.inputs["model"].key,
                "seed": ctx.params["seed"],
            }
            for (row, sample), text in zip(asked, written, strict=True)
        ]

    rows = fitting(ctx, ctx.inputs["prompts"].rows(), writer.fitter(), prompt)
    ended: list[bool] = []
    empty = 0
    for batch in in_batches(ctx, rows, n, make):
        ended += [row["ended"] for row in batch]
        empty += sum(not legible(row["reply"]) for row in batch)
    if empty:
        ctx.note("empty", f"{empty} of {len(ended)} replies are empty")
    return {"rows": len(ended), "ended": note_unended(ctx, "replies", ended), "empty": empty}
