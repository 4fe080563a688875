"""grammar/README.md says what the registry, the settings and the catalogue say.

To generate its sections anew: CAI_JAX_GOLDEN=write python -m pytest tests/lang/test_reference.py
"""

from __future__ import annotations

import os
import re

import pytest

from cai_jax.lang import assets
from cai_jax.lang.checker import check
from cai_jax.lang.parse_errors import KEYWORDS
from cai_jax.lang.reference import update
from cai_jax.stages import registry
from tests.lang._stages import REGISTRY


def test_the_reference_is_not_stale():
    path = assets.find("grammar") / "README.md"
    text = path.read_text(encoding="utf-8")
    fresh = update(text, registry())
    if os.environ.get("CAI_JAX_GOLDEN") == "write":
        path.write_text(fresh, encoding="utf-8")
    assert fresh == path.read_text(encoding="utf-8"), "generate it anew, see the top of this file"


def test_a_changed_registry_makes_it_stale_and_updating_twice_is_once():
    text = (assets.find("grammar") / "README.md").read_text(encoding="utf-8")
    other = update(text, REGISTRY)
    assert other != update(text, registry())
    assert update(other, REGISTRY) == other
    assert "| `replies` | Responses | needed | The replies. |" in other
    assert "| `memory` | whole number (bytes) | none | Memory, at most. |" in other


def test_missing_markers_are_told():
    with pytest.raises(ValueError, match="stages"):
        update("# nothing\n", REGISTRY)


def test_its_constitution_is_one(world):
    text = (assets.find("grammar") / "README.md").read_text(encoding="utf-8")
    block = re.search(r"```\n(constitution .*?)```", text, re.DOTALL)[1]
    (world / "starter.jsonl").write_text("", encoding="utf-8")
    rest = 'base = model("builtin:tiny")\nred = prompts("builtin:red_team")\n'
    found = check(block + rest + "r = red |> sample(base) |> revise(harmless)\n", world / "p.cai", REGISTRY, root=world)
    assert found.ok


def test_its_stage_of_ones_own_is_one(world):
    text = (assets.find("grammar") / "README.md").read_text(encoding="utf-8")
    (world / "brief.py").write_text(re.search(r"```python\n(.*?)```", text, re.DOTALL)[1], encoding="utf-8")
    sources = 'use stage brief_rate from "brief.py"\nbase = model("builtin:tiny")\nred = prompts("builtin:red_team")\n'
    found = check(sources + "rate = brief_rate(base, red.test, words=3)\n", world / "p.cai", REGISTRY, root=world)
    assert found.ok and not found.diagnostics


def test_it_lists_the_words_of_the_language():
    text = (assets.find("grammar") / "README.md").read_text(encoding="utf-8")
    assert f"`{' '.join(KEYWORDS)} true false`" in text
