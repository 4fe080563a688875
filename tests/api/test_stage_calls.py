import subprocess
import sys

import numpy as np
import pytest

import cai_jax
from cai_jax import stages
from cai_jax.api import stage_calls
from cai_jax.errors import UserError
from cai_jax.lang.signature import Param
from tests.runs import _toy as toy


@pytest.fixture(autouse=True)
def toys(monkeypatch, tmp_path):
    monkeypatch.setattr(stages, "registry", lambda: toy.REGISTRY)
    monkeypatch.setattr(stage_calls, "prepare_jax", lambda out: None)
    monkeypatch.setenv("CAI_JAX_OUT", str(tmp_path / "runs"))
    stage_calls.callables.cache_clear()
    yield
    stage_calls.callables.cache_clear()


def test_stages_are_functions():
    red = cai_jax.ask(n=6)
    replies = cai_jax.reply(red)
    assert len(replies) == 6 and replies[0]["reply"].startswith("r0.")
    assert [row["id"] for row in replies] == [row["id"] for row in red]
    model = cai_jax.train(replies, steps=3)
    assert model.result == {"seen": 3}
    assert (model.path / "weights.json").is_file()
    assert cai_jax.measure(model, red).result["n"] == 6


def test_the_cache_is_that_of_programs(tmp_path):
    first = cai_jax.reply(cai_jax.ask(n=6))
    stamp = (first.dir / "DONE").stat().st_mtime_ns
    again = cai_jax.reply(cai_jax.ask(n=6))
    assert again.key == first.key
    assert (again.dir / "DONE").stat().st_mtime_ns == stamp


def test_prompts_may_be_given_as_text():
    replies = cai_jax.reply(["Why?", "How?"])
    assert [row["turns"][-1]["text"] for row in replies] == ["Why?", "How?"]


def test_a_wrong_call_is_told_as_in_a_program():
    with pytest.raises(UserError, match="`reply` has no parameter `paws`"):
        cai_jax.reply(cai_jax.ask(), paws=1)
    with pytest.raises(UserError, match="takes Responses, not"):
        cai_jax.train(cai_jax.ask())
    with pytest.raises(UserError, match="cannot be made from int"):
        cai_jax.reply(3)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'sampel'"):
        cai_jax.sampel  # noqa: B018
    assert "reply" in dir(cai_jax)


def test_importing_costs_nothing():
    code = "import sys, cai_jax, cai_jax.cli; assert not {'jax', 'numpy', 'lark', 'rich'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_python_values_become_those_of_the_language():
    param = Param("p", "of a toy", value="range")
    for value, text in ((np.float64(0.5), "0.5"), (np.int64(3), "3"), (np.bool_(True), "true"), (1e-5, "1e-05")):
        assert stage_calls._written(value, None, []) == text
    assert stage_calls._written((0.4, 0.6), param, []) == "0.4..0.6"
    assert len(cai_jax.ask(n=np.int64(5))) == 5
    assert cai_jax.reply(cai_jax.ask(n=5), pause=None).key == cai_jax.reply(cai_jax.ask(n=5)).key


def test_only_what_a_stage_made_can_be_added():
    with pytest.raises(TypeError):
        cai_jax.ask(n=5) + 3
    with pytest.raises(TypeError):
        cai_jax.ask(n=5) * "a"
