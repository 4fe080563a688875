"""`screen`: does a reply break a principle? Asked of every principle, without writing a word."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cai_jax.lang.types import Call, Cost, Kind, Node, Param, Problem, Signature, Type
from cai_jax.stages.parts import cost as costs
from cai_jax.stages.parts.params import BY, CONSTITUTION, OVERLONG, needs


def _check(call: Call) -> Iterable[Problem]:
    return needs(call, "audit", "screen")


SIGNATURE = Signature(
    name="screen",
    about="Flags replies that break a principle, with the principle that they break the most.",
    params=(
        Param("replies", "What to look at.", kinds=(Kind.RESPONSES,)),
        CONSTITUTION,
        Param("limit", "Flagged from this probability of breaking a principle on.", value="float", default=0.5,
              low=0, high=1, unit="fraction"),
        BY,
        OVERLONG,
    ),
    result=lambda call: call.types["replies"],
    check=_check,
    example="replies |> screen(harmless, limit=50%)",
)  # fmt: skip


def cost(node: Node, inputs: Mapping[str, Type]) -> Cost:
    rows = costs.rows_of(node, inputs["replies"])
    return costs.forward(inputs["by"], rows * 16 * 2 * costs.PROMPT_TOKENS)


def run(ctx) -> Mapping[str, Any]:
    """Flags; result: rows, flagged (count), no_mass (share of questions without an answer)."""
    from cai_jax.data import formats
    from cai_jax.stages.parts.auditing import NO_MASS, audits, undecided
    from cai_jax.stages.parts.models import model_of
    from cai_jax.stages.parts.principles import principles
    from cai_jax.stages.parts.writing import in_batches

    able, limit = principles(ctx.inputs["constitution"], "audit"), ctx.params["limit"]
    model = model_of(ctx.inputs["by"])
    overlong = "error" if ctx.params["overlong"] == "error" else "truncate_left"

    def make(batch: list[dict]) -> list[dict]:
        asked = [formats.audit(row["turns"], row["reply"], p.critique) for row in batch for p in able]
        scored = audits(model, asked, overlong)
        shape = (len(batch), len(able))
        unanswered = (scored.mass.reshape(shape) < NO_MASS).sum(axis=1)
        out = []
        for row, probabilities, count in zip(batch, scored.first.reshape(shape), unanswered, strict=True):
            worst = int(probabilities.argmax())
            p = float(probabilities[worst])
            flag = {"principle": able[worst].name, "request": able[worst].critique, "p": p, "limit": limit}
            out.append({**row, "flag": flag if p >= limit else None, "unanswered": int(count)})
        return out

    flagged = made = unanswered = 0
    for batch in in_batches(ctx, ctx.inputs["replies"].rows(), 1, make):
        made += len(batch)
        flagged += sum(row["flag"] is not None for row in batch)
        unanswered += sum(row["unanswered"] for row in batch)
    no_mass = unanswered / max(1, made * len(able))
    for code, message in undecided(no_mass, "judgements"):
        ctx.note(code, message)
    return {"rows": made, "flagged": flagged, "no_mass": no_mass}
