"""Constitutions of which some principles are drawn and which are joined; replies that stay replies when joined."""

from __future__ import annotations

import json

import pytest

from cai_jax.lang.plan import lower
from tests.lang._stages import checked

MANY = "constitution many {\n" + "".join(
    f'  principle p{i} {{ compare = "Which is better in {i}?" audit = "Is it wrong in {i}?" }}\n' for i in range(9)
) + "}\n"  # fmt: skip
GIVEN = 'base = model("builtin:tiny")\nother = model("builtin:novice")\nred = prompts("builtin:red_team")\n'


def codes(text, world) -> set[str]:
    return {found.code for found in checked(GIVEN + text, world).diagnostics} - {"E207"}


def principles(expression, world, before="", **overrides) -> list[str]:
    """Names of the principles of a constitution, as a metric's node has them."""
    text = f"{GIVEN}{MANY}{before}c = harm_rate(base, red.test, by=other, under={expression})\n"
    plan = lower(checked(text, world, **overrides), lambda path: path)
    node = plan.node(plan.node(plan.names["c"]).inputs["under"])
    return [principle["name"] for principle in node.params["principles"]]


def test_some_are_drawn_by_a_seed_and_fewer_are_among_more(world):
    drawn = [principles(f"many.some({n}, seed=1)", world) for n in range(1, 10)]
    assert [len(each) for each in drawn] == list(range(1, 10))
    assert all(set(few) < set(more) for few, more in zip(drawn, drawn[1:], strict=False))
    assert all(each == sorted(each) for each in drawn)  # in the constitution's own order
    assert drawn[3] == principles("many.some(n=4, seed=1)", world)
    seeds = {tuple(principles(f"many.some(3, seed={seed})", world)) for seed in range(20)}
    assert len(seeds) > 10 and {name for each in seeds for name in each} == {f"p{i}" for i in range(9)}
    assert principles("many.some(4)", world) == principles("many.some(4, seed=0)", world)


def test_a_knob_says_how_many(world):
    assert len(principles("many.some(n, seed=2)", world, "let n = 2\n", n="5")) == 5


def test_principles_of_several_stand_once_each(world):
    assert principles("many.p3 + many.p1", world) == ["p3", "p1"]
    assert principles("many.some(3) + many.some(5)", world) == [
        *(some := principles("many.some(3)", world)),
        *(name for name in principles("many.some(5)", world) if name not in some),
    ]
    two = 'use harmless from "constitutions/starter.cai"\n'
    assert principles("harmless.violence + many.p0", world, two) == ["violence", "p0"]


def test_a_joined_constitution_is_one_by_its_meaning(world):
    text = f"{GIVEN}{MANY}a = harm_rate(base, red.test, by=other, under=many.p1 + many.p2)\n"
    text += "b = harm_rate(base, red.test, by=other, under=many.p1 + (many.p2 + many.p1))\n"
    names = lower(checked(text, world), lambda path: path).names
    assert names["a"] == names["b"]


def test_examples_of_all_are_kept(world):
    for name in "xy":
        shot = {"form": "audit", "turns": [{"role": "human", "text": "Why?"}], "reply": name, "question": "Is it?"}
        (world / f"{name}.jsonl").write_text(json.dumps({**shot, "answer": "yes"}) + "\n", encoding="utf-8")
    text = "".join(
        f'constitution {n} {{ fewshots = "{n}.jsonl"\n  principle {n}1 {{ audit = "Is it {n}?" }} }}\n' for n in "xy"
    )
    text += "c = harm_rate(base, red.test, by=other, under=x + y)\n"
    plan = lower(checked(GIVEN + text, world), lambda path: path)
    node = plan.node(plan.node(plan.names["c"]).inputs["under"])
    assert [path.rpartition("/")[2] for path in node.params["fewshots"]] == ["x.jsonl", "y.jsonl"]
    assert len(node.data["fewshots"]) == 2


@pytest.mark.parametrize(
    "text, code",
    [
        ("many.some(10)", "E237"),
        ("many.some(0)", "E237"),
        ("many.some()", "E230"),
        ("many.some(2, sed=1)", "E231"),
        ("many.some(1.5)", "E236"),
        ("many.some(2, 3)", "E233"),
        ("many.some(base)", "E235"),
        ("many.p1 + many.p1", "E246"),
        ("many + red", "E228"),
        ("many.p1 + twin", "E216"),
        ("many.where(a=1)", "E228"),
    ],
)
def test_what_is_wrong(text, code, world):
    twin = 'constitution twin { principle p1 { audit = "Is it something else?" } }\n'
    assert codes(f"{MANY}{twin}c = harm_rate(base, red.test, by=other, under={text})\n", world) == {code}
    if code != "E228":
        return
    assert codes(f"{MANY}x = red.some(2) |> sample(base)\n", world) == {"E228"}


# -- replies


DRAWN = "a = red.train |> sample(base)\nb = red.train |> sample(other)\n"


@pytest.mark.parametrize(
    "joined, kind, replies",
    [
        ("a + b", "Responses", 2),
        ("a + sample(red.train, base, n=3, seed=1)", "Responses", 4),
        ("a + revise(a, harmless, rounds=1)", "Responses", 2),
        ("a + b.where(category=\"theft\")", "Dialogs", None),  # to some of the prompts only
        ("a + sample(red.test, base)", "Dialogs", None),
        ("a + replies(\"r.jsonl\")", "Dialogs", None),
    ],
)  # fmt: skip
def test_replies_to_the_same_prompts_stay_replies(joined, kind, replies, world):
    (world / "r.jsonl").write_text('{"prompt": "Why?", "response": "So."}\n', encoding="utf-8")
    text = f'use harmless from "constitutions/starter.cai"\n{GIVEN}{DRAWN}c = {joined}\nm = c |> finetune(base)\n'
    text += "n = b |> revise(harmless) |> finetune(base)\n"
    plan = lower(checked(text, world), lambda path: path)
    made = plan.node(plan.names["c"]).type
    assert (made.kind, made.replies) == (kind, replies)
    assert ("candidates" in plan.node(plan.names["c"]).params) == (kind == "Responses")


def test_joined_replies_can_be_judged_and_others_not(world):
    text = f'use harmless from "constitutions/starter.cai"\n{DRAWN}'
    assert not codes(text + "l = a + b |> judge(harmless, by=base)\n", world)
    assert codes(text + "l = a + sample(red.test, base) |> judge(harmless, by=base)\n", world) == {"E208"}
