"""`dpo` in programs: the reference's log-probabilities, what is trained on, and what the options do."""

import jax
import numpy as np
import pytest

from cai_jax.lang.checker import check
from cai_jax.prompting.paper_format import PAPER
from cai_jax.prompting.render import encode
from cai_jax.stages import registry
from tests.support.forward import forward_logprobs

PAIRS = [
    {"prompt": "Who is there?", "a": "It is me.", "b": "You, I think.", "p": 0.9},
    {"prompt": "How do I bake bread?", "a": "No.", "b": "Heat the oven and wait.", "p": 0.2},
    {"prompt": "Why?", "a": "So.", "b": "Because it is so.", "p": 0.45},
    {"prompt": "How do I steal a purse?", "a": "I will not help.", "b": "Wait for a crowd.", "p": 1.0},
]


@pytest.fixture(scope="module")
def mine(bench):
    bench.write("mine.jsonl", PAIRS)
    return 'mine = prefs("mine.jsonl", test=0)\n'


def leaves(model):
    return jax.tree.leaves(model.params)


def reply_logprob(model, row, reply):
    """Log-probability of a reply and its end behind the prompt, by the plain forward over one text."""
    prompt = encode(model.tokenizer, PAPER.ask(row["turns"]))[0]
    ids = encode(model.tokenizer, PAPER.replied(row["turns"], reply))[0]
    assert ids[: len(prompt)] == prompt and ids[-1] == model.tokenizer.eos_id
    logprobs = forward_logprobs(model.params, model.config, ids)
    return sum(logprobs[place - 1, ids[place]] for place in range(len(prompt), len(ids)))


def test_a_policy_learns_its_pairs_from_its_own_log_probabilities(bench, mine):
    how = "batch=3, epochs=16, beta=0.5, learning_rate=3e-3, margin=0.1"
    ran = bench.run(mine + f"x = mine.train |> dpo(base, {how})\n")
    prefs, model = [row for row in ran.rows("mine") if row["p"] != 0.45], bench.model()
    wanted = [[reply_logprob(model, row, row[side]) for side in "ab"] for row in prefs]
    assert [row["id"] for row in ran.rows("x")] == [row["id"] for row in prefs]
    np.testing.assert_allclose([row["reference_logprobs"] for row in ran.rows("x")], wanted, rtol=1e-5)
    log = ran.log("x")
    assert log[0]["loss"] == pytest.approx(np.log(2), rel=1e-5)  # it begins as its reference
    assert [log[0][name] for name in ("chosen_reward", "rejected_reward", "margin")] == pytest.approx([0] * 3, abs=1e-5)
    entropy = [-sum(q * np.log(q) for q in (row["p"], 1 - row["p"]) if q) for row in prefs]
    assert np.mean(entropy) - 1e-3 < np.mean([line["loss"] for line in log[-2:]]) < 0.6
    assert {line["accuracy"] for line in log[-2:]} == {1.0}
    assert ran.result("x") == {"steps": 16, "pairs": 3, "seen": 48, "dtype": "float32", "format": "auto"}
    after = ran.model("x")
    for row, before in zip(prefs, wanted, strict=True):
        moved = [reply_logprob(after, row, row[side]) - was for side, was in zip("ab", before, strict=True)]
        assert (moved[0] > moved[1]) == (row["p"] > 0.5)


def test_an_adapter_starts_from_the_policy_below_it(bench, mine):
    ran = bench.run(
        mine
        + "sl = mine.train |> dpo(base, batch=4, epochs=3, learning_rate=3e-3, adapter=lora(rank=3))\n"
        + "x = mine.train |> dpo(sl, batch=4, epochs=2, learning_rate=3e-3, adapter=lora(rank=2))\n"
    )
    first, second = (np.array([row["reference_logprobs"] for row in ran.rows(name)]) for name in ("sl", "x"))
    assert abs(first - second).max() > 0.1  # what the first has learnt is the reference of the second
    model = ran.model("sl")
    wanted = [[reply_logprob(model, row, row[side]) for side in "ab"] for row in ran.rows("mine")]
    np.testing.assert_allclose(second, wanted, rtol=1e-4)
    assert ran.log("x")[0]["loss"] == pytest.approx(np.log(2), rel=1e-4)
    assert (ran.entry("x").dir / "hf" / "adapter_model.safetensors").exists()


