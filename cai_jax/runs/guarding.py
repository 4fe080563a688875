"""`cai-jax guard`: a program's flow at inference time, on prompts that come from outside."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cai_jax.data.rows import Row, numbered
from cai_jax.lang.plan import FlowPlan, Plan, key_of
from cai_jax.lang.types import Cost, Kind, Signature, Type
from cai_jax.runs.cache import Cache
from cai_jax.runs.errors import UserError
from cai_jax.runs.executor import Executor, Outcome, Reporter, input_keys, needed
from cai_jax.runs.overrides import reinput
from cai_jax.runs.signals import Interrupts
from cai_jax.stages.protocol import Stage

_TYPED = "typed"  # stage of the prompts that the user gives


class _Typed:
    """A source that holds the prompts given."""

    SIGNATURE = Signature(_TYPED, "Prompts as given.", (), lambda call: Type(Kind.PROMPTS), group="source")

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = rows

    def cost(self, ctx: Any) -> Cost:
        return Cost()

    def run(self, ctx: Any) -> None:
        ctx.commit(self._rows[len(ctx.committed()) :])


def flow_of(plan: Plan, name: str = "") -> FlowPlan:
    """The flow called `name`, or the program's only one.

    Raises:
      UserError: there is no such flow, or several to choose from.
    """
    if name in plan.flows:
        return plan.flows[name]
    if not plan.flows:
        raise UserError("this program has no flow to guard with", "bind one: guarded = _ |> sample(base) |> screen(…)")
    if name or len(plan.flows) > 1:
        what = f"there is no flow `{name}`" if name else "the program has several flows"
        raise UserError(what, f"say --flow, one of {', '.join(plan.flows)}")
    return next(iter(plan.flows.values()))


def guard(
    plan: Plan,
    flow: FlowPlan,
    texts: Sequence[str],
    out: Path,
    registry: Mapping[str, Stage],
    reporter: Reporter,
    interrupts: Interrupts,
) -> list[dict[str, Any]]:
    """Puts prompts through a flow; what they say and what becomes of them is not kept on disk.

    Models and constitutions come from the cache under `out`, where they are made first if need be.

    Returns:
      For every prompt `{"prompt", "reply", "flagged", "revised", "steps"}`: `flagged` is the first flag that
      a stage raised (principle, p) or None; `steps` tells for every stage of the flow its reply and flag.

    Raises:
      StageFailed, Interrupted: as `Executor.run`.
    """
    turns = [{"turns": [{"role": "human", "text": text}], "split": "given"} for text in texts]
    rows = numbered(turns)
    hole = next(node for node in flow.nodes if node.key == flow.hole)
    typed = replace(hole, stage=_TYPED, key=key_of(_TYPED, {"rows": [row["id"] for row in rows]}))
    keys, inner = {hole.key: typed.key}, [typed]
    for node in flow.nodes:
        if node.key != hole.key:
            made = reinput(node, keys, {})
            keys[node.key] = made.key
            inner.append(made)
    own = {node.key for node in inner}
    outside = {key for node in inner for key in input_keys(node)} - own
    with tempfile.TemporaryDirectory() as scratch:
        executor = Executor(
            registry={**registry, _TYPED: _Typed(rows)},
            cache=Cache(out / "cache", Path(scratch), frozenset(own)),
            seed=plan.settings["seed"],
            reporter=reporter,
            interrupts=interrupts,
            traces=out,
        )
        outcomes = executor.run([*needed(plan.nodes, outside), *inner])
        return _told(texts, rows, [outcomes[node.key] for node in inner[1:]])


def _told(texts: Sequence[str], rows: Sequence[Row], steps: Sequence[Outcome]) -> list[dict[str, Any]]:
    """What became of every prompt, stage by stage; of several replies to a prompt the last counts."""
    replies = [
        (step.node.stage, {row["id"]: row for row in step.artefact.rows()})
        for step in steps
        if step.node.type.kind is Kind.RESPONSES
    ]
    out = []
    for text, prompt in zip(texts, rows, strict=True):
        told, critique = [], None
        for stage, by_id in replies:
            row = by_id.get(prompt["id"])
            if row is not None:
                step = {"stage": stage, "reply": row["reply"], "flag": row.get("flag")}
                if row.get("critique") and row["critique"] != critique:
                    critique = row["critique"]
                    step |= {"principle": row.get("principle"), "critique": critique}
                told.append(step)
        flags = [step["flag"] for step in told if step["flag"]]
        out.append(
            {
                "prompt": text,
                # A stage that could not read the reply has left it out: nobody has looked at it, so nobody gets it.
                "reply": told[-1]["reply"] if told and len(told) == len(replies) else None,
                "flagged": flags[0] if flags else None,
                "revised": bool(told) and told[-1]["reply"] != told[0]["reply"],
                "steps": told,
            }
        )
    return out


def text(told: Mapping[str, Any]) -> str:
    """One prompt's way through the flow, for people."""
    lines = [f"prompt   {told['prompt']}"]
    reply = flag = None
    for step in told["steps"]:
        if "critique" in step:
            lines.append(f"critique {step['critique'].strip()}")
        if step["reply"] != reply:
            lines.append(f"{step['stage']:8} {step['reply'].strip()}")
        if step["flag"] and step["flag"] != flag:
            still = "still " if flag else ""
            by = f"{step['flag']['principle']} (probability {step['flag']['p']:.2f})"
            lines.append(f"flagged  {still}by {by}")
        reply, flag = step["reply"], step["flag"]
    if told["reply"] is None:
        lines.append("skipped  it does not fit the model's context")
    elif told["flagged"] is None:
        lines.append("passed   no principle flagged it")
    elif told["revised"]:
        lines.append("revised  the reply shown last is what the user gets")
    else:
        lines.append("flagged, and not changed by this flow")
    return "\n".join(lines)
