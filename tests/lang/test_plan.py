"""Lowering: what is one node, and what sweeps, flows and operators come to."""

from __future__ import annotations

import pytest

from cai_jax.lang.plan import Plan, lower
from tests.lang._plans import BASE, QUICKSTART, plan_of
from tests.lang._stages import checked

GUARD = """use harmless from "constitutions/starter.cai"
let limit = 50% in 0..1
base = model("builtin:tiny")
red  = prompts("builtin:red_team")
guarded = _
  |> sample(base)
  |> screen(harmless, limit=limit)
  |> revise(harmless, rounds=1, where=flagged)
  |> refuse("I can't help with that.", where=flagged)
expect harm_rate(guarded, red.test) < harm_rate(base, red.test) at 95%
"""


def stages(plan: Plan) -> list[str]:
    return [node.stage for node in plan.nodes]


def test_the_quickstart(world):
    plan = plan_of(QUICKSTART, world)
    counted = {stage: stages(plan).count(stage) for stage in set(stages(plan))}
    # red.train, ask.train, human.train, red.test, ask.test, edge.test; three joins; draws for revised, chat, labels,
    # and for the five measurements: sl, base and rl on red.test, rl on ask.test and edge.test.
    assert counted == {
        "constitution": 1, "model": 1, "prompts": 3, "prefs": 1, "select": 6, "sample": 8, "revise": 1, "join": 3,
        "finetune": 1, "judge": 1, "reward": 1, "ppo": 1, "label_accuracy": 1, "harm_rate": 3, "refusal_rate": 2,
    }  # fmt: skip
    assert [(m.name, m.of, m.on) for m in plan.measures][:2] == [
        ("label_quality", "labels", ""),
        ("harm_rate(sl, red.test)", "sl", "red.test"),
    ]
    first, *_, last = plan.expects
    assert (first.op, first.level, first.line) == ("<", 0.95, 22)
    assert plan.node(first.left.key).stage == plan.node(first.right.key).stage == "harm_rate"
    assert (last.right.key, last.right.constant, last.level, last.why) == (None, 0.1, None, "hears the difference")
    assert plan.node(plan.names["revised"]).inputs["by"] == plan.names["base"]
    assert plan.settings["seed"] == 0


def test_nodes_come_after_their_inputs_and_each_once(world):
    plan, seen = plan_of(QUICKSTART, world), set()
    for node in plan.nodes:
        for value in node.inputs.values():
            assert set([value] if isinstance(value, str) else value) <= seen
        assert node.key not in seen
        seen.add(node.key)


def test_a_schedule_belongs_to_the_node_wherever_it_is_given(world):
    text = BASE + (
        "run (mesh=mesh(fsdp=2), slots=4)\na = harm_rate(red.test |> sample(base))\n"
        "b = refusal_rate(red.test |> sample(base) with (slots=8))\n"
        "c = harm_rate(red.test |> sample(base) with (mesh=mesh(data=2)))\n"
    )
    plan = plan_of(text, world)
    (node,) = (node for node in plan.nodes if node.stage == "sample")
    assert (node.schedule["slots"], node.schedule["microbatch"]) == (8, None)
    assert node.schedule["mesh"] == {"data": 2, "fsdp": 1, "tensor": 1}
    fsdp = {"data": 0, "fsdp": 2, "tensor": 1}
    assert all(
        node.schedule["mesh"] == fsdp and node.schedule["slots"] == 4
        for node in plan.nodes
        if node.stage.endswith("_rate")
    )


def test_a_constitution_is_its_principles_and_fewshots(world):
    (world / "shots.jsonl").write_text("", encoding="utf-8")
    text = BASE + (
        'constitution kind {{\n  fewshots = "shots.jsonl"\n'
        '  principle p {{ critique = "What is" "unkind?" revise = "Mend it." weight = 2 tags = [kind] }}\n}}\n'
        "r = red.train |> sample(base) |> revise({0})\n"
    )
    plan = plan_of(text.format("kind"), world, fingerprint=lambda path: "contents")
    node = plan.node(plan.names["kind"])
    assert node.stage == "constitution" and node.params["fewshots"] == str(world / "shots.jsonl")
    principle = {"name": "p", "critique": "What is unkind?", "revise": "Mend it.", "compare": "", "audit": ""}
    assert node.params["principles"] == [{**principle, "weight": 2.0, "tags": ["kind"]}]
    renamed = plan_of(text.replace("constitution kind", "constitution k").format("k"), world, lambda path: "contents")
    assert renamed.names["k"] == node.key
    other = plan_of(text.format("kind"), world, fingerprint=lambda path: "other")
    assert other.names["kind"] != node.key