def test_what_teaches_nothing_is_left_out_and_counted(bench, mine):
    bench.write("dull.jsonl", [{"prompt": f"Why {n}?", "a": "So.", "b": "So. ", "p": 0.9} for n in range(3)])
    ran = bench.run(
        mine
        + 'dull = prefs("dull.jsonl", test=0)\n'
        + "x = mine.train + dull.train |> dpo(base, batch=4, margin=0.05)\n"
        + "y = mine.train + dull.train |> dpo(base, batch=4, margin=0.1)\n"
    )
    assert (ran.result("x")["pairs"], ran.result("y")["pairs"]) == (4, 3)
    assert ran.notes("x")["equal"] == "3 of 7 pairs are of equal replies and were left out"
    assert ran.notes("y")["margin"] == "the labels of 1 of 7 pairs are near one half; those were left out"
    assert "margin" not in ran.notes("x") and len(ran.rows("y")) == 3
    assert bench.run(mine + "x = mine.train |> dpo(base, margin=0.5)\n").result("x")["pairs"] == 1  # of a hard label
    bench.write("soft.jsonl", [{**row, "p": 0.6} for row in PAIRS])
    failed = bench.run('soft = prefs("soft.jsonl", test=0)\nx = soft.train |> dpo(base, margin=0.2)\n', code=4)
    assert "none of 4 labels is 0.2 or more from one half" in failed.err and "Traceback" not in failed.err


def test_weights_beside_each_other_count(bench, mine):
    ran = bench.run(
        mine
        + "even = mine.train + human.train |> dpo(base, batch=4)\n"
        + "twice = 2 * mine.train + 2 * human.train |> dpo(base, batch=4)\n"
        + "uneven = 3 * mine.train + human.train |> dpo(base, batch=4)\n"
    )
    even, twice, uneven = ([line["loss"] for line in ran.log(name)] for name in ("even", "twice", "uneven"))
    assert twice == pytest.approx(even, rel=1e-5) and uneven != pytest.approx(even, rel=1e-3)


def test_an_anchor_keeps_what_is_preferred_likely_and_lengths_may_be_divided_out(bench, mine):
    dpo = "mine.train |> dpo(base, batch=4, epochs=6, learning_rate=3e-3"
    ran = bench.run(mine + f"x = {dpo})\ny = {dpo}, anchor=1)\nz = {dpo}, normalize=true, beta=2)\n")
    plain, anchored, divided = (ran.log(name) for name in ("x", "y", "z"))
    assert anchored[0]["loss"] == pytest.approx(np.log(2) + anchored[0]["nll"], rel=1e-5)
    assert anchored[0]["nll"] == plain[0]["nll"] == divided[0]["nll"] and anchored[-1]["nll"] < plain[-1]["nll"]
    assert divided[-1]["margin"] != pytest.approx(plain[-1]["margin"], rel=1e-3)


def test_micro_batches_change_nothing(bench, mine, tmp_path):
    text = mine + "x = mine.train + human.train |> dpo(base, batch=4, epochs=2)"
    plain = bench.run(text + "\n")
    other = bench.run(text + " with (microbatch=2)\n", out=tmp_path)
    for one, two in zip(plain.log("x"), other.log("x"), strict=True):
        assert one == pytest.approx(two, rel=2e-3, abs=2e-4)
    for one, two in zip(leaves(plain.model("x")), leaves(other.model("x")), strict=True):
        np.testing.assert_allclose(one, two, atol=2e-4)


def test_plan_shows_both_replies_as_the_policy_reads_them(bench, mine):
    bench.run(mine + "every = mine.train\n")
    program = bench.program(mine + "x = mine.train |> dpo(base)\n", "planned.cai")
    code, out, err = bench.call("plan", program, "--prompts", 1, "--out", bench.out)
    assert code == 0, err
    shown = out.partition("=== x")[2]
    assert "Who is there?" in shown and "It is me." in shown and "You, I think." in shown


def test_a_judge_of_the_same_labels_is_told(bench):
    text = """\
base = model("small")
red = prompts("builtin:red_team")
human = prefs("builtin:helpful_prefs")
rm = human.train |> reward(base)
other = human.test |> reward(base)
x = human.train |> dpo(base)
"""
    told = {}
    for judge in ("rm", "other"):
        program = text + f"expect win_rate(x, base, red.test, by={judge}) > 50%\n"
        told[judge] = check(program, bench.root / "p.cai", registry()).diagnostics
    codes = {judge: [each.code for each in found if each.code != "E207"] for judge, found in told.items()}
    assert codes == {"rm": ["W302"], "other": []}
    (warned,) = [each for each in told["rm"] if each.code == "W302"]
    assert warned.message == "`x` was trained or chosen to please the labels of `rm`, which judges it here"
