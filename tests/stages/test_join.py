"""`+` of replies to the same prompts, and `*` of prompts: the rows that they make."""

from __future__ import annotations

from collections import Counter

import pytest

from cai_jax.lang.signature import Kind, Type
from cai_jax.pipeline.ppo_loop import Loop
from cai_jax.stages import registry
from tests.support.artefacts import Given
from tests.support.contexts import Context


def rows(texts, sample=0, **more):
    turns = [{"role": "human", "text": "Why?"}]
    return [{"id": i, "turns": turns, "sample": sample, "reply": text, **more} for i, text in texts.items()]


def joined(*parts, **params):
    ctx = Context("join", {"parts": [Given(Type(Kind.RESPONSES), lines=part) for part in parts]}, **params)
    registry()["join"].run(ctx)
    return ctx.rows


def test_candidates_are_numbered_anew_and_keep_all_else():
    one = rows({"x": "a", "y": "b"}, model="m") + rows({"x": "c"}, sample=1, model="m")
    other = rows({"x": "d", "y": "e"}, model="n", original="a", round=1)
    found = joined(one, other, candidates=True)
    assert [(row["id"], row["sample"], row["reply"]) for row in found] == [
        ("x", 0, "a"), ("y", 0, "b"), ("x", 1, "c"), ("x", 2, "d"), ("y", 1, "e"),
    ]  # fmt: skip
    assert [{k: v for k, v in row.items() if k != "sample"} for row in found] == [
        {k: v for k, v in row.items() if k != "sample"} for row in one + other
    ]


def test_others_stay_as_they_are():
    one, other = rows({"x": "a"}), rows({"x": "d"})
    assert joined(one, other) == one + other


def test_weights_of_prompts_are_multiplied():
    ctx = Context(
        "scale", {"value": Given(Type(Kind.PROMPTS), lines=rows({"x": "a"}) + rows({"y": "b"}, weight=3.0))}, weight=2
    )
    registry()["scale"].run(ctx)
    assert [row["weight"] for row in ctx.rows] == [2.0, 6.0]


def test_joined_replies_are_judged_in_pairs(bench, answering):
    ran = bench.run(
        """\
a = red.train |> sample(base, max_new=6)
b = red.train |> sample(base, max_new=6, seed=1)
c = a + b
labels = c |> judge(rules, by=base, fewshots=0)
rm = labels |> reward(base, batch=8)
"""
    )
    replies = {(row["id"], row["sample"]): row["reply"] for row in ran.rows("c")}
    assert len(replies) == 16 and len(ran.rows("labels")) > 4
    for row in ran.rows("labels"):
        first, second = (replies[row["id"], each["sample"]] for each in row["compared"])
        assert (row["a"], row["b"]) == (first, second)


@pytest.mark.slow
def test_ppo_draws_weighted_prompts_more_often(bench, monkeypatch):
    drawn, draw = [], Loop._draw

    def recorded(self, state, number):
        found = draw(self, state, number)
        drawn.extend(found.rows)
        return found

    monkeypatch.setattr(Loop, "_draw", recorded)
    text = "rm = human.train |> reward(base, batch=8)\n"
    bench.run(text + "rl = base |> ppo(rm, on=3 * red.train + ask.train, steps=2, batch=32, max_new=4)\n")
    # An epoch has 8 times 3 and 8 times 1 places, as many as a step has rows.
    for step in (drawn[:32], drawn[32:]):
        assert Counter(row.get("weight", 1.0) for row in step) == {3.0: 24, 1.0: 8}
        assert set(Counter(row["id"] for row in step if "weight" in row).values()) == {3}
