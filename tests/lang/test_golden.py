"""Wrong programs and exactly what is said about them, one for each code: a program and a text in tests/lang/golden/.

To write the expected texts anew, and read what changed in them: CAI_JAX_GOLDEN=write python -m pytest this file.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from cai_jax.lang.checker import check
from cai_jax.lang.diagnostics import render
from tests.lang._stages import REGISTRY

GOLDEN = Path(__file__).with_name("golden")


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.cai")), ids=lambda path: path.stem)
def test_golden(path, folder):
    text = path.read_text(encoding="utf-8")
    overrides = dict(re.findall(r"^# --set (\w+)=(\S+)", text, re.MULTILINE))
    found = check(text, "bad.cai", REGISTRY, overrides=overrides, root=folder).diagnostics
    rendered = render(found)
    expected = path.with_suffix(".txt")
    if os.environ.get("CAI_JAX_GOLDEN") == "write":
        expected.write_text(rendered, encoding="utf-8")
    assert rendered == expected.read_text(encoding="utf-8")
    assert {diagnostic.code for diagnostic in found} == {path.stem}, "one mistake, one code"


def test_there_are_enough_of_them():
    assert len(list(GOLDEN.glob("*.cai"))) >= 40
