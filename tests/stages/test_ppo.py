"""`ppo`: what follows from its definition for its first step, its knobs, and the ways of computing it."""

import jax
import numpy as np
import pytest

RM = "rm = human.train |> reward(base, batch=8, epochs=4, learning_rate=3e-3)\n"
PPO = "base |> ppo(rm, on=red.train, batch=8, max_new=8, critic_rate=1e-3, learning_rate=1e-3"


def test_the_first_step_starts_at_the_reference(bench):
    ran = bench.run(RM + f"rl = {PPO}, steps=3, kl=0.05)\n")
    first, *_, last = log = ran.log("rl")
    assert [line["step"] for line in log] == [1, 2, 3]
    assert first["kl"] == pytest.approx(0, abs=1e-5) and last["kl"] != 0
    assert first["ratio_mean"] == pytest.approx(1, abs=1e-5) and first["ratio_var"] == pytest.approx(0, abs=1e-6)
    assert first["clip_fraction"] == 0 and first["approx_kl"] == pytest.approx(0, abs=1e-6)
    assert [line["kl_coefficient"] for line in log] == pytest.approx([0.05] * 3)
    assert first["learning_rate"] > last["learning_rate"] > 0  # annealed
    assert first["length"] <= 8 and first["entropy"] > 0
    result = ran.result("rl")
    assert result["steps"] == 3 and result["kl"] == last["kl"] and result["score"] == last["score"]
    # Hardly any reply of a random model ends, and the run says so.
    assert "raise max_new" in ran.notes("rl")["unended"]


def test_the_controller_moves_towards_its_target(bench):
    ran = bench.run(RM + f"rl = {PPO}, steps=3, kl=0.05, target=3, horizon=80)\n")
    betas = [line["kl_coefficient"] for line in ran.log("rl")]
    # KL is 0 at first, far below the target: error clipped to -0.2, for 8 replies of a horizon of 80.
    assert betas[1] / betas[0] == pytest.approx(1 - 0.2 * 8 / 80, rel=1e-4)


def test_minibatches_and_passes(bench):
    ran = bench.run(RM + f"rl = {PPO}, steps=2, minibatch=4, passes=2)\n")
    first = ran.log("rl")[0]
    assert first["ratio_mean"] != pytest.approx(1, abs=1e-7)  # the last of four updates is off-policy
    assert first["kl"] == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(
    "options, code, said",
    [
        (", minibatch=3)", "E247", "divisor of 8"),
        (") with (microbatch=3)", "E247", "batch of 8 cannot be split into micro-batches of 3"),
        (", minibatch=4) with (mesh=mesh(data=8))", "E247", "minibatch of 4 cannot be split over 8 devices"),
        (") with (microbatch=2, mesh=mesh(data=4))", "E247", "micro-batch of 2 cannot be split over 4 devices"),
        (") with (mesh=mash(data=2))", "E239", "`mesh` of `with` cannot be `mash(…)`"),
        (") with (mesh=mesh(dada=2))", "E231", "`mesh` has no parameter `dada`"),
        (") with (mesh=mesh(tensor=0))", "E237", "at least 1"),
        (", max_fall=0.5)", "E223", "nothing watches"),
        (", temperature=0)", "E237", "temperature"),
    ],
)
def test_what_cannot_be_run_is_refused_before_it_is(bench, options, code, said):
    wrong = bench.run(RM + f"rl = {PPO}, steps=2{options}\n", code=3)
    assert code in wrong.err and said in wrong.err


@pytest.mark.parametrize("dtype, most", [("float32", 1e-4), ("bfloat16", 0.05)])
def test_sampler_and_trainer_agree_and_their_gap_is_logged(bench, dtype, most):
    page = f'half = model("small", dtype={dtype})\n' + RM.replace("base", "half") + PPO.replace("base", "rl = half")
    (line,) = bench.run(page + ", steps=1)\n").log("rl")
    assert 0 < line["sampler_gap"] <= line["sampler_gap_max"]
    assert line["sampler_gap"] < most


def test_a_watching_preference_model_is_logged(bench):
    ran = bench.run(
        RM + "other = human.train |> reward(base, batch=8, seed=1)\n" + f"rl = {PPO}, steps=1, watch=other)\n"
    )
    (line,) = ran.log("rl")
    assert np.isfinite(line["watch"]) and line["watch"] != line["score"]
    assert 0 <= line["boilerplate"] <= 1


def test_max_kl_goes_back_to_the_last_policy_within_it(bench):
    fast = PPO.replace("learning_rate=1e-3", "learning_rate=0.02")
    ran = bench.run(RM + f"rl = {fast}, steps=6, max_kl=1e-4, kl=0)\n")
    log, result = ran.log("rl"), ran.result("rl")
    steps = result["steps"]
    # A policy is measured by the rollout after its last step; the rollout after that broke the limit.
    assert steps < 6 and len(log) == steps + 2
    assert log[-1]["kl"] > 1e-4 >= result["kl"] == log[steps]["kl"]
    assert f"the policy of step {steps} is kept" in ran.notes("rl")["max-kl"]
    saved = jax.tree.leaves(ran.model("rl").params)
    assert all(np.isfinite(leaf).all() for leaf in saved)
    # The very first update goes too far, so that what is kept is where training started.
    assert steps == 0
    for leaf, base in zip(saved, jax.tree.leaves(bench.model().params), strict=True):
        np.testing.assert_array_equal(leaf, base)


def test_how_it_is_computed_changes_no_result(bench, tmp_path):
    """In smaller micro-batches; over devices: test_devices, test_meshes."""
    text = RM + f"rl = {PPO}, steps=2, kl=0.05)"
    plain = bench.run(text + "\n")
    other = bench.run(text + " with (microbatch=2)\n")
    assert not other.made  # a schedule is no part of the meaning
    other = bench.run(text + " with (microbatch=2)\n", out=tmp_path)
    for one, two in zip(plain.log("rl"), other.log("rl"), strict=True):
        assert one.keys() == two.keys()
        for name in one:
            assert one[name] == pytest.approx(two[name], rel=2e-3, abs=2e-4), name
    leaves = zip(jax.tree.leaves(plain.model("rl").params), jax.tree.leaves(other.model("rl").params), strict=True)
    for a, b in leaves:
        np.testing.assert_allclose(a, b, atol=5e-4)


def test_options_of_the_reward(bench):
    more = "critic=zero, critic_warmup=2, scale=true, whiten=true, reward_clip=1, passes=2, dual_clip=3"
    ran = bench.run(RM + f"rl = {PPO}, steps=2, {more})\n")
    first, second = ran.log("rl")
    assert second["kl"] == pytest.approx(0, abs=1e-5)  # the first updates were the critic's alone
    assert abs(first["shaped_score"]) <= 1 and np.isfinite(second["policy_loss"])


def test_a_weighed_preference_model_pays_by_its_weight(bench):
    ran = bench.run(RM + f"rl = {PPO.replace('rm,', '2 * rm,')}, steps=1)\n")
    plain = bench.run(RM + f"rl = {PPO}, steps=1)\n")
    assert ran.log("rl")[0]["score"] == pytest.approx(2 * plain.log("rl")[0]["score"], rel=1e-5)
