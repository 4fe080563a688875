"""`judge`: AI feedback. Which of two replies is better under a drawn principle (CAI §4.1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cai_jax.lang.types import Call, Cost, Kind, Node, Param, Problem, Signature, Type
from cai_jax.stages.parts import cost as costs
from cai_jax.stages.parts.params import (
    BY,
    CONSTITUTION,
    FEWSHOTS,
    MAX_NEW,
    OVERLONG,
    SEED,
    needs,
)

COT_CLAMP = (0.4, 0.6)  # CAI §4.1: labels after reasoning are over-confident


def _check(call: Call) -> Iterable[Problem]:
    yield from needs(call, "judge", "judge")
    if call.types["replies"].replies == 1:
        yield Problem(
            "E210",
            "",
            "`judge` compares replies, but each prompt has only one",
            label="needs at least 2 replies per prompt",
            hint="write  sample(..., n=2)",
            also=(("replies", "draws n=1"),),
        )


def _result(call: Call) -> Type:
    replies = call.types["replies"]
    return Type(Kind.PREFS, lineage=replies.lineage, oracle=replies.oracle)


SIGNATURE = Signature(
    name="judge",
    about="AI feedback: soft preference labels from the judge's probabilities of the two options.",
    params=(
        Param("replies", "What to compare, at least two to a prompt.", kinds=(Kind.RESPONSES,)),
        CONSTITUTION,
        BY,
        Param("pairs", "Pairs of replies to each prompt; 0 makes all.", value="int", default=0, low=0),
        Param("principles", "Principles drawn for each comparison, whose labels are averaged; 0 takes all.",
              value="int", default=1, low=0),
        Param("orders", "Whether both orders of the options are asked and averaged (RLAIF), or one.",
              value="enum", default="both", choices=("both", "given")),
        Param("labels", "The probability as it is, rounded to 0 or 1, or clamped.", value="enum",
              default="soft", choices=("soft", "hard", "clamped")),
        Param("clamp", "Bounds of clamped labels; after reasoning, labels are always clamped.",
              value="range", default=COT_CLAMP, low=0, high=1),
        Param("reason", "Whether the judge thinks step by step first.", value="bool", default=False),
        Param("chains", "Chains of thought drawn for each comparison, whose labels are averaged.",
              value="int", default=1, low=1),
        Param("undecided", "Comparisons without mass on either option: kept at their soft value, or given no weight.",
              value="enum", default="keep", choices=("keep", "drop")),
        FEWSHOTS,
        MAX_NEW,
        OVERLONG,
        SEED,
    ),
    result=_result,
    check=_check,
    example="red.train |> sample(sl, n=2) |> judge(harmless, by=base)",
)  # fmt: skip


def cost(node: Node, inputs: Mapping[str, Type]) -> Cost:
    p = node.params
    asked = costs.rows_of(node, inputs["replies"]) / 2 * (p["principles"] or 16) * (2 if p["orders"] == "both" else 1)
    if p["reason"]:
        return costs.decode(inputs["by"], asked * p["chains"], 4 * costs.PROMPT_TOKENS, p["max_new"])
    return costs.forward(inputs["by"], asked * 4 * costs.PROMPT_TOKENS)


def rendered(ctx, n: int) -> list:
    """The first n comparisons, few-shots in front."""
    from cai_jax.stages.parts.judging import Judge

    judge = Judge(ctx, load=False)
    pairs = judge.pairs()[:n]
    return [judge.shots + judge.prompt(pairs[q.pair], q) for q in judge.questions(pairs) if not q.swapped][:n]


def run(ctx) -> Mapping[str, Any]:
    """Labels every pair; result: rows, position_bias, flips, no_mass, ties, uninformative (shares)."""
    from cai_jax.stages.parts.judging import Judge, diagnoses, statistics
    from cai_jax.stages.parts.writing import in_batches

    judge = Judge(ctx)
    pairs = judge.fitting(judge.pairs())
    rows = [row for batch in in_batches(ctx, list(enumerate(pairs)), 1, judge.label) for row in batch]
    result = statistics(rows)
    for code, message in diagnoses(result):
        ctx.note(code, message)
    return {"rows": len(rows), **result}
