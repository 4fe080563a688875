"""The checker beyond single diagnostics: units, knobs, names that nothing uses, lineage, and diagnostics as data."""

from __future__ import annotations

import pytest

from cai_jax.lang.checker import check
from cai_jax.lang.diagnostics import Diagnostic, Label, render
from cai_jax.lang.source import Source, Span
from tests.lang._stages import REGISTRY, checked

USE = 'use harmless from "constitutions/starter.cai"\n'
BASE = 'base = model("builtin:tiny")\nred = prompts("builtin:red_team")\n'


def codes(text: str, world, **overrides: str) -> list[str]:
    return [diagnostic.code for diagnostic in checked(text, world, **overrides).diagnostics]


def param(text: str, world, name: str = "r"):
    """The value of a parameter in the artefact bound to `r`, from `stage(…, name=VALUE)`."""
    found = checked(text, world)
    assert found.ok, render(found.diagnostics)
    return found.arms[0].names["r"].values[name]


@pytest.mark.parametrize(
    "written, stage, name, value",
    [
        ("0.5k", "sample(red, base, max_new={})", "max_new", 500),
        ("1_00", "sample(red, base, max_new={})", "max_new", 100),
        ("7%", "sample(red, base, top_p={})", "top_p", 0.07),
        ("1", "sample(red, base, top_p={})", "top_p", 1.0),
        ("0.2k", "finetune(red |> sample(base), base, batch={})", "batch", 200),
        ("16Gi", "budget(red |> sample(base), memory={})", "memory", 17179869184),
        ("90m", "budget(red |> sample(base), time={})", "time", 5400.0),
        ("1.5h", "budget(red |> sample(base), time={})", "time", 5400.0),
        ("1e-5", "finetune(red |> sample(base), base, learning_rate={})", "learning_rate", 1e-5),
    ],
)
def test_numbers_with_units(written, stage, name, value, world):
    found = param(BASE + "r = " + stage.format(written) + "\n", world, name)
    assert found == value and type(found) is type(value)


def test_false_is_a_value(world):
    text = USE + BASE + "r = red |> sample(base) |> revise(harmless, critique=false)\n"
    assert param(text, world, "critique") is False


def test_a_range_is_a_pair(world):
    text = USE + BASE + "r = red |> sample(base, n=2) |> judge(harmless, by=base, labels=clamped, clamp=0.4..60%)\n"
    assert param(text, world, "clamp") == [0.4, 0.6]
    assert codes(text.replace("0.4..60%", "-0.1..0.5"), world) == ["E237"]
    assert codes(text.replace("0.4..60%", "0.4"), world) == ["E236"]


JUDGED = USE + BASE + "r = red.train |> sample(base, n=2) |> judge(harmless, by=base, labels=clamped, clamp={})\n"


@pytest.mark.parametrize(
    "knobs, written, found",
    [
        ("let low = 0.4 in 0..1\nlet high = 60%\n", "low..high", [0.4, 0.6]),
        ("let low = 40%\n", "low..0.6", [0.4, 0.6]),
        ("let high = 1\n", "0 .. high", [0, 1]),
    ],
)
def test_an_end_of_a_range_may_be_a_knob(knobs, written, found, world):
    assert param(knobs + JUDGED.format(written), world, "clamp") == found


@pytest.mark.parametrize(
    "knobs, written, code",
    [
        ("let low = 0.7\n", "low..0.6", "E258"),
        ('let low = "x"\n', "low..0.6", "E228"),
        ("let low = true\n", "low..0.6", "E228"),
        ("", "base..0.6", "E228"),
        ("let same = 0.5\n", "same..same", "E237"),
        ("let high = 1e999\n", "0..high", "E121"),
        ("let high = 2\n", "0..high", "E237"),
        ("let high = 3k\n", "0%..high", "E238"),
        ("", "red.train..0.6", "E101"),
    ],
)
def test_ends_of_ranges_that_are_none(knobs, written, code, world):
    assert codes(knobs + JUDGED.format(written), world) == [code]