def test_principles_are_selected_by_name_or_tag(world):
    use = 'use harmless from "constitutions/starter.cai"\n' + BASE
    draw = "r = red.train |> sample(base) |> revise(harmless.{})\n"
    found = {}
    for name in ("law", "safety"):
        plan = plan_of(use + draw.format(name), world)
        node = plan.node(plan.node(plan.names["r"]).inputs["constitution"])
        found[name] = [principle["name"] for principle in node.params["principles"]]
    assert found == {"law": ["law"], "safety": ["violence", "law"]}


def test_equal_expressions_are_one_node(world):
    plan = plan_of(
        BASE + "a = harm_rate(red.test |> sample(base))\nb = harm_rate(red.test |> sample(base, n=1))\n", world
    )
    assert plan.names["a"] == plan.names["b"]
    assert plan.node(plan.names["a"]).names == ("a", "b")
    other = plan_of(
        BASE + "a = harm_rate(red.test |> sample(base))\nb = harm_rate(red.test |> sample(base, seed=1))\n", world
    )
    assert other.names["a"] != other.names["b"]


def test_reward_models_are_mixed_by_scaling_and_joining(world):
    text = BASE + (
        'human = prefs("builtin:helpful_prefs")\nlet w = 0.3\n'
        "a = human.train |> reward(base)\nb = human.train |> reward(base, epochs=2)\n"
        "rl = base |> ppo(w * a + 2 * w * b, on=red.train)\n"
    )
    plan = plan_of(text, world)
    join = plan.node(plan.node(plan.names["rl"]).inputs["reward"])
    assert join.stage == "join"
    scaled = [plan.node(key) for key in join.inputs["parts"]]
    assert [(node.stage, node.params["weight"], node.inputs["value"]) for node in scaled] == [
        ("scale", 0.3, plan.names["a"]),
        ("scale", 0.6, plan.names["b"]),
    ]


def test_a_sweep_shares_what_does_not_depend_on_it(world):
    text = QUICKSTART.replace("kl=0.05", "kl=kl") + "let kl = 0.05 in 0..1\nsweep kl in [0.01, 0.05]\n"
    text = text.replace("# quickstart.cai\n", "").replace("let kl = 0.05 in 0..1\n", "")
    plan = plan_of("let kl = 0.05 in 0..1\n" + text, world)
    assert stages(plan).count("ppo") == 2 and stages(plan).count("reward") == 1
    assert {"sl", "rl[kl=0.01]", "rl[kl=0.05]"} <= set(plan.names)
    assert [plan.node(plan.names[f"rl[kl={kl}]"]).params["kl"] for kl in ("0.01", "0.05")] == [0.01, 0.05]
    claims = [(claim.text, claim.arm) for claim in plan.expects]
    assert claims.count(("harm_rate(sl, red.test) < harm_rate(base, red.test)", "")) == 1
    assert claims.count(("refusal_rate(rl, ask.test) < 5%", "kl=0.01")) == 1
    assert claims.count(("refusal_rate(rl, ask.test) < 5%", "kl=0.05")) == 1
    assert {measure.arm for measure in plan.measures if measure.of == "rl"} == {"kl=0.01", "kl=0.05"}
    assert {measure.arm for measure in plan.measures if measure.of == "sl"} == {""}


def test_sweeps_multiply(world):
    text = BASE + "let s = 0\nlet t = 1\nsweep s in [0, 1]\nsweep t in [1, 0.5]\n"
    plan = plan_of(text + "h = harm_rate(red.test |> sample(base, temperature=t, seed=s))\n", world)
    arms = ("s=0, t=1", "s=0, t=0.5", "s=1, t=1", "s=1, t=0.5")
    assert [name for name in plan.names if name.startswith("h")] == [f"h[{arm}]" for arm in arms]
    assert stages(plan).count("sample") == 4 and stages(plan).count("select") == 1


def test_a_mistake_in_one_arm_says_which(world):
    use = 'use harmless from "constitutions/starter.cai"\n' + BASE
    text = use + "let n = 2\nsweep n in [2, 1]\nlabels = red.train |> sample(base, n=n) |> judge(harmless, by=base)\n"
    found = checked(text, world)
    assert [d.code for d in found.diagnostics] == ["E210"]
    assert found.diagnostics[0].message.endswith("(with n=1)")
    first = checked(text.replace("[2, 1]", "[1, 2]"), world)
    assert first.diagnostics[0].message.endswith("(with n=1)")
    every = checked(text.replace("[2, 1]", "[2, 3]").replace("base, n=n", "base, max_new=n"), world)
    assert "with" not in every.diagnostics[0].message


