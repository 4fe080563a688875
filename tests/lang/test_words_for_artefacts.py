"""A parameter that takes an artefact, or one of a few words in its place."""

from __future__ import annotations

import pytest

from cai_jax.api.stage_calls import _written
from cai_jax.api.stub import _type
from cai_jax.lang.checker import check
from cai_jax.lang.plan import lower
from cai_jax.lang.reference import _takes
from cai_jax.lang.signature import Kind, Param, Signature, Type
from tests.lang._stages import REGISTRY

BY = Param("by", "Who says so.", kinds=(Kind.MODEL,), value="enum", default=None, choices=("phrases", "letters"))
TOLD = Signature(
    "told_rate",
    "Share of replies of which somebody says something.",
    (
        Param("of", "Replies.", kinds=(Kind.RESPONSES,), lift="sample", lift_on="on"),
        Param("on", "Prompts.", kinds=(Kind.PROMPTS,), default=None),
        BY,
    ),
    lambda call: Type(Kind.METRIC),
    group="metric",
)
GIVEN = 'base = model("builtin:tiny")\nred = prompts("builtin:red_team")\nletters = model("builtin:novice")\n'


def found(text, world):
    return check(GIVEN + text, world / "p.cai", {**REGISTRY, TOLD.name: TOLD}, root=world)


@pytest.mark.parametrize(
    "by, params, inputs",
    [
        (", by=phrases", {"by": "phrases"}, {"of", "on"}),
        (", by=base", {}, {"of", "on", "by"}),
        ("", {}, {"of", "on"}),
        (", by=letters", {"by": "letters"}, {"of", "on"}),  # such a word first, a name second
    ],
)
def test_a_word_is_a_plain_value_and_an_artefact_an_input(by, params, inputs, world):
    plan = lower(found(f"m = told_rate(base, red.test{by})\nn = harm_rate(letters, red.test)\n", world), str)
    node = plan.node(plan.names["m"])
    assert node.params == params and set(node.inputs) == inputs
    assert next(m.given for m in plan.measures if m.name == "m") == by.removeprefix(", ")


@pytest.mark.parametrize("by, code", [("phrse", "E239"), ("red", "E208"), ("3", "E208"), ('"phrases"', "E208")])
def test_what_is_neither(by, code, world):
    codes = {p.code for p in found(f"m = told_rate(base, red.test, by={by})\n", world).diagnostics} - {"E207"}
    assert codes == {code}


def test_how_it_is_documented_and_called_from_python():
    assert _takes(BY) == "Model or `phrases` or `letters`"
    assert _type(BY, frozenset({"model"})) == 'Written | str | Path | Literal["phrases", "letters"]'
    assert _written("phrases", BY, []) == "phrases"
