"""Tables, and text that is data: as wide as the terminal, and steering nothing."""

import itertools
import json

import pytest

from cai_jax.report.tables import table
from cai_jax.terminal import LINE, escaped, json_escaped, unescaped


def test_columns_are_padded_and_the_rule_is_as_wide():
    assert table([]) == ""
    assert table([["a", "bb"], ["ccc", "d"]]) == "a    bb\nccc  d"
    assert table([["a", "b"], ["cc", "d"]], rule_after=1) == "a   b\n-----\ncc  d"


def test_wide_characters_take_two_columns_and_combining_ones_none():
    assert table([["日本", "x"], ["abcd", "y"], ["e\u0301", "z"]]) == "日本  x\nabcd  y\ne\u0301     z"


ROWS = [["node", "from", "n"], ["measure(model, red.train)", "a model that was trained, and prompts", "125"]]


def test_a_table_narrows_its_widest_columns_and_breaks_between_words():
    shown = table(ROWS, rule_after=1, width=40)
    assert shown.split("\n") == [
        "node               from              n",
        "----------------------------------------",
        "measure(model,     a model that was  125",
        "red.train)         trained, and",
        "                   prompts",
    ]


@pytest.mark.parametrize("width", [24, 30, 60, 200, None])
def test_nothing_of_a_table_is_lost_or_wider_than_the_terminal(width):
    shown = table(ROWS, rule_after=1, width=width)
    assert all(len(line) <= (width or 80) for line in shown.split("\n"))
    for column in ("measure(model,red.train)", "125"):
        assert set(column) <= set(shown)
    letters = "".join(cell for row in ROWS for cell in row).replace(" ", "")
    assert sorted(shown.replace("-", "").replace(" ", "").replace("\n", "")) == sorted(letters)


def test_a_word_longer_than_its_column_is_cut():
    assert table([["x" * 30, "a"]], width=13) == f"{'x' * 10}  a\n{'x' * 10}\n{'x' * 10}"


def test_a_cell_cannot_make_a_row():
    assert table([["a\nholds  b", "c"]]) == "a\\x0aholds  b  c"


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        ("\x1b[31mRED", "\\x1b[31mRED"),
        ("a\rb\x08c\x7f\x9b1m", "a\\x0db\\x08c\\x7f\\x9b1m"),
        ("\u202eabc\u2066\u200b\ufeff", "\\u202eabc\\u2066\\u200b\\ufeff"),
        ("\U000e0041", "\\U000e0041"),
        ("\u2065\ufff0\ufff8", "\\u2065\\ufff0\\ufff8"),
        ("\U000e0000\U000e0002\U000e0fff", "\\U000e0000\\U000e0002\\U000e0fff"),
        ("\U0001d159\U00013440", "\\U0001d159\\U00013440"),
        ("\udcff", "\\udcff"),
        ("line\n\ttab", "line\n\ttab"),
        ("می\u200cخواهم 👩\u200d🚒", "می\u200cخواهم 👩\u200d🚒"),
        ("C:\\new \\alpha", "C:\\new \\alpha"),
        ("\\x1b \\\\", "\\\\x1b \\\\\\"),
    ],
)
def test_what_steers_a_terminal_is_shown_as_an_escape(data, shown):
    assert escaped(data) == shown and unescaped(shown) == data


@pytest.mark.parametrize("more", ["", LINE, "⟦⟧"])
def test_escapes_can_be_taken_back(more):
    for letters in itertools.product("\\xu1b\x1b\n⟧", repeat=4):
        text = "".join(letters)
        assert unescaped(escaped(text, more)) == text
        assert not set(escaped(text, more)) & {"\x1b", *more}


def test_json_escapes_are_the_same_json():
    value = ["\x1b", "\x7f\x9b", "\u202e", "\U000e0041", "é"]
    text = json_escaped(json.dumps(value, ensure_ascii=False, indent=1))
    assert json.loads(text) == value and "\u202e" not in text and "\x9b" not in text and "é" in text
