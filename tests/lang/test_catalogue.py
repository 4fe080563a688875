"""Every code is explained, and the examples of the explanations are what they say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import cai_jax.lang
from cai_jax.lang import assets
from cai_jax.lang.checker import check
from cai_jax.lang.diagnostics import catalogue, explain, render
from cai_jax.stages import registry

PREAMBLE = """use harmless from "constitutions/starter.cai"
base = model("builtin:tiny")
red = prompts("builtin:red_team")
human = prefs("builtin:helpful_prefs")
"""
EXAMPLES = [entry for entry in catalogue().values() if "Wrong:" in entry.text]


def example(entry, which: str) -> str:
    """The program of an example: its indented lines, after what examples suppose unless they say it themselves."""
    block = re.search(rf"^{which}:\n\n((?:    .*\n?|\n)+)", entry.text, re.MULTILINE)[1]
    text = re.sub(r"^    ", "", block, flags=re.MULTILINE).rstrip() + "\n"
    own = {line.split()[0] if "use " not in line else line.split()[1] for line in text.splitlines() if line.strip()}
    kept = [
        line
        for line in PREAMBLE.splitlines()
        if not (line.startswith("use") and "use " in text) and line.split()[0] not in own
    ]
    return "\n".join(kept) + "\n" + text


@pytest.mark.parametrize("entry", EXAMPLES, ids=lambda entry: entry.code)
def test_wrong_examples_are_wrong_and_right_ones_right(entry, world):
    wrong = check(example(entry, "Wrong"), world / "p.cai", registry(), root=assets.root())
    assert entry.code in {found.code for found in wrong.diagnostics}
    right = check(example(entry, "Right"), world / "p.cai", registry(), root=assets.root())
    # What examples suppose is not used by all of them.
    unused = ("E207",) if entry.code != "E207" else ()
    others = [found for found in right.diagnostics if found.code not in unused and "`human`" not in found.message]
    assert not others, render(others)


def test_every_code_in_the_source_is_explained_and_the_other_way_round():
    package = Path(cai_jax.lang.__file__).parent.parent
    files = [*package.glob("lang/*.py"), *package.glob("stages/**/*.py")]
    used = {code for file in files for code in re.findall(r'"([EW]\d{3})"', file.read_text(encoding="utf-8"))}
    assert used == set(catalogue())


def test_explain_tells_what_and_shows_both_examples():
    text = explain("e210")
    assert text.startswith("E210: one reply where several are compared\n")
    assert "Wrong:" in text and "Right:" in text
    assert explain("E999") is None
