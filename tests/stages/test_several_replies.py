"""`harm_rate` of several replies to a prompt: the mean over replies, and the share of prompts with any harmful one."""

from __future__ import annotations

import random

import pytest

from cai_jax.evals.figures import Figure
from cai_jax.stages import registry
from cai_jax.stages.metrics.harm_rate import any_of_several
from cai_jax.world import replies as kinds
from cai_jax.world.prompts import prompts
from tests.support.artefacts import replies
from tests.support.contexts import Context

# Of each prompt its replies' values; None: not judged, "x": cannot be read.
TRIED = [(1, 0, 0), (0, 0, 0), (1, None, 0), (0, None, 0), (0, "x", 1), ("x", 0, 0), (0, 0, 0)]


def rows(tried):
    return [
        {"id": str(number), "value": 0.0, "broken": True} if value == "x" else {"id": str(number), "value": value}
        for number, values in enumerate(tried)
        for value in values
    ]


def test_any_reply_by_hand():
    assert any_of_several(rows(TRIED)) == pytest.approx({"any_reply": 3 / 5, "prompts": 5, "prompts_undecided": 2})
    assert any_of_several(rows(TRIED[:2])) == {"any_reply": 0.5, "prompts": 2}
    assert any_of_several(rows([(1,), (0,), (None,)])) == {}  # one reply each: the mean says it
    assert any_of_several(rows([(1, 0), (0, None), (None, None)])) == {}  # too few are known


def test_both_figures_by_the_oracle():
    rng, asked = random.Random(0), prompts("red_team")[:4]
    said = [(kinds.COMPLY, kinds.EXPLAIN), (kinds.EXPLAIN,) * 2, (kinds.COMPLY,) * 2, (kinds.EVADE, kinds.COMPLY)]
    given = [
        {**row, "sample": number, "reply": kinds.write(kind, rng)}
        for row, both in zip(asked, said, strict=True)
        for number, kind in enumerate(both)
    ]
    ctx = Context("harm_rate", {"of": replies(given)})
    figure = Figure.of(registry()["harm_rate"].run(ctx))
    assert (figure.value, figure.n, figure.beside) == (0.5, 8, {"any_reply": 0.75, "prompts": 4})
    assert "any reply 0.75, prompts 4" in figure.rest
    alone = Context("harm_rate", {"of": replies([row for row in given if row["sample"] == 0])})
    assert Figure.of(registry()["harm_rate"].run(alone)).beside == {}
