"""`run (seeds=0..4)`: the program under each seed, and claims over all of them."""

from __future__ import annotations

import pytest

from cai_jax.errors import UserError
from cai_jax.runs import programs
from cai_jax.runs.overrides import overridden
from tests.lang._plans import BASE, plan_of
from tests.lang._stages import REGISTRY, checked

RUN = "run (seeds=0..2)\n"
SAID = BASE + "said = red.test |> sample(base)\nh = harm_rate(said)\n"
SWEPT = BASE + "let heat = 1\nsweep heat in [1, 2]\nsaid = red.test |> sample(base, temperature=heat)\n"


def test_each_seed_makes_what_a_run_with_that_seed_makes(world):
    plan = plan_of(SAID + RUN, world)
    for seed in range(3):
        alone = plan_of(SAID + f"run (seed={seed})\n", world)
        for name in ("said", "h"):
            assert plan.names[f"{name}[seed={seed}]"] == alone.names[name]
            assert plan.node(plan.names[f"{name}[seed={seed}]"]).seed == seed
            assert alone.node(alone.names[name]).seed is None
    assert plan.names["red"] == alone.names["red"] and plan.node(plan.names["red"]).seed is None
    assert [node.stage for node in plan.nodes].count("select") == 1


def test_metrics_and_claims_are_over_all_seeds(world):
    plan = plan_of(SAID + "expect h < 90% at 95%\nexpect h < harm_rate(base, red.train) + 1%\n" + RUN, world)
    keys = tuple(plan.names[f"h[seed={seed}]"] for seed in range(3))
    assert [(measure.name, measure.arm) for measure in plan.measures[:3]] == [("h", f"seed={s}") for s in range(3)]
    assert [(pool.measure.name, pool.measure.arm, pool.keys) for pool in plan.pools][0] == ("h", "", keys)
    first, second = plan.expects
    assert first.left.keys == keys and first.right.keys == () and first.arm == ""
    assert second.left.keys == keys and len({*second.right.keys}) == 3 and second.right.constant == 0.01


def test_in_a_sweep_they_are_of_each_value(world):
    text = SWEPT + "expect harm_rate(said) < 5%\nexpect harm_rate(said[heat=2]) > harm_rate(said[heat=1])\n"
    plan = plan_of(text + RUN, world)
    assert [(claim.text, claim.arm) for claim in plan.expects] == [
        ("harm_rate(said) < 5%", "heat=1"),
        ("harm_rate(said[heat=2]) > harm_rate(said[heat=1])", ""),
        ("harm_rate(said) < 5%", "heat=2"),
    ]
    assert all(len(claim.left.keys) == 3 for claim in plan.expects)
    assert {(pool.measure.of, pool.measure.arm) for pool in plan.pools} >= {("said", "heat=1"), ("said", "heat=2")}


def test_a_claim_may_choose_its_seeds(world):
    plan = plan_of(SAID + "expect harm_rate(said[seed=0]) < 5%\n" + RUN, world)
    metric = [plan.node(key).inputs["of"] for key in plan.expects[0].left.keys]
    assert metric == [plan.names["said[seed=0]"]] * 3  # measured under each seed of the run


def test_a_row_limit_reaches_all_seeds(world):
    plan = plan_of(SAID + "expect h < 90%\n" + RUN, world)
    limited = overridden(plan, REGISTRY, None, 4)
    there = {node.key for node in limited.nodes}
    assert {*limited.expects[0].left.keys} <= there and {*limited.pools[0].keys} <= there
    assert not {*plan.pools[0].keys} & there


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("run (seeds=0..4)\n", []),
        ("let n = 2\nrun (seeds=0..n)\n", []),
        ("run (seeds=1..1)\n", ["E285"]),
        ("run (seeds=0..0.5)\n", ["E285"]),
        ("run (seeds=0..4, seed=1)\n", ["E285"]),
        ("let seed = 1\nrun (seeds=0..4)\nr = red.test |> sample(base, seed=seed)\ni = harm_rate(r)\n", ["E285"]),
        ("run (seeds=0..64)\n", ["E259"]),
        ("run (seeds=0..4294967295)\n", ["E259"]),
        ("run (seeds=-1..4)\n", ["E237"]),
        ("run (seeds=4)\n", ["E236"]),
        ("run (seeds=4..0)\n", ["E258"]),
        ("let n = 2\nsweep n in [2, 3]\nrun (seeds=0..n)\n", ["E261"]),
        ("expect harm_rate(said[seed=1]) < 5%\n", ["E281"]),
        ("expect harm_rate(said[seed=9]) < 5%\nrun (seeds=0..4)\n", ["E282"]),
        ("let k = 1\nsweep k in [1, 2]\nrun (seed=k)\n", ["E261"]),
    ],
)
def test_what_seeds_there_may_be(text, codes, world):
    assert [diagnostic.code for diagnostic in checked(SAID + text, world).diagnostics] == codes


def test_the_command_line_gives_no_other_seed(world):
    with pytest.raises(UserError, match="runs with the seeds 0 to 2"):
        programs.planned(checked(SAID + RUN, world), REGISTRY, seed=5)
