"""`win_rate`: how often one model's replies are better than another's."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cai_jax.data.row_columns import Row
from cai_jax.errors import UserError
from cai_jax.evals.figures import row_of
from cai_jax.lang.program_rules import ALIKE, other_prompts
from cai_jax.lang.signature import Call, Kind, Needs, Param, Problem, Signature, Type
from cai_jax.pipeline.context import Artefact, Context, NodeContext
from cai_jax.pipeline.row_counts import REQUEST_TOKENS, expected_rows
from cai_jax.prompting.render import Segment
from cai_jax.stages.declare import FEWSHOTS, ORDERS, SEED, drawable
from cai_jax.stages.judge import DEFAULTS
from cai_jax.stages.metrics.common import (
    BY,
    ON,
    PER,
    REPLIES,
    UNDER,
    agreement,
    by_audit,
    by_score,
    judged,
    judging_steps,
    measured,
    replies_of,
    with_column,
)
from cai_jax.stages.protocol import StepContext

if TYPE_CHECKING:
    import numpy as np

    from cai_jax.pipeline.ai_feedback import ReplyPair
    from cai_jax.pipeline.rng import Which


def _compares(call: Call) -> bool:
    return getattr(call.types.get("by"), "kind", None) is Kind.MODEL and call.values["ask"] == "compare"


_COMPARED = Needs("a model as `by=` and `ask=compare`", ("by", "ask"), _compares)


def _check(call: Call) -> Iterable[Problem]:
    yield from judged(call, "win_rate", "judge" if _compares(call) else "audit")
    if _compares(call):
        yield from drawable(call, "under")


SIGNATURE = Signature(
    name="win_rate",
    about="Share of prompts on which the first's reply is better than the second's; a tie counts half. By a model: the "
    "mean of its probabilities that the first is better, both in one comparison, in both orders. By a preference model "
    "or the oracle: who has the higher score.",
    params=(
        REPLIES,
        replace(REPLIES, name="against", about="Replies, model or flow to compare with.", unlike="of"),
        ON,
        BY,
        UNDER,
        Param("ask", "The question to a judging model: to compare both replies under the `compare` of principles, or "
              "which breaks fewer, by an `audit` of each.", value="enum", default="compare",
              choices=("compare", "audit"), needs=UNDER.needs),
        Param("principles", "Principles drawn for each comparison, whose answers are averaged; 0 takes all.",
              value="int", default=1, low=0, needs=_COMPARED),
        replace(FEWSHOTS, needs=UNDER.needs),
        replace(ORDERS, needs=UNDER.needs),
        replace(SEED, needs=_COMPARED),
        PER,
    ),
    result=lambda call: Type(Kind.METRIC),
    check=with_column(_check),
    group="metric",
    bounds=(0.0, 1.0),
    version=6,
    settings=("mesh",),
    example="win_rate(rl, sl, on=red.test, by=base, under=harmless)",
)  # fmt: skip


def _by_comparison(ctx: NodeContext) -> bool:
    by = ctx.inputs.get("by")
    return by is not None and by.type.kind is Kind.MODEL and ctx.params["ask"] == "compare"


def _questions(ctx: StepContext) -> tuple[float, int]:
    """Number of comparisons asked for, and tokens of the longest."""
    able = sum(bool(each["compare"]) for each in ctx.inputs["under"].node.params["principles"])
    drawn = min(ctx.params["principles"] or able, able)
    orders = 2 if ctx.params["orders"] == "both" else 1
    return orders * drawn * expected_rows(ctx.inputs["of"].type), ctx.prompt + 2 * ctx.reply + REQUEST_TOKENS


def steps(ctx: StepContext) -> list:
    """Scoring the options of every comparison, or what else the judge reads."""
    if not _by_comparison(ctx):
        return judging_steps(ctx)
    found = []
    for model in ctx.models("by"):
        shots = ctx.shots(model, "under")
        found += ctx.reading_shots(model, shots)
        found += ctx.asking(model, "judge", *_questions(ctx), shots)
    return found


def rendered(ctx: Context, n: int) -> list[list[Segment]]:
    """The questions about the first n pairs of replies; none where no model judges."""
    from cai_jax.pipeline.ai_feedback import Judge
    from cai_jax.stages.metrics.common import audit_prompts

    if not _by_comparison(ctx):
        return audit_prompts(ctx, n)
    judge = Judge(ctx, "under", load=False, defaults=DEFAULTS)
    return [
        judge.shots.segments + judge.prompt(pair, question)
        for pair in _pairs(ctx)[:n]
        for question in judge.questions([pair])
    ]


def run(ctx: Context) -> Mapping[str, Any]:
    """Result: a figure (`evals.figures`), with ties and the relation of length and winning in its `beside`."""
    from cai_jax.evals.baselines import baselines
    from cai_jax.pipeline.ai_feedback import equal

    pairs = _pairs(ctx)
    by = ctx.inputs.get("by")
    same = [equal(pair["first"]["reply"], pair["second"]["reply"]) for pair in pairs]
    if _by_comparison(ctx):
        wins = _compared(ctx, pairs, same)
    else:
        ours, theirs = _qualities(ctx, by, pairs)
        wins = [_win(a, b) for a, b in zip(ours, theirs, strict=True)]
    # One reply twice is a tie whoever judges, and nobody has to be asked.
    values = [0.5 if twice else win for twice, win in zip(same, wins, strict=True)]
    found = [row_of(pair["first"], value) for pair, value in zip(pairs, values, strict=True)]
    longer = [len(pair["first"]["reply"]) - len(pair["second"]["reply"]) for pair in pairs]
    known = [(value - 0.5, by_) for value, by_ in zip(values, longer, strict=True) if value == value]
    if not known:
        return measured(ctx, found)
    beside = {"same": sum(same) / len(known), "ties": sum(better == 0 for better, _ in known) / len(known)}
    shallow = baselines(*zip(*known, strict=True))
    return measured(ctx, found, beside=beside | {name: shallow[name] for name in ("longest", "length_correlation")})


def _pairs(ctx: Context) -> list[ReplyPair]:
    """Both replies to every prompt, in the order of the first side.

    Raises:
      UserError: the two sides reply to different prompts.
    """
    from cai_jax.pipeline.ai_feedback import pair
    from cai_jax.pipeline.rng import distinguish_replies

    ours, theirs = (distinguish_replies(replies_of(ctx, side)) for side in ("of", "against"))
    message = other_prompts(*(Counter(row["id"] for row, _ in side) for side in (ours, theirs)))
    if message:
        raise UserError(message, ALIKE)
    waiting: dict[str, deque[tuple[Row, Which]]] = defaultdict(deque)
    for reply in theirs:
        waiting[reply[0]["id"]].append(reply)
    return [pair(reply, waiting[reply[0]["id"]].popleft()) for reply in ours]


def _compared(ctx: Context, pairs: Sequence[ReplyPair], same: Sequence[bool]) -> list[float]:
    """P(the first reply is better) of every pair; NaN where the judge did not answer, or was not asked."""
    from cai_jax.pipeline.ai_feedback import Judge, diagnoses, preference, statistics
    from cai_jax.pipeline.generation import BATCH

    judge = Judge(ctx, "under", defaults=DEFAULTS)
    differ = [i for i in range(len(pairs)) if not same[i]]
    asked = [i for i, fits in zip(differ, judge.fits([pairs[i] for i in differ]), strict=True) if fits]
    wins = [float("nan")] * len(pairs)
    rows: list[Row] = []
    for start in range(0, len(asked), BATCH):
        batch = asked[start : start + BATCH]
        for index, judgements in zip(batch, judge.ask([pairs[i] for i in batch]), strict=True):
            wins[index] = preference(judgements)
            rows.append({"soft": wins[index], "judgements": judgements})
        ctx.progress(start + len(batch), len(asked))
    left_out = len(pairs) - sum(same) - len(asked)
    if left_out:
        ctx.note("overlong", f"{left_out} of {len(pairs)} pairs leave no room for the question, and were not judged")
    for code, message in diagnoses(statistics(rows)):
        ctx.note(code, message)
    return wins


def _qualities(ctx: Context, by: Artefact | None, pairs: Sequence[ReplyPair]) -> np.ndarray:
    """The quality of the first replies, and of the second, float64 [2, N]; NaN where it is not known.

    By the oracle, by a preference model's scores, or by the number of principles that are broken.
    """
    import numpy as np

    from cai_jax.evals import verdicts
    from cai_jax.pipeline.screening import BROKEN

    if by is not None and by.type.kind is Kind.REWARD_MODEL:
        both = [(pair["first"]["turns"], pair["first"]["reply"], pair["second"]["reply"]) for pair in pairs]
        return by_score(ctx, both, by, 2).T
    rows = [row for pair in pairs for row in (pair["first"], pair["second"])]
    if by is None:
        found = np.array([verdicts.quality(row) for row in rows])
    else:
        answers = by_audit(ctx, rows, compared=2).answers
        found = np.where(answers.answered.all(axis=1), -(answers.p > BROKEN).sum(axis=1), np.nan)
    return found.reshape(-1, 2).T


def _win(ours: float, theirs: float) -> float:
    return agreement(ours - theirs, 1) if ours == ours and theirs == theirs else float("nan")
