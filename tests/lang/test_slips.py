"""Slips of the hand: what is said, where, and that one slip is one message."""

from __future__ import annotations

import re

import pytest

from cai_jax.lang import ast_builder, parse_errors
from cai_jax.lang.assets import find
from cai_jax.lang.checker import check
from cai_jax.stages import registry
from tests.lang._stages import checked

BASE = 'base = model("builtin:tiny")\nred = prompts("builtin:red_team")\n'
USE = 'use harmless from "constitutions/starter.cai"\n'
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
        ("a = sample(red, base) |> revise(harmless, critique=True)", "E200", "did you mean `true`?"),
        ('a = prompts("buitlin:red_team") |> sample(base)', "E221", "did you mean `builtin:`?"),
        ("a = sample(red, base, n=None)", "E200", "leave the parameter out"),
    ],
)
def test_what_was_meant(statement, code, hint, world):
    found = checked(USE + BASE + USES + statement + "\n", world).diagnostics
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
    (world / "a.jsonl").write_text("", encoding="utf-8")
    shots = 'fewshots = "a.jsonl"\n'
    text = f'constitution c {{\n  {shots}  {shots}  principle p {{ compare = "Which?" }}\n}}\n'
    assert [diagnostic.code for diagnostic in checked(text, world).diagnostics] == ["E232"]


def test_numbers_are_written_as_the_grammar_says():
    (terminal,) = re.findall(r"^NUMBER: /(.*)/$", (find("grammar") / "cai.lark").read_text("utf-8"), re.MULTILINE)
    written = "0 12 1_000 1.5 1e5 1E-5 1.5e+3k 5% 16Gi 3e 1. .5 1% 5%% k -1 1__0 1_ 1_0_0 e5".split()
    matching = [[text for text in written if re.fullmatch(pattern, text)] for pattern in (terminal, ast_builder.NUMBER)]
    assert matching[0] == matching[1] and len(matching[0]) == 12 and "1_" not in matching[0]
    assert parse_errors.NUMBER is ast_builder.NUMBER


def test_a_stray_comma_in_a_constitution_hides_nothing(world):
    text = """constitution mine {
  principle one { critique = "c", revise = "r" }
  principle two { critique = 5, revise = "r" }
  principle three { crtique = "c" }
  principle four { }
  principle one { critique = "c" weight = -1 }
}
"""
    found = sorted(diagnostic.code for diagnostic in checked(text, world).diagnostics)
    assert found == ["E106", "E106", "E214", "E214", "E215", "E216", "E237"]


def test_a_file_that_holds_no_constitutions_is_told_once(world):
    (world / "rows.jsonl").write_text('{"prompt": "q"}\n' * 16, encoding="utf-8")
    (found,) = checked('use harmless from "rows.jsonl"\n', world).diagnostics
    assert found.code == "E217" and found.span.source.path.endswith("p.cai")
    (world / "half.cai").write_text("constitution harmless { principle p { critique = } }\n", encoding="utf-8")
    (found,) = checked('use harmless from "half.cai"\n', world).diagnostics
    assert found.code == "E101" and found.span.source.path.endswith("half.cai")


@pytest.mark.parametrize(
    ("data", "code"), [("größe".encode("latin-1"), "E001"), (bytes(range(256)), "E001"), (b"#" * 600_000, "E006")]
)
def test_a_file_of_constitutions_that_cannot_be_read_is_told_once(data, code, world):
    (world / "odd.cai").write_bytes(b'constitution c { principle p { audit = "a" } }\n# ' + data)
    (found,) = checked('use c from "odd.cai"\n', world).diagnostics
    assert found.code == code and found.span.source.path.endswith("odd.cai")


def test_a_binding_without_its_sign_makes_no_unknown_names(world):
    text = """base = model("builtin:tiny")
red prompts("builtin:red_team")
a = red.train |> sample(base)
b = red.test |> sample(base)
rate = win_rate(a, b)
"""
    assert [diagnostic.code for diagnostic in checked(text, world).diagnostics] == ["E112"]


