"""The formatter keeps what a program says and every comment, and does nothing the second time."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cai_jax.lang.diagnostics import Diagnostics
from cai_jax.lang.formatter import format_text
from cai_jax.lang.parser import parse
from cai_jax.lang.source import Source

NAMES = st.sampled_from(["a", "b", "base", "red_team", "x1", "prompts", "critique"])
NUMBERS = st.sampled_from(["0", "4k", "40%", "1e-5", "90m", "16Gi", "0.05", "1_000", "2.5e3"])
STRINGS = st.sampled_from(['"x"', '"# no comment"', '"(\\"quoted\\""', '"a |> b"', '"{"', '""', '"größer"'])


def _join(*parts) -> st.SearchStrategy[list[str]]:
    """Words in order; each part is a strategy of a word or of a list of words, or a word."""
    return st.tuples(*(st.just(part) if isinstance(part, str) else part for part in parts)).map(
        lambda found: [word for part in found for word in (part if isinstance(part, list) else [part])]
    )


def _many(part: st.SearchStrategy[list[str]], separator: str, low: int = 0) -> st.SearchStrategy[list[str]]:
    return st.lists(part, min_size=low, max_size=3).map(
        lambda found: [word for i, words in enumerate(found) for word in ([separator] if i else []) + words]
    )


SIGNED = _join(st.sampled_from([[], ["-"]]), NUMBERS)
RANGE = _join(SIGNED, "..", SIGNED)
TEXT = st.lists(STRINGS, min_size=1, max_size=3)


def _expressions(inner):
    atom = st.one_of(_join(NAMES), SIGNED, _join("(", inner, ")"), _join("_"))
    argument = st.one_of(inner, TEXT, RANGE, _join(NAMES, "=", inner), _join(NAMES, "=", RANGE))
    options = st.one_of(st.just([]), _join("with", "(", _many(_join(NAMES, "=", SIGNED), ",", 1), ")"))
    call = _join(NAMES, "(", _many(argument, ","), ")", options)
    selection = _join(atom, ".", NAMES)
    product = _many(st.one_of(atom, call, selection), "*", 1)
    total = _join(product, st.sampled_from("+-"), product)
    pipe = _join(st.one_of(product, total), "|>", _many(call, "|>", 1))
    in_arm = _join(NAMES, "[", _many(_join(NAMES, "=", SIGNED), ",", 1), "]")
    return st.one_of(product, total, pipe, call, selection, in_arm, _join("[", _many(inner, ","), "]"))


EXPRESSIONS = st.recursive(st.one_of(_join(NAMES), SIGNED), _expressions, max_leaves=8)
FIELD = _join(NAMES, "=", st.one_of(TEXT, SIGNED, _join("[", _many(_join(NAMES), ",", 1), "]")))
PRINCIPLE = _join("principle", NAMES, "{", st.lists(FIELD, max_size=3).map(lambda f: sum(f, [])), "}")
BODY = st.lists(st.one_of(FIELD, PRINCIPLE), max_size=3).map(lambda f: sum(f, []))
SIDE = st.one_of(_join(NAMES), SIGNED, _join(NAMES, "(", _many(_join(NAMES), ","), ")"), _join(NAMES, "-", NUMBERS))
STATEMENTS = st.one_of(
    _join("use", NAMES, "from", TEXT),
    _join("use", "stage", NAMES, "from", TEXT),
    _join("let", NAMES, "=", st.one_of(SIGNED, TEXT)),
    _join("let", NAMES, "=", SIGNED, "in", RANGE),
    _join(NAMES, "=", EXPRESSIONS),
    _join("constitution", NAMES, "{", BODY, "}"),
    _join("expect", SIDE, st.sampled_from(["<", ">", "<=", ">="]), SIDE, st.sampled_from([[], ["at", "95%"]])),
    _join("expect", SIDE, "<", SIDE, "at", "95%", TEXT),
    _join("expect", "all", "(", _many(_join(SIDE, ">", SIDE), ",", 1), ")", "at", "95%", TEXT),
    _join("sweep", NAMES, "in", "[", _many(SIGNED, ","), "]"),
    _join("run", "(", _many(_join(NAMES, "=", SIGNED), ","), ")"),
)
GAPS = st.sampled_from([" ", " ", " ", "  ", "\n  ", "\n\n      ", " # c\n  ", "  ## d  \n# e\n\n "])
BETWEEN = st.sampled_from(["\n", "\n\n\n", "  # after\n", "\n# before\n", "\n## help\n", "\n\n  # indented\n\n\n"])


@st.composite
def programs(draw) -> str:
    """A program whose statements are laid out at random."""
    text = draw(st.sampled_from(["", "# first\n", "\n\n"]))
    for _ in range(draw(st.integers(1, 5))):
        words = draw(STATEMENTS)
        text += words[0] + "".join(draw(GAPS) + word for word in words[1:]) + draw(BETWEEN)
    return text


def parsed(text: str):
    report = Diagnostics()
    source = Source("p.cai", text)
    program = parse(source, report)
    assert not report, (text, report)
    return program, [comment.text.rstrip() for comment in source.comments]


@given(programs())
@settings(max_examples=300)
def test_meaning_and_comments_stay_and_twice_is_once(text):
    program, comments = parsed(text)
    formatted = format_text(text).text
    again, kept = parsed(formatted)
    assert again == program
    assert kept == comments
    assert format_text(formatted).text == formatted


MESSY = """\ufeff# head   \r
a=f( b ,c =-1,d = - 2..  -1 ) # x
longer   =a|>g()\r


\t
guarded=_
# one
|>sample( base )   #two
 |> foo(
# three
 x=[1,2],
 y=(a+b)*2
)
## help
let  kl=0.5 in 0 .. 1
constitution c{fewshots="x"
principle p {critique="a"
 "b"
revise="c" weight=2 tags=[ a,b ]}
}
expect a - -5% < b*2 + 1 at 95% "x"
expect a<b
expect f(a, "b") < 5% "y"  # z
run(seed=0)
sweep kl in[-1,2]
expect all(f(a [ kl =1])<1,g ( b )>2)at 95% "w"


"""
NEAT = """# head
a      = f(b, c=-1, d=-2..-1)  # x
longer = a |> g()

guarded = _
  # one
  |> sample(base)  #two
  |> foo(
    # three
    x=[1, 2],
    y=(a + b) * 2
  )
## help
let kl = 0.5 in 0..1
constitution c { fewshots = "x"
  principle p { critique = "a"
    "b"
    revise = "c" weight = 2 tags = [a, b] }
}
expect a - -5% < b * 2 + 1 at 95% "x"
expect a < b
expect f(a, "b") < 5%      "y"  # z
run (seed=0)
sweep kl in [-1, 2]
expect all (f(a[kl=1]) < 1, g(b) > 2) at 95% "w"
"""


def test_a_layout_worked_out_by_hand():
    messy = MESSY.replace("\nprinciple", "\n principle").replace("\nrevise", "\n revise")
    assert format_text(messy).text == NEAT


@pytest.mark.parametrize("text", ["a = f(\n", "a = = b\n", b"\xff"])
def test_a_wrong_program_is_left_alone(text):
    found = format_text(text)
    assert found.text is None and found.diagnostics


def test_an_empty_program_stays_empty():
    assert format_text("\n\n").text == ""
