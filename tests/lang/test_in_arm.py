"""`sl[rounds=4]`: what a name is in another arm of a sweep."""

from __future__ import annotations

import pytest

from tests.lang._plans import BASE, plan_of
from tests.lang._stages import checked

HEAT = BASE + "let heat = 1\nsweep heat in [0.5, 1, 2]\nsaid = red.test |> sample(base, temperature=heat)\n"
BOTH = HEAT + "let s = 3\nsweep s in [3, 4]\ntold = red.test |> sample(base, temperature=heat, seed=s)\n"
BOTH += "of = harm_rate(said)\nto = refusal_rate(told)\n"


def claims(plan):
    return [(claim.text, claim.arm) for claim in plan.expects]


def temperature(plan, side):
    """Of the replies that one side of a claim measures."""
    return plan.node(plan.node(side.key).inputs["of"]).params["temperature"]


def test_a_claim_between_arms_is_made_once(world):
    plan = plan_of(HEAT + "expect harm_rate(said[heat=2]) > harm_rate(said[heat=50%])\n", world)
    assert claims(plan) == [("harm_rate(said[heat=2]) > harm_rate(said[heat=50%])", "")]
    (claim,) = plan.expects
    assert (temperature(plan, claim.left), temperature(plan, claim.right)) == (2, 0.5)
    assert claim.left.key == plan_of(HEAT + "h = harm_rate(said)\n", world).names["h[heat=2]"]


def test_what_the_brackets_leave_open_is_as_in_the_arm_at_hand(world):
    plan = plan_of(BOTH + "expect harm_rate(told[heat=2]) > harm_rate(told[heat=1])\n", world)
    text = "harm_rate(told[heat=2]) > harm_rate(told[heat=1])"
    assert claims(plan) == [(text, "s=3"), (text, "s=4")]
    keys = [plan.node(claim.left.key).inputs["of"] for claim in plan.expects]
    assert [(plan.node(key).params["seed"], plan.node(key).params["temperature"]) for key in keys] == [(3, 2), (4, 2)]
    assert [(measure.of, measure.arm) for measure in plan.measures if measure.name not in ("of", "to")] == [
        ("told[heat=2]", "s=3"), ("told[heat=1]", "s=3"), ("told[heat=2]", "s=4"), ("told[heat=1]", "s=4"),
    ]  # fmt: skip


def test_an_arm_against_all_others_is_not_compared_with_itself(world):
    plan = plan_of(HEAT + "expect harm_rate(said[heat=2]) > harm_rate(said)\n", world)
    assert [arm for _, arm in claims(plan)] == ["heat=0.5", "heat=1"]


def test_arms_may_stand_wherever_a_name_may(world):
    text = HEAT.replace("red.test", "red.train") + 'rm = prefs("builtin:helpful_prefs").train |> reward(base)\n'
    text += "tuned = said |> finetune(base)\nboth = win_rate(tuned[heat=2], tuned[heat=1], red.test, by=rm)\n"
    plan = plan_of(text, world)
    assert "both" in plan.names and [node.stage for node in plan.nodes].count("win_rate") == 1


def test_a_name_goes_by_the_knobs_on_which_it_depends(world):
    plan = plan_of(BOTH, world)
    assert {name for name in plan.names if name.startswith("said")} == {f"said[heat={h}]" for h in ("0.5", "1", "2")}
    assert len([name for name in plan.names if name.startswith("told[heat=2, s=")]) == 2


def test_a_bound_metric_that_a_claim_names_first_goes_by_its_own_arm(world):
    text = HEAT + "expect harm_rate(said[heat=2]) < 90%\nh = harm_rate(said)\n"
    measures = [(m.name, m.of, m.arm) for m in plan_of(text, world).measures if m.name == "h"]
    assert measures == [("h", "said", "heat=0.5"), ("h", "said", "heat=1"), ("h", "said", "heat=2")]


def test_flows_of_another_arm_use_its_knobs(world):
    text = BASE + "let heat = 1\nsweep heat in [1, 2]\nflow = _ |> sample(base, temperature=heat)\n"
    plan = plan_of(text + "expect harm_rate(flow[heat=2], red.test) > harm_rate(flow[heat=1], red.test)\n", world)
    (claim,) = plan.expects
    assert (temperature(plan, claim.left), temperature(plan, claim.right)) == (2, 1)


@pytest.mark.parametrize(
    ("text", "heat", "codes"),
    [
        ("expect harm_rate(said[heat=2]) > 1%\n", None, []),
        ("expect harm_rate(said[heat=2]) > 1%\n", "2", ["E281"]),
        ("expect harm_rate(said[heat=2, heat=1]) > 1%\n", None, ["E232"]),
        ("expect harm_rate(said[heat=true]) > 1%\n", None, ["E282"]),
        ("expect harm_rate(sayd[heat=2]) > 1%\n", None, ["E200"]),
        ("expect harm_rate(said) > heat[heat=2]\n", None, ["E228"]),
        ("expect harm_rate(said[heat=2]) > harm_rate(said[heat=2])\n", None, ["E243"]),
        ("expect harm_rate(said[2]) > 1%\n", None, ["E101"]),
        ("run (slots=heat[heat=1])\n", None, ["E228"]),
    ],
)
def test_what_is_no_arm(text, heat, codes, world):
    found = checked(HEAT + text, world, **({"heat": heat} if heat else {}))
    assert [diagnostic.code for diagnostic in found.diagnostics] == codes


def test_a_sweep_that_does_not_parse_is_one_mistake(world):
    text = HEAT.replace("in [0.5", "on [0.5") + "expect harm_rate(said[heat=2]) > 1%\n"
    assert [diagnostic.code for diagnostic in checked(text, world).diagnostics] == ["E101"]
