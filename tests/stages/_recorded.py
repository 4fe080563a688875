"""What a program calls, and what its stages say it will; run with two CPU devices (tests/forecast/test_steps.py).

Prints {"called": {step: signatures}, "described": the same}. A signature is what a step is given, as text, with the
lengths that follow from data put as "*".
"""

import json
import sys
from collections import defaultdict
from pathlib import Path

import jax

from cai_jax.engine import decode_steps, option_scoring, prefix_cache
from cai_jax.parallel import target
from cai_jax.parallel.step import CompiledStep
from cai_jax.pipeline import policy_divergence, reward_scoring
from cai_jax.report import compiled_steps
from cai_jax.runs import programs
from cai_jax.stages import registry
from tests.stages.conftest import Bench

PROGRAM = """\
run (slots=16)
replies = red.train |> sample(base, max_new=8) |> revise(rules, rounds=1, max_new=8)
sl = replies |> finetune(base, batch=4, steps=2, length=128)
low = replies |> finetune(base, batch=4, steps=2, length=128, adapter=lora(rank=2))
labels = red.train |> sample(base, n=2, max_new=8) |> judge(rules, by=base)
rm = labels + human.train |> reward(base, batch=8, epochs=1, length=128)
direct = labels + human.train |> dpo(base, batch=8, epochs=1, length=128)
rl = base |> ppo(rm, on=red.train, batch=8, minibatch=4, max_new=8, steps=1, kl=0.05)
kind = harm_rate(rl, red.test, by=base, under=rules, fewshots=0)
mean = mean_score(rl, red.test, by=rm)
far = divergence(rl, sl, red.test)
"""
# Axes whose size data decides: how long texts are, and of scored rows how many are read at once.
LENGTHS = {
    "fill": {4: (2,), 3: (1,), 2: (1,)},
    "decode": {4: (2,), 3: (1,)},
    "read": {2: (1,)},
    "score": {3: (1,), 2: (0, 1), 1: (0,)},
    "scores": {2: (1,)},
    "diverge": {2: (1,)},
    "learn": {3: (2,), 4: (3,)},
}


def signature(step, given):
    """Shapes and dtypes of what a step is given, the weights included, on which no data bears."""
    found = []
    for leaf in jax.tree.leaves(given):
        shape = list(leaf.shape)
        option = step == "score" and shape[1:] == [2]  # [predictions, options]: a tokenizer decides how many
        whole = "float" in str(leaf.dtype) and len(shape) < 3
        for axis in (0,) if option else () if whole else LENGTHS.get(step, {}).get(len(shape), ()):
            shape[axis] = "*"
        found.append(f"{leaf.dtype}{shape}")
    return " ".join(sorted(found))


def main():
    called, described = defaultdict(set), defaultdict(set)

    def recorded(step, function, keep):
        def call(*arguments):
            called[step].add(signature(step, keep(*arguments)))
            return function(*arguments)

        return call

    def arrays(*arguments):
        return [each for each in arguments if not isinstance(each, (int, type(None))) and not hasattr(each, "kv_heads")]

    for module, name, step in (
        (decode_steps, "fill", "fill"),
        (decode_steps, "decode", "decode"),
        (prefix_cache, "read_prefix", "read"),
        (option_scoring, "_score", "score"),
    ):
        setattr(module, name, recorded(step, getattr(module, name), arrays))
    compiled = reward_scoring.compiled
    reward_scoring.compiled = lambda *shape: recorded("scores", compiled(*shape), arrays)
    divergence = policy_divergence.compiled
    policy_divergence.compiled = lambda *shape: recorded("diverge", divergence(*shape), arrays)
    run = CompiledStep.__call__
    CompiledStep.__call__ = recorded("learn", run, lambda self, state, batch: (state, batch))

    bench = Bench(Path(sys.argv[1]))
    bench.run(PROGRAM)
    plan = programs.planned(
        programs.checked(bench.root / "program.cai", (bench.root / "program.cai").read_bytes(), (), registry()),
        registry(),
    )
    with target.compiling_for(jax.devices()):
        for _, make in compiled_steps.described(plan, registry(), 32):
            for step in make({}):
                ends = {"read prompts": "fill", "decode 8 tokens": "decode", "read examples": "read"}
                ends |= {"score options": "score", "score references": "scores", "divergence": "diverge"}
                name = next((found for end, found in ends.items() if step.name.endswith(end)), "learn")
                name = "scores" if "score by" in step.name else name
                given = {what: tree for what, tree in step.given.items() if what != "frozen"}
                described[name].add(signature(name, given))
    found = {"called": called, "described": described}
    json.dump({kind: {name: sorted(seen) for name, seen in each.items()} for kind, each in found.items()}, sys.stdout)


if __name__ == "__main__":
    main()
