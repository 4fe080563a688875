"""Stages of the user's own as `check` reads them: from literals, and without running the file."""

from __future__ import annotations

import pytest

from cai_jax.lang.checker import check
from cai_jax.lang.formatter import format_text
from cai_jax.lang.plan import lower
from cai_jax.lang.signature import Kind
from tests.lang._stages import REGISTRY
from tests.lang.conftest import BRIEF

SOURCES = 'base = model("builtin:tiny")\nred = prompts("builtin:red_team")\n'
USE = 'use stage brief_rate from "brief.py"\n'


def checked(text, world):
    return check(text, world / "p.cai", REGISTRY, root=world)


def told(text, world):
    """Every finding: its code, the file and line that it is about, and the part that is underlined."""
    found = checked(text, world).diagnostics
    return [(d.code, *_place(d.span)) for d in found]


def _place(span):
    return span.source.path.rpartition("/")[2], span.source.position(span.start)[0], span.text


def declared(world, **fields):
    """A program that uses a stage declared so, each field given as text; the function is `mine`."""
    given = ", ".join(f"{name}={text}" for name, text in {"result": '"Metric"', **fields}.items())
    text = f'import cai_jax\n\n\n@cai_jax.stage({given})\ndef mine(ctx):\n    """Mine."""\n'
    (world / "mine.py").write_text(text, encoding="utf-8")
    return 'use stage mine from "mine.py"\n'


def test_a_stage_is_called_like_any_other_and_its_file_is_not_run(world):
    found = checked(USE + SOURCES + "rate = brief_rate(base, red.test, words=3)\n", world)
    assert found.ok and not found.diagnostics
    (signature,) = found.user_stages
    assert (signature.name, signature.about) == ("brief_rate", "Share of replies that are brief.")
    assert [param.name for param in signature.params] == ["of", "on", "words"]
    rate = found.arms[0].names["rate"]
    assert rate.type.kind is Kind.METRIC and rate.values == {"words": 3}
    assert rate.inputs["of"].stage == "sample", "a model replies to the prompts first"


@pytest.mark.parametrize(
    ("call", "code", "underlined"),
    [
        ("brief_rate(base, red.test, words=0)", "E237", "0"),
        ("brief_rate(base, red.test, word=3)", "E231", "word"),
        ("brief_rate(red.test)", "E208", "red.test"),
        ("brief_rate(base)", "E249", "brief_rate"),
        ("brief_rate(base, red.test) with (slots=4)", "E241", "slots=4"),
    ],
)
def test_a_call_is_checked_against_the_declaration(call, code, underlined, world):
    assert told(f"{USE}{SOURCES}rate = {call}\n", world)[-1] == (code, "p.cai", 4, underlined)


def test_it_is_used_once_below_its_use_and_not_as_a_value(world):
    assert told(USE + SOURCES + "replies = sample(red.test, base)\n", world) == [("E207", "p.cai", 1, "brief_rate")]
    below = SOURCES + "rate = brief_rate(base, red.test)\n" + USE
    assert told(below, world) == [("E202", "p.cai", 3, "brief_rate")]
    assert told(USE + SOURCES + "rate = brief_rate\n", world)[-1] == ("E206", "p.cai", 4, "brief_rate")
    twice = USE + SOURCES + "brief_rate = brief_rate(base, red.test)\n"
    assert told(twice, world) == [("E201", "p.cai", 4, "brief_rate")]


WRONG = [
    ({"result": '"Metrics"'}, '"Metrics"', "`result` cannot be 'Metrics'"),
    ({"result": '"Constitution"'}, '"Constitution"', "`result` cannot be 'Constitution'"),
    ({"settings": '["slot"]'}, '["slot"]', "`settings` cannot be 'slot'"),
    ({"parms": "{}"}, "{}", "a stage has no field `parms`"),
    ({"params": "[]"}, "[]", "`params` is a dict of names"),
    ({"params": '{"of": {"kinds": ["Responses"]}}'}, '{"kinds": ["Responses"]}', "does not say what it is about"),
    ({"params": '{"of": {"about": "x"}}'}, '{"about": "x"}', "has one of `kinds` and `value`"),
    ({"params": '{"of": {"about": "x", "kinds": ["Reply"]}}'}, '["Reply"]', "`kinds` cannot be 'Reply'"),
    ({"params": '{"n": {"about": "x", "value": "whole"}}'}, '"whole"', "`value` cannot be 'whole'"),
    ({"params": '{"n": {"about": "x", "value": "int", "default": 1.5}}'}, "1.5", "1.5 is no value of `n`"),
    ({"params": '{"n": {"about": "x", "value": "int", "default": True}}'}, "True", "True is no value of `n`"),
    ({"params": '{"n": {"about": "x", "value": "int", "default": 0, "low": 1}}'}, "0", "lies outside"),
    ({"params": '{"n": {"about": "x", "value": "enum"}}'}, '{"about": "x", "value": "enum"}', "words of an enum"),
    ({"params": '{"of": {"about": "x", "kinds": ["Prefs"], "lift_on": "on"}}'}, '"on"', "takes Prompts"),
    ({"params": "PARAMS"}, "PARAMS", "is written out"),
    ({"params": '{"of": dict(about="x")}'}, 'dict(about="x")', "is written out"),
]


