"""What pyproject.toml asks for: versions below which a package has a known fault that data or models could use."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

PROJECT = Path(__file__).parents[1] / "pyproject.toml"


@pytest.mark.parametrize(
    ("package", "fine", "vulnerable"),
    [("transformers", "5.3.0", "5.2.9"), ("jinja2", "3.1.6", "3.1.5"), ("pyarrow", "23.0.1", "23.0.0")],
)
def test_versions_with_a_known_fault_are_not_taken(package, fine, vulnerable):
    text = PROJECT.read_text(encoding="utf-8")
    (asked,) = [
        found for each in tomllib.loads(text)["project"]["dependencies"] if (found := Requirement(each)).name == package
    ]
    assert asked.specifier.contains(fine) and not asked.specifier.contains(vulnerable)
    assert asked.marker is None  # on every machine
    # Who would lower the bound reads which fault it is there for.
    assert re.search(rf'^ *"{package}>=[^"]*",  # CVE-\d{{4}}-\d+', text, re.MULTILINE)
