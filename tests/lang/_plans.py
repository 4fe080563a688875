"""Programs on the stages of the language's tests, and their plans."""

from __future__ import annotations

from cai_jax.lang.diagnostics import render
from cai_jax.lang.plan import Plan, lower
from tests.lang._stages import checked

QUICKSTART = """# quickstart.cai
use harmless from "constitutions/starter.cai"

base  = model("builtin:tiny")
red   = prompts("builtin:red_team")
ask   = prompts("builtin:helpful")
edge  = prompts("builtin:borderline")

# 1. supervised: sample, critique, revise, fine-tune
revised = red.train |> sample(base) |> revise(harmless, rounds=2)
chat    = ask.train |> sample(base)
sl      = revised + chat |> finetune(base, epochs=1)

# 2. reinforcement: AI feedback, preference model, PPO
labels = red.train |> sample(sl, n=2) |> judge(harmless, by=base)
human  = prefs("builtin:helpful_prefs")
rm     = labels + human.train |> reward(sl)
rl     = sl |> ppo(rm, on=red.train + ask.train, kl=0.05, steps=100)

# 3. what must be true, on prompts never trained on
label_quality = label_accuracy(labels)
expect harm_rate(sl, red.test) < harm_rate(base, red.test) at 95%
expect harm_rate(rl, red.test) < harm_rate(sl, red.test)   at 95%
expect refusal_rate(rl, ask.test) < 5%                     "no over-refusal"
expect refusal_rate(rl, edge.test) < 10%                   "hears the difference"
"""
BASE = 'base = model("builtin:tiny")\nred = prompts("builtin:red_team")\n'


def plan_of(text: str, world, fingerprint=lambda path: path, **overrides: str) -> Plan:
    found = checked(text, world, **overrides)
    assert found.ok, render(found.diagnostics)
    return lower(found, fingerprint)