@pytest.mark.parametrize(("fields", "underlined", "message"), WRONG, ids=[message for *_, message in WRONG])
def test_a_wrong_declaration_is_told_in_its_own_file(fields, underlined, message, world):
    text = declared(world, **fields)
    (found,) = checked(text + SOURCES + "rate = mine(base, red.test)\n", world).diagnostics
    assert (found.code, *_place(found.span)) == ("E265", "mine.py", 4, underlined)
    assert message in found.message
    assert _place(found.labels[1].span) == ("p.cai", 1, "mine"), "and in the program that uses it"


def test_a_stage_says_what_it_is_about(world):
    (world / "mine.py").write_text('@stage(result="Metric")\ndef mine(ctx): ...\n', encoding="utf-8")
    text = 'use stage mine from "mine.py"\nrate = mine()\n'
    assert told(text, world) == [("E265", "mine.py", 2, "mine")]


def test_columns_are_told_behind_letters_that_are_no_ascii(world):
    use = declared(world, params='{"n": {"about": "größer", "value": "whole"}}')
    assert told(use + "rate = mine()\n", world) == [("E265", "mine.py", 4, '"whole"')]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"def mine(ctx):\n    pass\n", "E264"),
        (b"x = \xff\n", "E263"),
        (b"def mine(\n", "E263"),
        (b"x = 1\0\n", "E263"),
        (b"#" * (600 * 1024), "E263"),
        (b"x = " + b"(" * 5000 + b")" * 5000, "E263"),
        (b"", "E264"),
    ],
    ids=["not declared", "not UTF-8", "not Python", "null byte", "too large", "too deep", "empty"],
)
def test_a_file_without_the_stage_is_one_mistake(data, code, world):
    (world / "mine.py").write_bytes(data)
    text = 'use stage mine from "mine.py"\n' + SOURCES + "rate = mine(base, red.test)\n"
    assert [found.code for found in checked(text, world).diagnostics] == [code]


def test_a_missing_file_is_told(world):
    (found,) = checked('use stage brief_rate from "brif.py"\nrate = brief_rate()\n', world).diagnostics
    assert (found.code, found.hint) == ("E221", "did you mean `brief.py`?")


@pytest.mark.parametrize("path", ["hf:org/m/brief.py", "tfds:brief.py", "builtin:brief.py"])
def test_code_is_not_taken_by_a_name_with_a_scheme(path, world):
    text = f'use stage brief_rate from "{path}"\n{SOURCES}rate = brief_rate(base, red.test)\n'
    assert told(text, world) == [("E262", "p.cai", 1, f'"{path}"')]


@pytest.mark.parametrize(
    ("folder", "beside"),
    [
        ("hub/models--org--name/snapshots/0a1b", ""),
        ("hub/datasets--org--name/snapshots/0a1b", ""),
        ("weights", "model.safetensors"),
        ("weights/code", "../adapter_config.json"),
        ("rows", "dataset_info.json"),
    ],
)
def test_code_is_not_taken_out_of_models_and_data(folder, beside, world):
    (world / folder).mkdir(parents=True)
    (world / folder / "brief.py").write_text(BRIEF, encoding="utf-8")
    if beside:
        (world / folder / beside).write_text("{}", encoding="utf-8")
    (world / "link.py").symlink_to(world / folder / "brief.py")
    for path in (f"{folder}/brief.py", str(world / folder / "brief.py"), "link.py"):
        text = f'use stage brief_rate from "{path}"\n{SOURCES}rate = brief_rate(base, red.test)\n'
        assert [found.code for found in checked(text, world).diagnostics] == ["E262"], path


def key(world, text):
    (world / "brief.py").write_text(text, encoding="utf-8")
    plan = lower(checked(USE + SOURCES + "rate = brief_rate(base, red.test)\n", world), lambda path: path)
    return plan.names["rate"], plan.node(plan.names["rate"]).code


def test_the_files_content_is_in_the_key_and_its_place_is_not(world):
    first, digest = key(world, BRIEF)
    assert key(world, BRIEF + "# edited\n")[0] != first
    assert key(world, BRIEF) == (first, digest)
    assert key(world, BRIEF.replace("\n", "\r\n")) == (first, digest), "line ends are no edit"
    (world / "other").mkdir()
    (world / "other" / "constitutions").symlink_to(world / "constitutions")
    assert key(world / "other", BRIEF) == (first, digest)


def test_what_a_stage_makes_keeps_what_is_known_of_its_input(world):
    fields = {"result": '"Responses"', "params": '{"replies": {"about": "x", "kinds": ["Responses"]}}'}
    text = declared(world, **fields) + SOURCES + "drawn = sample(red.train, base, n=2)\nkept = drawn |> mine()\n"
    names = checked(text, world).arms[0].names
    before, after = names["drawn"].type, names["kept"].type
    assert (after.kind, after.lineage, after.oracle) == (Kind.RESPONSES, before.lineage, before.oracle)
    assert before.lineage and before.replies == 2 and after.replies is None


def test_the_formatter_keeps_the_statement():
    text = "use   stage brief_rate   from  'x'\n".replace("'", '"')
    assert format_text(text).text == 'use stage brief_rate from "x"\n'
