"""`divergence`: how far a policy has moved from a reference, on its own replies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cai_jax.data.row_columns import Row
from cai_jax.errors import UserError
from cai_jax.evals.figures import row_of
from cai_jax.lang.signature import Call, Kind, Param, Problem, Signature, Type
from cai_jax.pipeline.context import Artefact, Context
from cai_jax.pipeline.row_counts import expected_rows
from cai_jax.stages.metrics.common import ON, PER, REPLIES, measured, replies_of, with_column
from cai_jax.stages.protocol import StepContext


def _check(call: Call) -> Iterable[Problem]:
    if "policy" not in call.types:
        message = "a policy's divergence is measured on replies that it has drawn, and no model has drawn these"
        yield Problem("E223", "of", message, "drawn by nobody", "measure a model on prompts: divergence(rl, sl, on=…)")


SIGNATURE = Signature(
    name="divergence",
    about="Mean KL divergence of a policy from a reference, in nats per reply: at every token of the policy's replies "
    "that of the two distributions of the next token, summed over the reply (arXiv 2504.10637 §4).",
    params=(
        REPLIES,
        Param("reference", "The model that the policy has moved from.", kinds=(Kind.MODEL,), unlike="policy"),
        ON,
        Param("policy", "The model that has drawn the replies.", kinds=(Kind.MODEL,), default=None, inherit=True),
        PER,
    ),
    result=lambda call: Type(Kind.METRIC),
    check=with_column(_check),
    group="metric",
    settings=("mesh",),
    example="divergence(rl, sl, red.test)",
)


def steps(ctx: StepContext) -> list:
    """Reading the replies with both models."""
    replies = expected_rows(ctx.inputs["of"].type)
    return [
        step
        for policy in ctx.models("policy")
        for reference in ctx.models("reference")
        for step in ctx.diverging(policy, reference, replies)
    ]


def run(ctx: Context) -> Mapping[str, Any]:
    """Result: a figure (`evals.figures`) with, in `beside`, per_token (nats), and k1 and k3, estimates per reply.

    The estimates look at the drawn tokens alone (Schulman 2020, "Approximating KL divergence").
    """
    from cai_jax.pipeline.model_store import model_of
    from cai_jax.pipeline.policy_divergence import divergences

    rows, (policy, reference) = replies_of(ctx), (ctx.inputs[name] for name in ("policy", "reference"))
    _drawn(ctx.inputs["of"], policy, rows)
    models = model_of(ctx, policy), model_of(ctx, reference)
    room = min(model.config.max_position for model in models)
    read = [(row, *_ids(ctx, row)) for row in rows]
    fitting = [each for each in read if len(each[1]) <= room]
    if not fitting:
        raise UserError("no reply fits the context of both models")
    found = divergences(*models, [ids for _, ids, _ in fitting], [marked for _, _, marked in fitting])
    values = [row_of(row, value) for (row, _, _), value in zip(fitting, found.exact, strict=True)]
    per_token = float(found.exact.sum() / found.tokens.sum())
    beside = {"per_token": per_token, "k1": float(found.k1.mean()), "k3": float(found.k3.mean())}
    left_out = {"do not fit the context": len(rows) - len(fitting)} if len(fitting) < len(rows) else {}
    return measured(ctx, values, bounded=False, beside=beside, left_out=left_out)


def _drawn(replies: Artefact, policy: Artefact, rows: Sequence[Row]) -> None:
    """Raise UserError unless the policy has drawn the replies as it is: at temperature 1, none changed or chosen."""
    cure = "measure the model itself on prompts: divergence(rl, sl, red.test)"
    for row in rows:
        if row.get("model") != policy.key or "original" in row or "score" in row:
            raise UserError(f"the reply of row {row['id']} is not drawn by the policy alone", cure)
        if row.get("thought"):
            message = f"row {row['id']} has a thought before its reply, of which there is no divergence"
            raise UserError(message, "measure a model that replies without hidden thoughts")
    stack = [replies]
    while stack:
        made = stack.pop()
        changed = {name: made.params[name] for name in ("temperature", "top_p") if made.params.get(name, 1.0) != 1.0}
        if changed:
            said = " and ".join(f"{name}={value:g}" for name, value in changed.items())
            raise UserError(f"these replies are drawn with {said}, so that they are not the policy's own", cure)
        if "model" not in made.inputs:
            given = made.inputs.values()
            stack += [one for value in given for one in (value if isinstance(value, tuple) else (value,))]


def _ids(ctx: Context, row: Row) -> tuple[list[int], list[bool]]:
    """Token ids of prompt and reply, and which of them the policy has drawn.

    Raises:
      UserError: the two models read other tokens.
    """
    from cai_jax.pipeline.model_store import format_of, tokenizer_of
    from cai_jax.prompting.render import encode

    policy, reference = ctx.inputs["policy"], ctx.inputs["reference"]
    segments = format_of(policy).replied(row["turns"], row["reply"], trained=True, ended=row["ended"])
    ids, marked = encode(tokenizer_of(policy), segments)
    others = tokenizer_of(reference)
    if tokenizer_of(policy).vocab_size != others.vocab_size or encode(others, segments)[0] != ids:
        message = "the two models have different tokens, so that there is no divergence of one from the other"
        raise UserError(message, "compare a model with one that it was trained from")
    return ids, marked
