"""A toy registry: stages that do next to nothing, by which the machinery of runs is tested without models.

Run as a program, it executes a small plan into the folder given, for tests that kill it.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import sys
import time
from pathlib import Path
from types import SimpleNamespace

from cai_jax.data.conversations import read_prompts
from cai_jax.errors import UserError
from cai_jax.forecast.cost_context import Cost, CostStep
from cai_jax.lang.signature import Kind, Node, Param, Signature, Type
from cai_jax.prompting.render import Segment
from cai_jax.runs.cache import Cache
from cai_jax.runs.executor import Executor
from cai_jax.runs.progress import PlainReporter
from cai_jax.runs.signals import Interrupts

BATCH = 4


def stage(name, run, kind, params=(), *, version=1, group="stage", limit="", **more):
    made = lambda call: Type(kind)  # noqa: E731
    signature = Signature(
        name, f"{name}, a toy", params, made, version=version, group=group, limit=limit, bounds=(-9, 9)
    )
    steps = lambda ctx: [CostStep("work", Cost(tokens=100.0, flops=2e9, bytes=3e6))]  # noqa: E731
    return SimpleNamespace(SIGNATURE=signature, steps=steps, run=run, **more)


def ask(ctx):
    """Numbered prompts."""
    n = ctx.params["n"]
    ctx.commit([{"id": f"p{i}-0", "turns": [{"role": "human", "text": f"q{i}"}]} for i in range(n)])


def reply(ctx):
    """A reply to each prompt, in batches; the draw depends on the row and the seed only."""
    rows, done = ctx.inputs["prompts"].rows(), len(ctx.committed())
    for start in range(done, len(rows), BATCH):
        batch = []
        for row in rows[start : start + BATCH]:
            draw = random.Random(f"{ctx.seed}/{row['id']}").random()
            batch.append({**row, "reply": f"r{draw:.6f}"})
            time.sleep(ctx.params.get("pause", 0.0))
        ctx.log(start + len(batch), mean=sum(float(r["reply"][1:]) for r in batch) / len(batch))
        ctx.commit(batch)
        ctx.progress(start + len(batch), len(rows), tokens=10 * (start + len(batch) - done))
    if ctx.params.get("complain"):
        ctx.note("toy", "the replies are random numbers")


def train(ctx):
    """x <- 0.9 x + data, with a checkpoint now and then; steps differ, so that skipping one would show."""
    import numpy as np

    replies = [float(row["reply"][1:]) for row in ctx.inputs["data"].rows()]
    state = {"x": np.zeros(3, np.float64), "seen": np.int64(0)}
    step, state = ctx.restore(state) or (0, state)
    total, every = ctx.params["steps"], ctx.params.get("every", 3)
    ctx.used(micro=1)
    while step < total:
        state = {"x": 0.9 * state["x"] + replies[step % len(replies)], "seen": state["seen"] + 1}
        step += 1
        ctx.log(step, x=float(state["x"][0]))
        time.sleep(ctx.params.get("pause", 0.0))
        if step % every == 0 or ctx.stopping:
            ctx.save(step, state)
        ctx.progress(step, total, unit="steps")
    folder = ctx.dir / "hf"
    folder.mkdir(exist_ok=True)
    (folder / "weights.json").write_text(json.dumps([float(x) for x in state["x"]]))
    return {"seen": int(state["seen"])}


def measure(ctx):
    """The weights plus a number of the prompt's own, one value a prompt."""
    weight = json.loads((ctx.inputs["model"].path / "weights.json").read_text())[0]
    rows = [{"id": row["id"], "value": weight + i % 2} for i, row in enumerate(ctx.inputs["on"].rows())]
    ctx.commit(rows)
    values = [row["value"] for row in rows]
    mean = sum(values) / len(values)
    return {"value": mean, "low": mean - 0.1, "high": mean + 0.1, "n": len(values)}


def fail(ctx):
    if "mistake" in ctx.params:
        raise UserError(*ctx.params["mistake"])
    raise ZeroDivisionError("oh")


def screen(ctx):
    """Flags replies that draw more than a half."""
    rows = [
        {**row, "flag": {"principle": "small", "p": float(row["reply"][1:])} if row["reply"] > "r0.5" else None}
        for row in ctx.inputs["replies"].rows()
    ]
    ctx.commit(rows)