def test_a_range_can_be_swept_and_set(world):
    text = "let low = 0.4\nsweep low in [0.1, 0.3]\n" + JUDGED.format("low..0.6")
    assert [arm.names["r"].values["clamp"] for arm in checked(text, world).arms] == [[0.1, 0.6], [0.3, 0.6]]
    assert checked(text, world, low="0.2").arms[0].names["r"].values["clamp"] == [0.2, 0.6]
    assert codes(text, world, low="0.9") == ["E258"]
    assert codes(JUDGED.format("lo..0.6"), world)[0] == "E200"
    # The range of a knob is read before any knob has a value.
    assert "E256" in codes("let a = 0.1\nlet b = 0.2 in a..1\n" + JUDGED.format("a..b"), world)


@pytest.mark.parametrize(("value", "code"), [("9" * 400, "E121"), ("1e400", "E121"), ("99999999999999999999", "E237")])
def test_numbers_beyond_all_bounds_are_told(value, code, world):
    assert codes(BASE + f"r = sample(red, base, seed={value})\n", world) == [code]


def test_a_bare_word_is_the_choice_first_and_a_name_second(world):
    text = USE + BASE + 'let all = "flagged"\nlet which = "flagged"\n'
    text += "r = red |> sample(base) |> screen(harmless) |> revise(harmless, where={})\n"
    assert param(text.format("which").replace('let all = "flagged"\n', ""), world, "where") == "flagged"
    found = checked(text.format("all").replace('let which = "flagged"\n', ""), world)
    assert found.arms[0].names["r"].values["where"] == "all"


def test_the_pipe_binds_loosest_and_hands_on_the_first_argument(world):
    text = BASE + "a = red.train |> sample(base)\nb = red.test |> sample(base)\nr = a + b |> finetune(base, epochs=2)\n"
    arm = checked(text, world).arms[0]
    assert arm.names["r"].inputs["data"].stage == "join"
    assert arm.names["r"].inputs["data"].inputs["parts"] == (arm.names["a"], arm.names["b"])


def test_what_may_stand_unused(world):
    assert codes(BASE + "replies = red |> sample(base)\n", world) == [], "what the last binding makes"
    assert codes(BASE + "a = red.train |> sample(base) |> finetune(base)\nb = harm_rate(base, red.test)\n", world) == []
    assert codes(BASE + "f = _ |> sample(base)\nb = harm_rate(base, red.test)\n", world) == []
    assert codes(BASE + "a = red.train |> sample(base)\nb = harm_rate(base, red.test)\n", world) == ["E207"]
    assert codes(BASE, world) == ["E207"], "a source alone is not the last of anything"


def test_names_in_broken_statements_count_as_used_and_bound(world):
    text = BASE + "a = red.train |> sample(base\nb = harm_rate(a)\nuse x, from y\nc = b + x\n"
    assert codes(text, world) == ["E103", "E106"]


def test_lineage_is_followed_through_rewards_and_mixtures(world):
    text = (
        USE
        + BASE
        + (
            "labels = red.train |> sample(base, n=2) |> judge(harmless, by=base)\n"
            "rm = labels |> reward(base)\n"
            "rl = base |> ppo(rm, on=red.test)\n"
            "expect harm_rate(rl, red.{split}) < 5%\n"
        )
    )
    assert codes(text.format(split="train"), world) == ["E240"]
    assert codes(text.format(split="test"), world) == ["E240"]
    assert codes(text.replace("red.test)", "red.train)", 1).format(split="test"), world) == []


def test_labels_may_be_measured_where_they_were_made(world):
    text = (
        USE
        + BASE
        + (
            "sl = red.train |> sample(base) |> finetune(base)\n"
            "labels = red.train |> sample(sl, n=2) |> judge(harmless, by=base)\n"
            "quality = label_accuracy(labels)\n"
        )
    )
    assert codes(text, world) == []


