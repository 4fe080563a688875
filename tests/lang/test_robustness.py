"""Files that are no programs, or hardly any: each gets a good diagnostic, none a traceback."""

from __future__ import annotations

import pytest

from cai_jax.lang.diagnostics import Diagnostics, render
from cai_jax.lang.parser import MAX_BYTES, decode, parse
from tests.lang._stages import checked

GOOD = b'base = model("builtin:tiny")\nred = prompts("builtin:red_team")\nharm = harm_rate(base, red.test)\n'


def said(data: bytes, shown: str = "p.cai") -> str:
    """What parsing alone says about these bytes."""
    report = Diagnostics()
    parse(decode(data, shown, report), report)
    return render(report.in_order())


def codes(found) -> list[str]:
    return [diagnostic.code for diagnostic in found.diagnostics]


def test_bytes_that_are_not_utf8():
    assert (
        said(b'a = "gr\xfc\xdfe"\nb = c\n')
        == """error[E001]: the byte 0xfc is not UTF-8
  --> p.cai:1:8
  |
1 | a = "gr��e"
  |        ^ here
  = help: save the file as UTF-8
"""
    )


def test_a_byte_order_mark_is_skipped_with_a_warning(world):
    found = checked(b"\xef\xbb\xbf" + GOOD, world)
    assert codes(found) == ["W002"] and found.ok
    assert found.diagnostics[0].span.source.position(found.diagnostics[0].span.start) == (1, 1)


@pytest.mark.parametrize("end", [b"\r\n", b"\r"])
def test_other_line_ends_are_read_as_lf_with_a_warning(world, end):
    found = checked(GOOD.replace(b"\n", end), world)
    assert codes(found) == ["W003"] and found.ok


def test_tabs_are_told_once_and_only_outside_of_strings_and_comments():
    assert (
        said(b'# a\tcomment\na = f("x\ty",\tb,\tc)\n')
        == """error[E004]: tabs are not allowed outside strings
  --> p.cai:2:13
  |
2 | a = f("x y", b, c)
  |             ^
  = help: `cai-jax fmt` replaces tabs by spaces
"""
    )


@pytest.mark.parametrize("data", [b"", b"\n\n", b"# only a comment\n"])
def test_an_empty_program(world, data):
    found = checked(data, world)
    assert codes(found) == ["E005"]
    assert found.diagnostics[0].hint == "`cai-jax new` writes a program to start from"


def test_a_file_of_a_megabyte():
    assert (
        said(b"x" * 1_000_000)
        == f"""error[E006]: this file has more than {MAX_BYTES:,} bytes
  --> p.cai:1:1
  |
1 |
  | ^
  = help: keep data in .jsonl files and name those
"""
    )


@pytest.mark.parametrize("bracket", ["(", "f(", "[", "f(x=["])
def test_a_thousand_nested_brackets(bracket):
    assert said(f"a = {bracket * 1000}\nb = c\n".encode()).count("error[E007]") == 1


def test_long_chains_need_no_deep_stack(world):
    chain = " |> ".join(["red.train |> sample(base)", *['refuse("No.")'] * 600])
    total = " + ".join([f"(red.train |> sample(base, seed={i}))" for i in range(200)])
    text = f'base = model("builtin:tiny")\nred = prompts("builtin:red_team")\na = harm_rate({chain})\n'
    found = checked(f"{text}b = finetune({total}, base)\nc = base{'.x' * 800}\n", world)
    assert codes(found) == ["E228"]


@pytest.mark.parametrize(
    "data",
    [b"\x00", b"\x00" * 50, b"(" * 50, b'"' * 51, b"= = =\n= =", b"|>|>|>", b"{}{}{}", b"a=", b"\\", b"_", b"_ = _"],
)
def test_garbage_is_told_and_never_raises(world, data):
    assert not checked(data, world).ok


@pytest.mark.parametrize(
    ("path", "code", "of_prompts"),
    [
        ("\\x00", "E116", "E116"),
        ("\0", "E008", "E008"),
        ("~nobody/x", "E221", "E221"),
        ("x" * 5000, "E221", "E221"),
        ("/", "E221", "E270"),
        ("..", "E221", "E270"),
        ("", "E221", "E270"),
        ("a/\\n/b", "E221", "E221"),
        ("hf:", "E221", "W301"),
    ],
)
def test_odd_paths_are_told_and_never_raise(path, code, of_prompts, world):
    assert codes(checked(f'use harmless from "{path}"\n', world)) == [code]
    assert codes(checked(f'p = prompts("{path}")\n', world)) == [of_prompts]
    shots = f'constitution c {{ fewshots = "{path}" principle p {{ audit = "a" }} }}\n'
    assert codes(checked(shots, world)) == [code]


def test_thousands_of_mistakes_are_all_told(world):
    assert len(checked("a b = c\nx =\t1 2\n" * 1000, world).diagnostics) == 2001


def test_every_prefix_of_a_program_is_told_where_it_breaks_off(world):
    text = GOOD.decode() + 'constitution c { principle p { revise = "x" tags = [a] } }\nexpect harm < 5% at 95% "w"\n'
    whole = set()
    for end in range(1, len(text)):
        found = checked(text[:end], world)
        assert all(0 <= each.span.start <= each.span.end <= end for each in found.diagnostics)
        whole |= {text[:end].strip()} if found.ok else set()
    lines = GOOD.decode().splitlines()
    assert whole == {lines[0], "\n".join(lines)}  # elsewhere a statement breaks off, or a name is never used


def test_nothing_follows_from_a_broken_statement(world):
    text = """base = model("builtin:tiny")
red = prompts("builtin:red_team"
replies = red.train |> sample(base)
more = red.test |> sample(base, n=two three)
harm = harm_rate(replies)
other = harm_rate(more)
"""
    found = checked(text, world)
    assert codes(found) == ["E103", "E110"]


def test_all_mistakes_are_told_at_once(world):
    text = """base = model("builtin:tiny")
red = prompts("builtin:red_tema", limit=-1)
a = sample(red.train, base, n=0, temperature=-1)
b = smaple(red.train, bse, m=2)
expect base < 5
"""
    assert sorted(codes(checked(text, world))) == ["E200", "E204", "E237", "E237", "E237", "E242"]
