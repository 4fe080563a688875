"""Options of training and sampling that could change nothing are errors before anything runs."""

import pytest

from cai_jax.lang.check import check
from cai_jax.stages import registry

SOURCES = """\
use harmless from "constitutions/starter.cai"
base = model("builtin:tiny")
red = prompts("builtin:red_team", limit=64)
human = prefs("builtin:helpful_prefs", limit=48)
replies = red.train |> sample(base)
pairs = red.train |> sample(base, n=2)
rm = human.train |> reward(base)
"""


def found(statement):
    """Code and underlined text of every diagnostic of a program that ends with a statement."""
    told = check(SOURCES + statement + "\n", "p.cai", registry()).diagnostics
    return [(each.code, each.labels[0].span.text) for each in told if each.code != "E207"]


@pytest.mark.parametrize(
    "statement, code, at",
    [
        ("x = replies |> finetune(base, steps=5, epochs=2)", "E241", "2"),
        ("x = replies |> finetune(base, steps=5, warmup=5)", "E241", "5"),
        ("x = replies |> finetune(base, batch=16, warmup=4)", "E241", "4"),
        ("x = replies |> finetune(base, epochs=1e-300)", "E237", "1e-300"),
        ("x = human.train |> reward(base, batch=16, epochs=2, warmup=6)", "E241", "6"),
        ("x = human.train |> reward(base, epochs=0.5%)", "E238", "0.5%"),
        ("x = human.train |> reward(base, epochs=0.005)", "E237", "0.005"),
        ("x = base |> ppo(rm, on=red.train, steps=5, batch=8, minibatch=4, passes=2, critic_warmup=20)", "E241", "20"),
        ("x = base |> ppo(rm, on=red.train, kl=0, target=2)", "E241", "2"),
        ("x = base |> ppo(rm, on=red.train, horizon=500)", "E241", "500"),
        ("x = base |> ppo(rm, on=red.train, watch=rm)", "E246", "rm"),
        ("x = red.train |> sample(base, n=2, temperature=0)", "E241", "2"),
        ("x = pairs |> judge(harmless, labels=clamped, clamp=0.5..0.5)", "E237", "0.5..0.5"),
        ("x = pairs |> judge(harmless, labels=clamped, clamp=0.7..0.9)", "E237", "0.7..0.9"),
        ("x = pairs |> judge(harmless, labels=clamped, clamp=10%..50%)", "E237", "10%..50%"),
        ("x = red.train |> sample(base, top_p=0.5, temperature=0)", "E241", "0.5"),
    ],
)
def test_what_changes_nothing_is_an_error(statement, code, at):
    assert found(statement) == [(code, at)]


@pytest.mark.parametrize(
    "statement",
    [
        "x = replies |> finetune(base, steps=5, warmup=4)",
        "x = replies |> finetune(base, batch=16, warmup=3)",
        "x = human.train |> reward(base, batch=16, epochs=2, warmup=5)",
        "x = human.train |> reward(base, epochs=0.05)",
        "x = base |> ppo(rm, on=red.train, steps=5, batch=8, minibatch=4, passes=2, critic_warmup=19)",
        "x = base |> ppo(rm, on=red.train, target=2, horizon=500)",
        "x = red.train |> sample(base, n=1, temperature=0, seed=3)",
        "x = pairs |> judge(harmless, labels=clamped, clamp=0.4..0.9)",
        # The rows of a file are not counted here.
        'x = documents("builtin:world", rows=10) |> finetune(base, steps=3)',
    ],
)
def test_what_changes_something_is_none(statement):
    assert found(statement) == []