@pytest.mark.parametrize(
    "metric",
    [
        "win_rate(base, sl, red.train)",
        "win_rate(red.train |> sample(base), red.train |> sample(sl))",
        "win_rate(base, _flow, red.train)",
        "harm_rate(base, red.train, by=rm)",
    ],
)
def test_no_part_of_a_metric_was_trained_on_what_it_measures(metric, world):
    text = (
        USE
        + BASE
        + (
            "sl = red.train |> sample(base) |> finetune(base)\n"
            "rm = red.train |> sample(base, n=2) |> judge(harmless, by=base) |> reward(base)\n"
            "_flow = _ |> sample(sl)\n"
            f"h = {metric}\n"
        )
    )
    assert codes(text, world) == ["E240"]
    assert codes(text.replace(metric, metric.replace("train", "test")), world) == []


def test_measuring_flows_on_what_they_were_trained_on_is_told(world):
    text = BASE + "sl = red.train |> sample(base) |> finetune(base)\nf = _ |> sample(sl)\nh = harm_rate(f, red.{})\n"
    assert codes(text.format("train"), world) == ["E240"]
    assert codes(text.format("test"), world) == []


def test_a_constitution_lies_beside_the_program_or_is_built_in(world, tmp_path):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    text = USE + BASE + "r = red |> sample(base) |> revise(harmless.law)\n"
    assert check(text, folder / "p.cai", REGISTRY, root=world).ok
    (folder / "constitutions").mkdir()
    own = 'constitution harmless { principle own { critique = "c" revise = "r" } }\n'
    (folder / "constitutions" / "starter.cai").write_text(own, encoding="utf-8")
    found = check(text, folder / "p.cai", REGISTRY, root=world)
    assert [diagnostic.code for diagnostic in found.diagnostics] == ["E218"]


def test_mistakes_in_a_constitution_are_shown_in_its_own_file(world):
    (world / "mine.cai").write_text('constitution mine {\n  principle p { critique: "c" }\n}\n', encoding="utf-8")
    found = checked('use mine from "mine.cai"\n' + BASE + "r = red |> sample(base) |> revise(mine)\n", world)
    assert [diagnostic.code for diagnostic in found.diagnostics] == ["E105"]
    assert found.diagnostics[0].span.source.path == str(world / "mine.cai")


def test_replies_are_measured_on_their_own_prompts(world):
    text = BASE + "a = red.train |> sample(base)\nh = harm_rate(a, red.{})\n"
    assert codes(text.format("test"), world) == ["E244"]
    assert codes(text.format("train"), world) == []


def test_mistakes_in_a_constitution_open_from_where_one_stands(world, monkeypatch):
    (world / "da").mkdir()
    (world / "da" / "mine.cai").write_text("constitution mine {}\n", encoding="utf-8")
    (world / "da" / "u.cai").write_text(text := 'use mine from "mine.cai"\n', encoding="utf-8")
    for here, path, shown in ((world, "da/u.cai", "da/mine.cai"), (world / "da", "u.cai", "mine.cai")):
        monkeypatch.chdir(here)
        (found,) = check(text, path, REGISTRY, root=world).diagnostics
        assert found.as_json()["spans"][0]["file"] == shown


def test_a_program_is_no_file_of_constitutions_and_that_is_said_once(world):
    (world / "other.cai").write_text(BASE + "a = red |> sample(base)\n", encoding="utf-8")
    assert codes('use mine from "other.cai"\n' + BASE + "r = red |> sample(base) |> revise(mine)\n", world) == ["E217"]


def test_a_file_of_constitutions_may_be_checked_alone(world):
    assert codes((world / "constitutions" / "starter.cai").read_text(encoding="utf-8"), world) == []


def test_warnings_do_not_stop(world):
    found = checked(BASE.replace("builtin:tiny", "hf:a/b") + "r = red |> sample(base)\n", world)
    assert found.ok and [diagnostic.code for diagnostic in found.diagnostics] == ["W301"]


def test_knobs_with_their_help(world):
    text = '## how far\n## the policy may go\nlet kl = 5% in 0..1\nlet name = "x"\n' + BASE
    knob, other = checked(text, world).knobs
    assert (knob.name, knob.value, knob.low, knob.high, knob.help) == ("kl", 0.05, 0, 1, "how far the policy may go")
    assert (other.value, other.low, other.help) == ("x", None, "")


