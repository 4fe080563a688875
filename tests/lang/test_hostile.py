"""Programs of any content: mutants of real ones, and shapes that would take very long to check."""

from __future__ import annotations

import random
import re
import time
from pathlib import Path

import pytest

from cai_jax.lang import assets
from cai_jax.lang.checker import check
from cai_jax.lang.diagnostics import render
from cai_jax.lang.parser import MAX_WORDS
from cai_jax.stages import registry

LONGEST = 2.0  # seconds of this process for one program: twice what the slowest takes here
PAGES = [
    *sorted(assets.find("programs").rglob("*.cai")),
    *sorted(assets.find("constitutions").glob("*.cai")),
    *sorted(Path(__file__).parents[1].joinpath("programs", "pages").glob("*.cai")),
]
SMALL = sorted(Path(__file__).with_name("golden").glob("*.cai"))
# What mutants are made of beside the pages' own words.
ODD = [
    *"1_ 1__0 1e999 -1e999 1e-999 0 -0 1.5 9007199254740993 0*1e308 1e308+1e308 50% 200% 5k 5Gi 0..1e308 2..1".split(),
    *'_ . .. , ; : = == |> | > ( ) [ ] { } " \\ # ## true false none with (slots=0) at from use let sweep run'.split(),
    *'expect constitution principle "builtin:" "hf:" "tfds:" "init:" "" "\\q" "~" "/dev/null"'.split(),
    *("\t", "\0", "\u200b", "\ufeff", "ä", "é", "日", "\n", "\n\n", "    "),
]
HEAD = 'base = model("builtin:tiny")\nred = prompts("builtin:red_team")\nr0 = red.train |> sample(base)\n'


def said(text: str, folder: Path):
    """What `check` finds, after making sure of what holds for every program."""
    for _ in range(3):  # beside others on one machine a process may take longer, but hardly every time
        start = time.process_time()
        found = check(text, folder / "p.cai", registry()).diagnostics
        render(found)
        if (taken := time.process_time() - start) < LONGEST:
            break
    assert taken < LONGEST
    assert all(each.span is not None and each.message and each.code for each in found)
    assert "nan" not in (words := [word for each in found for word in each.message.split()]) and "inf" not in words
    return found


def mutant(text: str, chance: random.Random) -> str:
    """A program with a few words left out, doubled, exchanged, or put in."""
    words = re.findall(r'\s+|\w+|"[^"\n]*"|[^\w\s]', text)
    for _ in range(chance.choice((1, 1, 2, 5))):
        at = chance.randrange(len(words))
        match chance.randrange(5):
            case 0:
                words[at] = ""
            case 1:
                words[at] *= 2
            case 2:
                words[at] = chance.choice(words)
            case 3:
                words[at] = chance.choice(ODD)
            case _:
                letters = words[at]
                cut = chance.randrange(len(letters) + 1)
                words[at] = letters[:cut] + chance.choice('_()="\n\\%e.\x00é') + letters[cut:]
    return "".join(words)


@pytest.mark.parametrize(("seed", "count", "files"), [(1, 800, SMALL), (2, 800, SMALL), (3, 50, PAGES)])
def test_mutants_are_told_with_a_place(seed, count, files, tmp_path):
    chance = random.Random(seed)
    texts = [file.read_text(encoding="utf-8") for file in files]
    for _ in range(count):
        said(mutant(chance.choice(texts), chance), tmp_path)


