"""Slips of the hand: what is said, where, and that one slip is one message."""

from __future__ import annotations

import re

import pytest

from cai_jax.lang import build, syntax
from cai_jax.lang.assets import find
from tests.lang.registry import checked

BASE = 'base = model("builtin:tiny")\nred = prompts("builtin:red_team")\n'
USES = "rest = red.train |> sample(base)\n"


@pytest.mark.parametrize(
    "statement, code, underlined, hint",
    [
        ("größe = red |> sample(base)", "E008", "ö", "names are made of"),
        ("a = red\N{NO-BREAK SPACE} |> sample(base)", "E008", "\N{NO-BREAK SPACE}", "remove it"),
        ("a = red \N{ZERO WIDTH SPACE}|> sample(base)", "E008", "\N{ZERO WIDTH SPACE}", "remove it"),
        ("a\0 = red |> sample(base)", "E008", "\0", "remove it"),
        ("a = red |> sample(base) // why", "E008", "/", "a comment begins with #"),
        ("a = red | sample(base)", "E118", "|", "write `|>`"),
        ("a = red || sample(base)", "E118", "||", "write `|>`"),
        ("a = red > sample(base)", "E118", ">", "write `|>`"),
        ("a = red -> sample(base)", "E118", "->", "write `|>`"),
        ("a = red => sample(base)", "E118", "=>", "write `|>`"),
        ("a = refuse(sample(red, base), “No.”)", "E115", "“", 'write "…"'),
        ("a = harm_rate(base, red) > 5%", "E101", ">", ""),
        ("a = sample(red, base, temperature=1.)", "E119", "1.", "write 1.0 or 1"),
        ("a = sample(red, base, temperature=.5)", "E119", ".5", "write 0.5"),
        ("sample(red, base)", "E112", "sample", "write `name = sample"),
        ("a sample(red, base)", "E112", "a", "a statement binds a name"),
        ("a == red |> sample(base)", "E105", "==", "write `=`"),
        ("a = red |> sample(base, n==2)", "E105", "==", "write `=`"),
        ("expect harm_rate(base, red) < 5% at 95 %", "E119", "95 %", "write 95%"),
        ("a = sample(red, base, max_new=4 k)", "E119", "4 k", "write 4k"),
        ('expect harm_rate(base, red) < 5% "why" at 95%', "E101", "at", 'write  at 95% "why"'),
        ("a = sample(\n  red\n  base,\n  n=2\n)", "E110", "", "separate arguments"),
        ("a = sample(\n  red,\n  model=base\n  n=2\n)", "E110", "", "separate arguments"),
    ],
)
def test_a_slip_is_told_at_its_place(statement, code, underlined, hint, world):
    found = checked(BASE + USES + statement + "\n", world).diagnostics
    assert [diagnostic.code for diagnostic in found] == [code]
    assert found[0].span.text == underlined and found[0].hint.startswith(hint)


@pytest.mark.parametrize(
    "statement, code, hint",
    [
        ("a = red |> sample(BASE)", "E200", "did you mean `base`?"),
        ("a = sample(rde, base)", "E200", "did you mean `red`?"),
        ("a = sample(red, base, N=2)", "E231", "did you mean `n`?"),
        ("a = finetune(sample(red, base), base, shuffle=True)", "E200", "did you mean `true`?"),
        ('a = prompts("buitlin:red_team") |> sample(base)', "E221", "did you mean `builtin:`?"),
        ("a = sample(red, base, n=None)", "E200", "leave the parameter out"),
    ],
)
def test_what_was_meant(statement, code, hint, world):
    found = checked(BASE + "rest = red.train |> sample(base)\n" + statement + "\n", world).diagnostics
    assert [(diagnostic.code, diagnostic.hint) for diagnostic in found if diagnostic.code != "E207"] == [(code, hint)]


def test_a_knob_is_meant_whatever_the_case_of_its_letters(world):
    (found,) = checked(BASE + "let k = 2\nr = sample(red, base, n=k)\n", world, K="2").diagnostics
    assert (found.code, found.hint) == ("E251", "did you mean `k`?")


def test_a_misspelt_name_is_one_mistake(world):
    text = 'only = model("builtin:tiny")\nred = prompts("builtin:red_team")\nr = red |> sample(onyl)\n'
    assert [diagnostic.code for diagnostic in checked(text, world).diagnostics] == ["E200"]


@pytest.mark.parametrize(
    "field, message",
    [
        ('weight = "2"', '`weight` of `principle` takes a number, not "2"'),
        ("weight = [2]", "`weight` is a number"),
        ('critque = "What?"', "a principle has no field `critque`"),
        ("compare = 2", "`compare` is a string with something in it"),
    ],
)
def test_a_wrong_field_is_one_mistake(field, message, world):
    found = checked(f"constitution c {{ principle p {{ {field} }} }}\n", world).diagnostics
    assert [diagnostic.message for diagnostic in found] == [message]


def test_fewshots_are_given_once(world):
    (world / "a.jsonl").write_text("{}\n", encoding="utf-8")
    shots = 'fewshots = "a.jsonl"\n'
    text = f'constitution c {{\n  {shots}  {shots}  principle p {{ compare = "Which?" }}\n}}\n'
    assert [diagnostic.code for diagnostic in checked(text, world).diagnostics] == ["E232"]


def test_numbers_are_written_as_the_grammar_says():
    (terminal,) = re.findall(r"^NUMBER: /(.*)/$", (find("grammar") / "cai.lark").read_text("utf-8"), re.MULTILINE)
    written = "0 12 1_000 1.5 1e5 1E-5 1.5e+3k 5% 16Gi 3e 1. .5 1% 5%% k -1 1__0 e5".split()
    matching = [[text for text in written if re.fullmatch(pattern, text)] for pattern in (terminal, build.NUMBER)]
    assert matching[0] == matching[1] and len(matching[0]) == 12
    assert syntax.NUMBER is build.NUMBER
