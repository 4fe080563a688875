"""`length`: how long replies are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from cai_jax.evals.figures import row_of
from cai_jax.lang.signature import Call, Kind, Param, Problem, Signature, Type
from cai_jax.pipeline.context import Context
from cai_jax.stages.metrics.common import ON, PER, REPLIES, measured, replies_of, with_column


def _check(call: Call) -> Iterable[Problem]:
    if call.values["unit"] == "tokens" and "tokenizer" not in call.types:
        yield Problem(
            "E223",
            "of",
            "no model has drawn these replies, so that no tokenizer is known to count them",
            label="tokens of which model?",
            hint="say tokenizer=: a model, or unit=words",
        )


SIGNATURE = Signature(
    name="length",
    about="Mean length of replies, without the thoughts before them.",
    params=(
        REPLIES,
        ON,
        Param("tokenizer", "The model whose tokenizer counts; by default the one that wrote the replies.",
              kinds=(Kind.MODEL,), default=None, inherit=True),
        Param("unit", "What is counted.", value="enum", default="tokens", choices=("tokens", "words")),
        PER,
    ),
    result=lambda call: Type(Kind.METRIC),
    check=with_column(_check),
    group="metric",
    example="length(rl, ask.test)",
)  # fmt: skip


def run(ctx: Context) -> Mapping[str, Any]:
    """Result: a figure (`evals.figures`); `beside`: median, longest, empty (share of replies without a word)."""
    import numpy as np

    from cai_jax.data.rows import legible

    rows, count = replies_of(ctx), _counter(ctx)
    lengths = [count(row["reply"]) for row in rows]
    empty = sum(not legible(row["reply"]) for row in rows)
    beside = {"median": float(np.median(lengths)), "longest": float(max(lengths)), "empty": empty / len(rows)}
    found = [row_of(row, length) for row, length in zip(rows, lengths, strict=True)]
    return measured(ctx, found, bounded=False, beside=beside)


def _counter(ctx: Context) -> Callable[[str], int]:
    if ctx.params["unit"] == "words":
        return lambda text: len(text.split())
    from cai_jax.pipeline.model_store import tokenizer_of
    from cai_jax.prompting.render import Segment, encode

    tokenizer = tokenizer_of(ctx.inputs["tokenizer"])
    return lambda text: len(encode(tokenizer, [Segment(text, trusted=False, apart=True)])[0])
