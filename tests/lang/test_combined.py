"""Two mistakes in one program: neither hides the other, and together they breed no third."""

from __future__ import annotations

import random
import re
from collections import Counter
from dataclasses import dataclass, replace

import pytest

from cai_jax.lang.checker import check
from tests.lang._stages import REGISTRY
from tests.lang.test_golden import GOLDEN

PARTNERS = 2  # of each page
TAIL = 'the_end = prompts("builtin:helpful")\n'  # a program's last name needs no use, and is neither page's now
_BOUND = re.compile(r"^(?:let +|constitution +)?([A-Za-z_]\w*)(?= *[={])", re.MULTILINE)
_USED = re.compile(r"^use (?:stage )?(\w+)", re.MULTILINE)
_RUN = re.compile(r"^run ", re.MULTILINE)


@dataclass(frozen=True)
class Page:
    """A golden page of mistakes: their code, its text, and what `--set` gives."""

    code: str
    text: str
    sets: tuple[tuple[str, str], ...]

    def named(self, suffix: str) -> Page:
        """The page with names of its own, and as many lines; what it `use`s cannot be called otherwise."""
        bound = {*_BOUND.findall(self.text)}
        words = "|".join(sorted(bound)) or "(?!)"
        # Not what is a parameter's name, or a part of a string.
        name = re.compile(rf"(?:^|(?<=^let ))(?:{words})\b|(?<![\w.:/\"])(?:{words})\b(?! *=[^=>])", re.MULTILINE)
        return replace(
            self,
            text=name.sub(rf"\g<0>{suffix}", self.text),
            sets=tuple((name + suffix * (name in bound), value) for name, value in self.sets),
        )


def read(path):
    text = path.read_text(encoding="utf-8")
    sets = re.findall(r"^# --set (\w+)=(\S+)", text, re.MULTILINE)
    return Page(path.stem, text, tuple(sets))


PAGES = [read(path) for path in sorted(GOLDEN.glob("*.cai"))]


def kept_apart(one, two):
    """Why two pages cannot be told from what each says alone; "" if they can."""
    if {*_USED.findall(one.text)} & {*_USED.findall(two.text)}:
        return "a constitution goes by one name, and a use in one page is a use for both"
    if one.sets and one.sets == two.sets:
        return "what `--set` says is said once"
    if "E259" in (one.code, two.code) and "\nsweep " in one.text and "\nsweep " in two.text:
        return "the limit is for all sweeps together, told at the last; of more arms only one is checked"
    if two.code == "E261" and _RUN.search(one.text):
        return "only the first `run` has an effect, and so only that can be swept in vain"
    return ""


def found(root, *pages):
    """(code, file, line) of all that is said of these pages in one program."""
    overrides = {name: value for page in pages for name, value in page.sets}
    text = "".join(page.text for page in pages) + TAIL
    said = check(text, "bad.cai", REGISTRY, overrides=overrides, root=root).diagnostics
    spans = [(each.code, each.span) for each in said]
    return Counter(
        (code, span and span.source.path, span and span.source.position(span.start)[0]) for code, span in spans
    )


def expected(root, one, two):
    """What both pages say alone, that of the second further down."""
    lines = one.text.count("\n")
    both = found(root, one) + Counter(
        {
            (code, path, line + lines if path == "bad.cai" else line): count
            for (code, path, line), count in found(root, two).items()
        }
    )
    if _RUN.search(one.text) and (again := _RUN.search(two.text)):
        both["E254", "bad.cai", lines + two.text.count("\n", 0, again.start()) + 1] = 1  # a mistake of the pair's own
    return both


_random = random.Random(20)
PAIRS = [
    (one.named("_1"), two.named("_2"))
    for one in PAGES
    for two in _random.sample([page for page in PAGES if not kept_apart(one, page)], PARTNERS)
]


@pytest.mark.parametrize("one, two", PAIRS, ids=[f"{one.code}-{two.code}" for one, two in PAIRS])
def test_two_mistakes_are_told_as_each_alone(one, two, folder):
    together, alone = found(folder, one, two), expected(folder, one, two)
    if "E200" in (one.code, two.code):  # a misspelt name stands for the nearest, which may be the other page's
        together, alone = ({each for each in counted if each[0] != "E207"} for counted in (together, alone))
    assert together == alone


def test_every_page_is_combined_and_most_pairs_can_be():
    assert {one.code for one, _ in PAIRS} == {page.code for page in PAGES}
    reasons = Counter(kept_apart(one, two) for one in PAGES for two in PAGES)
    assert reasons[""] > 0.8 * reasons.total()