def test_overrides_replace_knobs(world):
    text = BASE + "let t = 1 in 0..2\nh = harm_rate(red.test |> sample(base, temperature=t))\n"
    plan = plan_of(text, world, t="0.5")
    assert plan.knobs == {"t": 0.5}
    assert [node.params["temperature"] for node in plan.nodes if node.stage == "sample"] == [0.5]


def test_a_flow_is_lowered_with_its_hole_and_on_the_prompts_it_is_measured_on(world):
    plan = plan_of(GUARD, world)
    flow = plan.flows["guarded"]
    assert [node.stage for node in flow.nodes] == ["hole", "sample", "screen", "revise", "refuse"]
    assert (flow.hole, flow.output) == (flow.nodes[0].key, flow.nodes[-1].key)
    assert flow.nodes[1].inputs == {"prompts": flow.hole, "model": plan.names["base"]}
    assert flow.nodes[2].params["limit"] == 0.5 and flow.nodes[2].inputs["by"] == plan.names["base"]
    assert "hole" not in stages(plan)
    assert stages(plan).count("sample") == 1, "the flow samples just as the base's own measurement does"
    assert set(flow.nodes[1].inputs.values()) - {flow.hole} <= {node.key for node in plan.nodes}


def test_a_flow_is_called_on_prompts_and_within_flows(world):
    text = (
        BASE
        + 'f = _ |> sample(base)\ng = _ |> f() |> refuse("No.")\n'
        + "a = harm_rate(red.test |> g())\nb = harm_rate(g, red.test)\n"
    )
    plan = plan_of(text, world)
    replies = {plan.node(plan.names[name]).inputs["of"] for name in "ab"}
    assert len(replies) == 1 and plan.node(replies.pop()).stage == "refuse"


def test_lists_give_many_inputs(world):
    text = BASE + "rl = harm_rate(red.test + red.train |> sample(base))\n"
    plan = plan_of(text, world)
    join = next(node for node in plan.nodes if node.stage == "join")
    assert len(join.inputs["parts"]) == 2


def test_a_measure_tells_its_other_arguments(world):
    text = BASE + 'rm = prefs("builtin:helpful_prefs").train |> reward(base)\n'
    text += "a = harm_rate(base, red.test)\nb = harm_rate(base, by=rm, on=red.test)\n"
    measures = plan_of(text, world).measures
    assert [(m.of, m.on, m.given) for m in measures] == [("base", "red.test", ""), ("base", "red.test", "by=rm")]


def test_every_name_of_a_measure_is_kept(world):
    text = BASE + "a = harm_rate(base, red.test)\nb = harm_rate(base, red.test)\nexpect a < 50%\n"
    measures = plan_of(text + "expect harm_rate(base, red.test) < 60%\n", world).measures
    # Two names of one node; where it has a name, the expression in a claim is no third.
    assert [(m.name, m.expression) for m in measures] == [(name, "harm_rate(base, red.test)") for name in "ab"]
    assert len({m.key for m in measures}) == 1


def test_a_measure_belongs_to_the_swept_values_on_which_it_depends(world):
    text = BASE + "let s = 0\nlet t = 1\nsweep s in [0, 1]\nsweep t in [1, 0.5]\n"
    text += "of_both = harm_rate(red.test |> sample(base, temperature=t, seed=s))\n"
    text += "of_one  = harm_rate(red.test |> sample(base, seed=s))\nof_none = harm_rate(base, red.test)\n"
    arms = {}
    for measure in plan_of(text, world).measures:
        arms.setdefault(measure.name, set()).add(measure.arm)
    assert arms["of_both"] == {f"s={s}, t={t}" for s in (0, 1) for t in ("1", "0.5")}
    assert arms["of_one"] == {"s=0", "s=1"} and arms["of_none"] == {""}


def test_comments_are_no_part_of_a_claim(world):
    text = BASE + "expect harm_rate(base, # because\n  red.test) # why not\n  < 5%\n"
    plan = plan_of(text, world)
    assert plan.expects[0].text == "harm_rate(base, red.test) < 5%"
    assert plan.measures[0].name == "harm_rate(base, red.test)"


def test_a_wrong_program_is_not_lowered(world):
    with pytest.raises(ValueError, match="errors"):
        lower(checked("a = b\n", world), str)


def plain(value):
    """Whether JSON has a word for it, and reads that back as the same but for tuples."""
    match value:
        case dict():
            return all(isinstance(key, str) and plain(each) for key, each in value.items())
        case list() | tuple():
            return all(map(plain, value))
    return value is None or type(value) in (str, int, float, bool)


def test_a_plan_is_plain_data(world):
    plan = plan_of(QUICKSTART, world)
    for node in plan.nodes:
        for part in (node.params, node.schedule, node.data):
            assert plain(part), node