@pytest.mark.parametrize("written", ["2sl", "s-l", "sl!", "s.l", "s l", '"sl"', "let s-l", "let 2sl"])
def test_a_binding_of_what_is_no_name_makes_no_unknown_names(written, world):
    text = f"{BASE}{written} = sample(red, base)\nrate = harm_rate(sl)\n"
    assert len(checked(text, world).diagnostics) == 1


@pytest.mark.parametrize(
    "statement",
    ['use my-rules from "constitutions/starter.cai"', 'constitution my-rules { principle p { audit = "a" } }'],
)
def test_a_constitution_of_what_is_no_name_makes_no_unknown_names(statement, world):
    text = f"{statement}\n{BASE}a = red |> sample(base) |> revise(my_rules)\n"
    assert len(checked(text, world).diagnostics) == 1


def test_a_used_name_in_an_unclosed_bracket_is_used(world):
    text = """use harmless from "constitutions/starter.cai"
base = model("builtin:tiny")
red = prompts("builtin:red_team")
mended = red.train |> sample(base) |> revise(harmless, rounds=2
sl = mended |> finetune(base)
"""
    assert [diagnostic.code for diagnostic in checked(text, world).diagnostics] == ["E103"]


@pytest.mark.parametrize(
    "call, hint",
    [
        ("sample(red, base, n2)", "write  n=2"),
        ("sample(red, base, n=2, temperature1)", "write  temperature=1"),
        ("sample(red, base, n2, temperature=0.5)", "write  n=2"),
        ("finetune(rest, base, learning_rate1e-3)", "write  learning_rate=1e-3"),
        ("sample(red, base, temperaturewarm)", "write  temperature=warm"),
    ],
)
def test_an_argument_that_has_lost_its_sign_is_one_mistake(call, hint, world):
    heated = "let warm = 2\nheated = harm_rate(sample(red, base, temperature=warm))\n"
    text = f"{BASE}{USES}{heated}harm = harm_rate(rest)\na = {call}\n"
    found = checked(text, world).diagnostics
    assert [(each.code, each.hint) for each in found] == [("E231", hint)]


def test_a_name_that_only_begins_like_a_parameter_is_a_name(world):
    text = BASE + "nodel = base\n" + "a = harm_rate(sample(red, nodel))\nb = sample(red, nmodel)\n"
    assert [diagnostic.code for diagnostic in checked(text, world).diagnostics] == ["E200"]


@pytest.mark.parametrize("mark", ["(", ")", "[", "]", "="])
def test_one_mark_that_is_missing_in_a_program_is_one_mistake(mark):
    for path in (find("programs") / f"{name}.cai" for name in ("sl", "guard")):
        text = re.sub("#.*", "", path.read_text("utf-8"))
        inner = "(?<=[a-z])=(?=[a-z0-9])" if mark == "=" else re.escape(mark)
        for found in re.finditer(inner, text):
            said = check(text[: found.start()] + text[found.end() :], path, registry()).diagnostics
            assert len(said) == 1, text[found.start() - 20 : found.end() + 20]


def test_a_second_run_statement_hides_no_mistake(world):
    text = BASE + USES + "harm = harm_rate(rest)\nlet start = 1\nrun (slots=32)\nrun (seed=start, sed=1)\n"
    assert [diagnostic.code for diagnostic in checked(text, world).diagnostics] == ["E254", "E255"]


def test_an_unclosed_bracket_and_one_that_closes_nothing_do_not_find_each_other(world):
    text = BASE + "a = sample(red, base, n=2\nb = harm_rate(a)\nc = sample(red, base))\nd = harm_rate(c)\n"
    found = [(each.code, each.span.source.position(each.span.start)[0]) for each in checked(text, world).diagnostics]
    assert found == [("E103", 3), ("E104", 5)]
