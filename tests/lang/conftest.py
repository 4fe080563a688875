"""A folder to check programs in."""

from __future__ import annotations

from pathlib import Path

import pytest

STARTER = """constitution harmless {
  principle violence {
    critique = "Name what is violent." revise = "Rewrite it without violence."
    compare = "Which reply is less violent?" tags = [safety]
  }
  principle law { critique = "Name what is illegal." revise = "Make it legal." weight = 2 tags = [safety, law] }
}
"""


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A folder with constitutions/starter.cai, which is also the root of built-in assets."""
    (tmp_path / "constitutions").mkdir()
    (tmp_path / "constitutions" / "starter.cai").write_text(STARTER, encoding="utf-8")
    return tmp_path