@pytest.mark.parametrize(
    "value, code",
    [("0.5", None), ("50%", None), ("2", "E250"), ("1K", "E120"), ("x", "E257"), ("", "E257"), ("-1", "E250")],
)
def test_overrides_are_read_like_the_program_and_checked(value, code, world):
    text = BASE + "let t = 1 in 0..1\nr = red |> sample(base, temperature=t)\n"
    found = checked(text, world, t=value)
    plain = "fraction" if value.endswith("%") else ""
    expected = [code] if code else (["E238"] if plain else [])
    assert [diagnostic.code for diagnostic in found.diagnostics] == expected


def test_setting_a_swept_knob_pins_it(world):
    text = BASE + "let t = 1 in 0..2\nsweep t in [0.5, 1]\nr = red |> sample(base, temperature=t)\n"
    assert len(checked(text, world).arms) == 2
    (arm,) = checked(text, world, t="2").arms
    assert arm.values == {} and arm.names["r"].values["temperature"] == 2.0


def test_sweeps_that_explode_are_refused_at_once(world):
    lets = "".join(f"let k{i} = 0\nsweep k{i} in [{', '.join(map(str, range(50)))}]\n" for i in range(12))
    calls = "".join(f"r{i} = red |> sample(base, seed=k{i})\nh{i} = harm_rate(r{i})\n" for i in range(12))
    assert codes(BASE + lets + calls, world) == ["E259"]


def test_diagnostics_are_data_too(world):
    text = USE + BASE + "labels = red |> sample(base) |> judge(harmless, by=base)\n"
    (found,) = checked(text, world).diagnostics
    path = str(world / "p.cai")
    assert found.as_json() == {
        "code": "E210",
        "severity": "error",
        "message": "`judge` compares replies, but each prompt has only one",
        "hint": "write  sample(..., n=2)",
        "spans": [
            {"file": path, "line": 4, "column": 33, "end_line": 4, "end_column": 38,
             "label": "needs at least 2 replies per prompt", "primary": True},
            {"file": path, "line": 4, "column": 17, "end_line": 4, "end_column": 29,
             "label": "draws n=1", "primary": False},
        ],
    }  # fmt: skip


def test_wide_and_combining_characters_keep_the_carets_in_place():
    text = 'a = "日本e\u0301" + b\n'
    source = Source("p.cai", text)
    at = text.index("b")
    shown = render([Diagnostic("E200", "m", (Label(Span(source, at, at + 1), "here"),))]).splitlines()
    # 日 and 本 take two columns each and the accent none, so b stands in column 15 of a terminal, not in 14.
    assert shown[-1] == "  | " + " " * 14 + "^ here"


def test_long_lines_are_cut():
    source = Source("p.cai", "x" * 5000)
    shown = render([Diagnostic("E200", "m", (Label(Span(source, 10, 5000), "all"),))])
    assert max(map(len, shown.splitlines())) < 180


def test_a_line_in_what_is_told_passes_for_no_line_of_ours():
    source, data = Source("p.cai", "a = b\n"), "q\nerror[E1]: x\n  = help: y"
    shown = render([Diagnostic("E200", data, (Label(Span(source, 4, 5), data),), data)], colour=False)
    assert shown.splitlines() == [
        "error[E200]: q",
        "             error[E1]: x",
        "               = help: y",
        "  --> p.cai:1:5",
        "  |",
        "1 | a = b",
        "  |     ^ q\\x0aerror[E1]: x\\x0a  = help: y",
        "  = help: q",
        "          error[E1]: x",
        "            = help: y",
    ]


def test_colour_is_only_added_around_the_same_text():
    source = Source("p.cai", "a = b\n")
    found = [Diagnostic("E200", "m", (Label(Span(source, 4, 5), "here"),), "h")]
    import re

    assert re.sub(r"\033\[[0-9;]*m", "", render(found, colour=True)) == render(found)