def amend(ctx):
    """Puts flagged replies right."""
    rows = ctx.inputs["replies"].rows()
    mended = {"reply": "r0.0", "flag": None, "critique": "It is large.", "principle": "small", "rounds": [{"round": 1}]}
    ctx.commit([{**row, **mended} if row["flag"] else row for row in rows])


def given(ctx):
    """Prompts from a file."""
    ctx.commit(read_prompts(ctx.params["path"]))


def rendered(ctx, n):
    said = [row["turns"][-1]["text"] for row in ctx.inputs["prompts"].rows()[:n]]
    return [[Segment("\n\nHuman:"), Segment(" " + text, trusted=False)] for text in said]


def number(name, default, value="int", **more):
    return Param(name, f"{name} of a toy", value=value, default=default, **more)


PAUSE = number("pause", 0.0, "float")
REGISTRY = {
    "ask": stage("ask", ask, Kind.PROMPTS, (number("n", 8),), group="source", limit="n"),
    "reply": stage(
        "reply",
        reply,
        Kind.RESPONSES,
        (Param("prompts", "what", (Kind.PROMPTS,)), PAUSE, number("complain", False, "bool")),
        rendered=rendered,
    ),
    "train": stage(
        "train",
        train,
        Kind.MODEL,
        (Param("data", "what", (Kind.RESPONSES,)), number("steps", 10, low=1), number("every", 3), PAUSE),
    ),
    "measure": stage(
        "measure",
        measure,
        Kind.METRIC,
        (Param("model", "what", (Kind.MODEL,)), Param("on", "where", (Kind.PROMPTS,))),
        group="metric",
    ),
    "screen": stage("screen", screen, Kind.RESPONSES, (Param("replies", "what", (Kind.RESPONSES,)),)),
    "amend": stage("amend", amend, Kind.RESPONSES, (Param("replies", "what", (Kind.RESPONSES,)),)),
    "prompts": stage("prompts", given, Kind.PROMPTS, (Param("path", "file", value="path"),), group="source"),
    "fail": stage("fail", fail, Kind.RESPONSES, (Param("prompts", "what", (Kind.PROMPTS,)),)),
}


def node(name, stage_name, params=None, **inputs):
    """A node keyed as the language would: by stage, parameters and inputs, not by its name."""
    keys = {k: tuple(n.key for n in v) if isinstance(v, tuple) else v.key for k, v in inputs.items()}
    text = json.dumps([stage_name, params or {}, keys], sort_keys=True, default=str)
    key = f"{stage_name}-{hashlib.blake2b(text.encode(), digest_size=6).hexdigest()}"
    kind = REGISTRY[stage_name].SIGNATURE.result(None)
    return Node(key, stage_name, params or {}, keys, kind, (name,) if name else ())


def pipeline(n=10, steps=10, pause=0.0, **reply_params):
    """ask -> reply -> train -> measure."""
    red = node("red", "ask", {"n": n})
    drawn = node("drawn", "reply", {"pause": pause, **reply_params}, prompts=red)
    model = node("model", "train", {"steps": steps, "pause": pause}, data=drawn)
    harm = node("harm", "measure", {}, model=model, on=red)
    return [red, drawn, model, harm]


def executor(out, stream=sys.stderr, **more):
    """An executor over `out/cache`."""
    more = {"interrupts": Interrupts(), "registry": REGISTRY, "seed": 0, **more}
    return Executor(cache=Cache(Path(out) / "cache"), reporter=PlainReporter(stream), traces=Path(out), **more)


def contents(out, nodes):
    """The bytes that must not depend on how often a run was stopped: rows, weights, metrics, results."""
    found = {}
    for one in nodes:
        folder = Path(out) / "cache" / one.key
        for path in sorted(folder.rglob("*")):
            if path.name.startswith("part-") or path.suffix == ".json" and path.parent.name == "hf":
                found[path.relative_to(folder.parent).as_posix()] = path.read_bytes()
        found[f"{one.key}/metrics"] = (
            (folder / "metrics.jsonl").read_bytes() if (folder / "metrics.jsonl").exists() else b""
        )
        found[f"{one.key}/result"] = json.dumps(json.loads((folder / "node.json").read_text())["result"])
    return found


if __name__ == "__main__":
    nodes = pipeline(n=24, steps=18, pause=float(sys.argv[2]))
    with Interrupts() as interrupts:
        print(os.getpid(), flush=True)
        executor(sys.argv[1], interrupts=interrupts).run(nodes)
