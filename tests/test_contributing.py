"""The example that CONTRIBUTING.md works out is a stage."""

from __future__ import annotations

import json
import re
import sys

import pytest

from cai_jax import cli, stages
from cai_jax.lang import assets
from cai_jax.lang.reference import update
from cai_jax.stages import metrics, registry
from tests.test_architecture import GUIDE


@pytest.fixture
def question_rate(tmp_path, monkeypatch):
    """The package with the example as one of its files."""
    text = GUIDE.read_text(encoding="utf-8")
    name = re.search(r"`cai_jax/stages/metrics/(\w+)\.py`:", text)[1]
    (code,) = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    (tmp_path / f"{name}.py").write_text(code, encoding="utf-8")
    monkeypatch.setattr(metrics, "__path__", [*metrics.__path__, str(tmp_path)])
    registry.cache_clear()
    yield name
    registry.cache_clear()
    sys.modules.pop(f"{stages.__name__}.metrics.{name}", None)


def test_the_example_is_a_metric(question_rate, tmp_path, capsys):
    # Of four replies three are questions.
    given = [{"prompt": f"Q{n}", "reply": reply} for n, reply in enumerate(("a?", "b?", "c.", "?"))]
    (tmp_path / "r.jsonl").write_text("".join(json.dumps(row) + "\n" for row in given), encoding="utf-8")
    (tmp_path / "p.cai").write_text(f'given = replies("r.jsonl", test=0)\nshare = {question_rate}(given)\n')
    with pytest.raises(SystemExit) as ended:
        cli.main(["run", str(tmp_path / "p.cai"), "--json", "--out", str(tmp_path / "runs")])
    assert not ended.value.code
    (figure,) = json.loads(capsys.readouterr().out)["metrics"]
    assert (figure["name"], figure["value"], figure["n"]) == ("share", 0.75, 4)


def test_the_example_is_in_the_reference(question_rate):
    text = (assets.find("grammar") / "README.md").read_text(encoding="utf-8")
    assert f"`{question_rate}`" in update(text, registry()) and f"`{question_rate}`" not in text
