"""Common parts of the metrics on questions with options: their parameters, and how a model is asked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cai_jax.data.row_columns import Row
from cai_jax.errors import UserError
from cai_jax.evals.figures import row_of
from cai_jax.lang.signature import Call, Kind, Param, Problem
from cai_jax.pipeline.context import Context
from cai_jax.pipeline.row_counts import REQUEST_TOKENS, expected_rows
from cai_jax.prompting.render import Segment
from cai_jax.stages.declare import ORDERS, OVERLONG, fits, says
from cai_jax.stages.metrics.common import measured
from cai_jax.stages.protocol import StepContext

if TYPE_CHECKING:
    import numpy as np

    from cai_jax.models.checkpoint import Model
    from cai_jax.pipeline.multiple_choice import Answers, Asker

ASKED = (
    Param("of", "The model that answers.", kinds=(Kind.MODEL,)),
    Param("on", "The questions.", kinds=(Kind.QUESTIONS,)),
    Param("ask", "What is scored: the text of each answer, as the assistant's reply to the question, as published "
          "evaluations do; or its letter, the options listed in the question, as MMLU does.",
          value="enum", default="answers", choices=("answers", "letters")),
    Param("begins", "Words with which the reply begins, before an answer's text.", value="str", default="",
          needs=says("ask", "answers")),
    Param("normalize", "Divides the log-probability of an answer's text by its length, in tokens or in UTF-8 bytes.",
          value="enum", default="none", choices=("none", "tokens", "bytes"), needs=says("ask", "answers")),
    replace(ORDERS, about="Order of the listed options: as given, or that and backwards, averaged.", default="given",
            needs=says("ask", "letters")),
    replace(OVERLONG, about="Treatment of a question that does not fit the model's context: it is undecided, an error, "
            "or the beginning of its conversation cut; either is counted."),
)  # fmt: skip


def check(call: Call) -> Iterable[Problem]:
    """Problems where no question fits the model's context."""
    yield from fits(call, "of")


def steps(ctx: StepContext) -> list:
    """Scoring the options of every question."""
    asked = ctx.inputs["on"].type
    count = expected_rows(asked) * (2 if ctx.params["orders"] == "both" else 1)
    longest = ctx.prompt + REQUEST_TOKENS + 2 * (asked.length or 0)
    return [step for model in ctx.models("of") for step in ctx.asking(model, "ask", count, longest)]


def rendered(ctx: Context, n: int) -> list[list[Segment]]:
    """What the model reads of the first n questions."""
    asker = _asker(ctx, None)
    return [prompt for row in ctx.inputs["on"].rows()[:n] for prompt in asker.prompts(row)]


def measured_choices(ctx: Context, column: str, instead: str) -> dict[str, Any]:
    """A figure (`evals.figures`): the share of what the most probable option is credited with.

    Its `beside` has `mean_p`, the mean probability of what is credited; `chance`, an option taken at random; `longest`,
    the longest one; and of right answers `log_likelihood`, the mean logarithm of their probability, nats.

    Args:
      column: credit of each option, "answer" or "matching".
      instead: the metric for questions that do not have it.

    Raises:
      UserError: there are no questions, or these do not have the column.
    """
    import numpy as np

    rows = ctx.inputs["on"].rows()
    if not rows:
        raise UserError("there are no questions")
    if any(column not in row for row in rows):
        what = "which answer shows a behaviour" if column == "answer" else "which answer is right"
        raise UserError(f"these questions say {what}, and nothing else", f"measure {instead}")
    credit = [row[column] for row in rows]
    answers = _answers(ctx, rows)
    found = [_row(*each) for each in zip(rows, _credited(answers.best(), credit), answers.logprobs, strict=True)]
    known = np.flatnonzero(answers.known)
    beside = {}
    if len(known):
        shares = answers.log_share()
        beside = {
            "mean_p": _credited(np.exp(shares), credit)[known].mean(),
            "chance": np.mean([np.mean(credit[number]) for number in known]),
            "longest": np.mean([_longest(rows[number]["options"], credit[number]) for number in known]),
        }
        if column == "answer":
            of_right = [each / sum(each) for each in map(np.asarray, credit)]
            beside["log_likelihood"] = _credited(shares, of_right)[known].mean()
    return measured(ctx, found, beside={name: float(value) for name, value in beside.items()})


def _credited(values: np.ndarray, credit: Sequence[Sequence[float] | np.ndarray]) -> np.ndarray:
    """Sum of values [N, M] times the credit of each option, float64 [N]; those without credit play no part."""
    import numpy as np

    sums = []
    for row, each in zip(values, credit, strict=True):
        given = np.flatnonzero(each)
        sums.append(row[given] @ np.asarray(each, float)[given])
    return np.array(sums)


def _answers(ctx: Context, rows: Sequence[Row]) -> Answers:
    """What the model answers; a note says if it often names no letter."""
    from cai_jax.pipeline.model_store import model_of
    from cai_jax.pipeline.questions import undecided

    answers = _asker(ctx, model_of(ctx, ctx.inputs["of"])).answers(ctx, rows)
    if ctx.params["ask"] == "letters":
        for code, message in undecided(float(1 - answers.known.mean()), "answers"):
            ctx.note(code, message)
    return answers


def _asker(ctx: Context, model: Model | None) -> Asker:
    from cai_jax.pipeline.model_store import format_of
    from cai_jax.pipeline.multiple_choice import Asker

    how = {name: ctx.params[name] for name in ("ask", "begins", "normalize", "orders", "overlong")}
    return Asker(model, format_of(ctx.inputs["of"]), **how)


def _row(row: Row, value: float, logprobs: np.ndarray) -> Row:
    import math

    of = logprobs[: len(row["options"])].tolist()
    return {**row_of(row, value), "logprobs": [each if math.isfinite(each) else None for each in of]}


def _longest(options: Sequence[str], credit: Sequence[float]) -> float:
    """Credit of the longest option, the mean of equal ones."""
    most = max(map(len, options))
    found = [each for option, each in zip(options, credit, strict=True) if len(option) == most]
    return sum(found) / len(found)
