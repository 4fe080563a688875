"""The examples in docstrings of `learn` run, and give what they show."""

import doctest
import importlib
import pkgutil

import pytest

from cai_jax import learn

MODULES = [f"cai_jax.learn.{module.name}" for module in pkgutil.iter_modules(learn.__path__)]
# The core of the numerics, each with a result worked out by hand.
CORE = {
    "cai_jax.learn.advantages": {"gae", "whiten"},
    "cai_jax.learn.kl": {"control", "k1", "k3"},
    "cai_jax.learn.losses": {"bradley_terry", "clipped_policy", "clipped_value", "token_logprobs"},
    "cai_jax.learn.optim": {"schedule"},
    "cai_jax.learn.rollout": {"rewards"},
    "cai_jax.learn.sft": {"predicted"},
}


@pytest.mark.parametrize("name", MODULES)
def test_examples_show_what_they_give(name):
    module = importlib.import_module(name)
    examples = {test.name: test for test in doctest.DocTestFinder(exclude_empty=True).find(module) if test.examples}
    assert {f"{name}.{function}" for function in CORE.get(name, ())} <= examples.keys()
    for test in examples.values():
        said: list[str] = []
        doctest.DocTestRunner(verbose=False).run(test, out=said.append)
        assert not said, "".join(said)