def many(line: str, words: int) -> str:
    """A line again and again, with its number in place of `@`, as often as a program of that many words may hold."""
    return "".join(line.replace("@", str(i)) + "\n" for i in range((MAX_WORDS - 60) // words))


SHAPES = {
    "good statements": HEAD + "".join(f'r{i + 1} = r{i} |> refuse("no")\n' for i in range(1050)),
    "unknown names": many("a@ = zzqq@", 3),
    "names like others": many("name_number_@ = name_numbre_@", 3),
    "very long names": "a" * 200_000 + " = " + "a" * 200_000 + "b\n",
    "unknown stages": HEAD + many("a@ = smaple@(red)", 6),
    "unknown parameters": HEAD + f"x = sample({', '.join(f'a{i}=1' for i in range(2400))})",
    "too many arguments": HEAD + f"x = sample({','.join(['red'] * 4900)})",
    "unknown settings": f"run ({', '.join(f'a{i}=1' for i in range(2400))})",
    "unknown principles": "constitution c {\n"
    + many('  principle p@ { critique = "x" }', 7 * 4)
    + "}\n"
    + many("x@ = c.q@", 5 * 2),
    "tags": 'constitution c { principle p { critique = "x" tags = ['
    + ", ".join(f"t{i}" for i in range(2000))
    + "] } }\n"
    + many("x@ = c.q@", 5 * 3),
    "a sum": HEAD + "x = " + " + ".join(f"sample(red, base, seed={i})" for i in range(700)),
    "a product": "let k = " + " * ".join(["2"] * 4500),
    "a pipe": HEAD + "x = r0" + ' |> refuse("x")' * 1900,
    "selections": HEAD + "x = red" + ".train" * 4900,
    "a chain of joins": HEAD + "".join(f"r{i + 1} = r{i} + sample(red, base, seed={i})\n" for i in range(600)),
    "a chain of models": HEAD
    + "m0 = base\n"
    + "".join(f"m{i + 1} = r0 |> finetune(m{i})\nh{i} = harm_rate(m{i}, red.test)\n" for i in range(450)),
    "screens behind a chain": HEAD
    + "".join(f'r{i + 1} = r{i} |> refuse("x")\n' for i in range(500))
    + many("h@ = harm_rate(r500)\nexpect h@ < 5%", 4 * 12),
    "a flow that doubles itself": HEAD
    + "f0 = _ |> sample(base)\n"
    + "".join(f"f{i + 1} = f{i}(_) + f{i}(2 * _)\n" for i in range(60))
    + "m = f60(red.train) |> finetune(base)\n",
    "choices of choices": HEAD + "x = red" + '.where(category="theft")' * 1500 + " |> sample(base)",
    "a choice of a chain of joins": HEAD
    + "".join(f"r{i + 1} = r{i} + sample(red, base, seed={i})\n" for i in range(600))
    + 'x = r600.where(category="theft") |> finetune(base)\n',
    "flows of flows": HEAD
    + "f0 = _ |> sample(base)\n"
    + "".join(f"f{i + 1} = _ |> f{i}()\n" for i in range(750))
    + "m = f750(red.train) |> finetune(base)\n",
    "flows with deep brackets": HEAD
    + "f0 = _ |> sample(base)\n"
    + "".join(f"f{i + 1} = {'refuse(' * 30}f{i}(_){', text)' * 30}\n" for i in range(40))
    + "h = harm_rate(f40, red.test)\n",
    "sweeps": "".join(f"let k{i} = 1\nsweep k{i} in [1, 2, 3]\n" for i in range(600)),
    "a long sweep": f"let k = 1\nsweep k in [{', '.join(map(str, range(4500)))}]\n",
    "arms of a long program": "".join(f"let k{i} = 1\nsweep k{i} in [1, 2]\n" for i in range(6))
    + HEAD
    + many('s@ = r0 |> refuse("no@")', 9),
    "expects": HEAD + "h = harm_rate(base, red.test)\n" + many("expect h < 5%", 5),
    "uses of nothing": many('use a@ from "nothing@.cai"', 4),
    "files that are not there": many('m@ = prompts("nope@.jsonl")', 7),
    "models": many('m@ = model("init:tiny", seed=@)', 11),
    "brackets never closed": "x = f(\n" * 2400,
    "closing brackets": ")\n" * 9900,
    "strings never closed": 'x = "a\n' * 3000,
    "one string": f'x = prompts("{"a" * 400_000}")\n',
    "wrong escapes": f'x = "{chr(92)}q{"a" * 400_000}"\n',
    "comments": "# a\n" * 100_000,
    "help text": "## a\n" * 90_000 + "let k = 1\n",
    "one long line": "x = f(" + "1, " * 4900 + "1)\n",
    "digits": "let a = " + "1" * 400_000 + "\n",
    "an exponent": "let a = 1e" + "9" * 400_000 + "\n",
    "empty lines": "\n" * 400_000,
    "spaces": " " * 400_000 + "x",
    "signs": "." * 400_000,
    "bytes of nothing": "\0" * 400_000,
    "a megabyte": "x" * 1_000_000,
}


GOOD = (
    "good statements",
    "a chain of joins",
    "a choice of a chain of joins",
    "a chain of models",
    "screens behind a chain",
)


@pytest.mark.parametrize("shape", SHAPES)
def test_no_shape_takes_long(shape, tmp_path):
    assert len(SHAPES[shape]) <= 1_000_000
    found = said(SHAPES[shape], tmp_path)
    assert bool(found) != (shape in GOOD), render(found)[:2000]


def test_a_whole_disk_is_no_dataset(tmp_path):
    (found,) = said('x = prefs("/") |> reward(model("init:tiny"))\n', tmp_path)[:1]
    assert found.code == "E270" and found.message.startswith("/: ") and found.hint


def test_programs_of_very_many_words_are_refused(tmp_path):
    (found,) = said("\n# a comment counts for nothing" * MAX_WORDS + "\nx = " + "y " * MAX_WORDS, tmp_path)
    assert found.code == "E006" and found.span.source.position(found.span.start)[0] == MAX_WORDS + 2
