"""Units: what may be added, multiplied, compared and bounded, and what fits a parameter."""

from __future__ import annotations

import pytest

from cai_jax.commands.run import knobs_text
from cai_jax.lang.units import shown
from tests.lang._stages import checked

BASE = 'base = model("builtin:tiny")\nred = prompts("builtin:red_team")\nreplies = red.train |> sample(base)\n'


@pytest.mark.parametrize(
    "statement",
    [
        "expect harm_rate(base, red.test) < 5m",
        "expect harm_rate(base, red.test) < 16Gi",
        "expect harm_rate(base, red.test) < 5k",
        "expect harm_rate(base, red.test) + 1h < 1",
        "rest = budget(replies, time=90m + 5%)",
        "rest = budget(replies, time=90m * 5s)",
        "rest = 5m * replies |> finetune(base)",
        "rest = 2 * 5m * replies |> finetune(base)",
        "rest = judge(sample(red, base, n=2), c, by=base, clamp=0..5m)",
        "rest = judge(sample(red, base, n=2), c, by=base, clamp=0%..5m)",
        "let heat = 1 in 0%..90m\nrest = sample(red, base, temperature=heat)",
        "let heat = 5s in 0%..90%\nrest = sample(red, base, temperature=heat)",
        "let heat = 5% in 0..1\nsweep heat in [5%, 0.1s]\nrest = sample(red, base, top_p=heat)",
    ],
)
def test_units_that_do_not_fit_are_told(statement, world):
    text = BASE + 'constitution c { principle p { compare = "Which is better?" } }\n' + statement + "\n"
    found = {diagnostic.code for diagnostic in checked(text, world).diagnostics}
    assert found - {"E207"} == {"E238"}


@pytest.mark.parametrize(
    "written, name, value",
    [
        ("sample(red, base, max_new=50% * 1k)", "max_new", 500),
        ("sample(red, base, max_new=50% * 64)", "max_new", 32),
        ("sample(red, base, max_new=0.1k + 24)", "max_new", 124),
        ("sample(red, base, top_p=50% * 50%)", "top_p", 0.25),
        ("sample(red, base, top_p=50% + 0.25)", "top_p", 0.75),
        ("budget(replies, time=2 * 5m)", "time", 600.0),
        ("30% * replies", "weight", 0.3),
        ("2 * 0.5 * replies", "weight", 1.0),
    ],
)
def test_arithmetic_with_units(written, name, value, world):
    found = checked(BASE + f"r = {written}\n", world)
    assert found.arms[0].names["r"].values[name] == value


@pytest.mark.parametrize("weight", ["0", "-1", "0%"])
def test_weights_are_positive(weight, world):
    text = BASE + f"rest = {weight} * replies |> finetune(base)\n"
    found = checked(text, world).diagnostics
    assert [diagnostic.code for diagnostic in found] == ["E237"]


def test_overrides_count_what_the_range_counts(world):
    text = BASE + "let limit = 50% in 0%..100%\nh = harm_rate(replies)\nrest = sample(red, base, top_p=limit)\n"
    assert checked(text, world, limit="0.2").ok
    assert [d.code for d in checked(text, world, limit="20s").diagnostics] == ["E238"]


@pytest.mark.parametrize("value", [1234567.0, 4294967295, 12345678901.0, 1e-5, 0.1, 0.1 + 0.2, 1e22])
def test_a_number_is_shown_as_one_that_reads_back_as_itself(value):
    assert float(shown(value)) == value
    assert not shown(value).endswith(".0")


def test_knobs_are_listed_with_the_values_that_they_have(world):
    text = 'let many = 1234567 in 0..2M\nlet who = "base"\nlet all = true\n'
    shown = [line.split() for line in knobs_text(checked(text, world).knobs).splitlines()]
    assert shown == [["--set", "many=1234567", "in", "0..2000000"], ["--set", 'who="base"'], ["--set", "all=true"]]
