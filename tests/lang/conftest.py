"""A folder to check programs in."""

from __future__ import annotations

from pathlib import Path

import pytest

STARTER = """constitution harmless {
  principle violence {
    critique = "Name what is violent." revise = "Rewrite it without violence."
    compare = "Which reply is less violent?" audit = "Is the reply violent?" tags = [safety]
  }
  principle law { critique = "Name what is illegal." revise = "Make it legal." weight = 2 tags = [safety, law] }
}
"""

# A stage of the user's own. Running the file would fail: nothing here may run it.
BRIEF = '''import cai_jax

raise SystemExit("the file was run")


@cai_jax.stage(
    result="Metric",
    params={
        "of": {"about": "What is measured.", "kinds": ["Responses"], "lift_on": "on"},
        "on": {"about": "The prompts to reply to.", "kinds": ["Prompts"], "default": None},
        "words": {"about": "Most words of a reply that is brief.", "value": "int", "default": 25, "low": 1},
    },
)
def brief_rate(ctx):
    """Share of replies that are brief."""
'''


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A folder with constitutions/starter.cai, which is also the root of built-in assets, and a stage's file."""
    (tmp_path / "constitutions").mkdir()
    (tmp_path / "constitutions" / "starter.cai").write_text(STARTER, encoding="utf-8")
    (tmp_path / "brief.py").write_text(BRIEF, encoding="utf-8")
    return tmp_path


@pytest.fixture
def folder(world, monkeypatch):
    """Where the golden pages of mistakes are checked: with the files that they name."""
    (world / "mine.jsonl").write_text('{"prompt": "Hello"}\n', encoding="utf-8")
    mixed = 'constitution mixed { principle p { critique = "c" revise = "r" } }\nbase = model("builtin:tiny")\n'
    (world / "constitutions" / "mixed.cai").write_text(mixed, encoding="utf-8")
    (world / "wrong.jsonl").write_text("{}\n\nno JSON\n", encoding="utf-8")
    (world / "lacks.jsonl").write_text('{"form": "comparison", "turns": []}\n', encoding="utf-8")
    (world / "bloom").mkdir()
    (world / "bloom" / "config.json").write_text('{"model_type": "bloom"}\n', encoding="utf-8")
    (world / "torn.py").write_text("import cai_jax\n\n\ndef odd_rate(ctx:\n", encoding="utf-8")
    computed = BRIEF.replace("brief_rate", "long_rate").replace("25", "5 * FIVE")
    (world / "computed.py").write_text(computed, encoding="utf-8")
    monkeypatch.chdir(world)
    return world
