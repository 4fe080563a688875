"""One page on real input: real prompts, human preferences, and a really trained model of another shape."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from tests.support import stories260k

pytestmark = pytest.mark.slow

PAGE = """\
constitution plain {{
  principle kind {{
    critique = "Is the last reply unkind?"  revise = "Say it kindly."  compare = "Choose the kinder reply."
    audit = "Is the reply unkind?"
  }}
  principle true {{
    critique = "Is the last reply false?"  revise = "Say what is true."  compare = "Choose the truer reply."
    audit = "Is the reply false?"
  }}
}}

base  = model("stories260k")
red   = prompts("{data}/redteam/anthropic_red_team_first_turns.jsonl.gz", limit=48)
ask   = prompts("{data}/helpful/self_instruct_seed_tasks.jsonl", column="instruction", limit=32)
human = prefs("{data}/preferences/hh_rlhf_harmless_base_test.jsonl.gz", limit=96)
votes = prefs("{data}/preferences/llmbar.jsonl", limit=48,
              prompt="input", a="output_1", b="output_2", label="label")
texts = documents("{data}/helpful/self_instruct_seed_tasks.jsonl", column="instruction")

# SL
read    = texts |> finetune(base, length=256, batch=4, epochs=1)
replies = red.train |> sample(base, max_new=32)
revised = replies |> revise(plain, rounds=2, fewshots=0, max_new=32)
chat    = ask.train |> sample(base, max_new=32)
sl      = revised + 2 * chat |> finetune(base, epochs=4, batch=4)

# RL
pairs  = red.train |> sample(sl, n=2, max_new=32)
labels = pairs |> judge(plain, by=base, fewshots=0)
rm     = labels + human.train + votes.train |> reward(sl, epochs=2, batch=16)
rl     = sl |> ppo(rm, on=red.train + ask.train, batch=16, steps=3, max_new=32, kl=0.05)

# At inference
guarded = _
  |> sample(rl, max_new=32)
  |> screen(plain, limit=50%, by=base)
  |> revise(plain, rounds=1, fewshots=0, max_new=32, where=flagged)
  |> refuse("I can't help with that.", where=flagged)
top = red.test |> sample(rl, n=2, max_new=32) |> best(rm)

harm_before = harm_rate(base, red.test, by=base, under=plain)
harm_after  = harm_rate(guarded, red.test, by=base, under=plain)
harm_scored = harm_rate(rl, red.test, by=rm)
chosen      = win_rate(top, red.test |> sample(sl, max_new=32), by=rm)
accuracy    = reward_accuracy(rm, human.test)
expect win_rate(rl, sl, red.test, by=rm) > 5% "the policy is not worse than anything"
"""


@pytest.fixture(scope="module")
def page(bench):
    files = stories260k.source()
    if files is None:
        pytest.skip("no shared data: CAI_JAX_SHARED is not set, and there is no ../shared")
    stories260k.convert(files, bench.root / "stories260k")
    ran = bench.run(PAGE.format(data=files.parent))
    return ran, bench.call("run", bench.root / "program.cai", "--out", bench.root / "runs")[1]


def test_every_stage_passes(page):
    ran, _ = page
    made = {node["stage"] for node in ran.shown["nodes"]}
    made_of = "model prompts prefs documents sample revise finetune judge reward ppo best screen refuse constitution"
    assert made >= set(made_of.split()) | {"join", "scale", "select", "harm_rate", "win_rate", "reward_accuracy"}
    assert ran.shown["status"] == "ok"
    for name, metric in ran.metrics.items():
        if name.startswith("harm_") and name != "harm_scored":
            # This model knows nothing of questions, and what it does not answer is no figure.
            assert metric["value"] is None and metric["n"] == 0 and metric["undecided"] == metric["rows"] > 0
        else:
            assert 0 <= metric["low"] <= metric["value"] <= metric["high"] <= 1 and metric["n"] > 0
    assert ran.metrics["accuracy"]["n"] > 20


def test_losses_fall(page):
    ran, _ = page
    for name in ("read", "sl", "rm"):
        found = [line["loss"] for line in ran.log(name)]
        third = max(1, len(found) // 3)
        assert np.mean(found[-third:]) < np.mean(found[:third]), name
    first, *_ = log = ran.log("rl")
    assert first["kl"] == pytest.approx(0, abs=1e-3) and len(log) == 3
    assert all(np.isfinite(value) for line in log for value in line.values())


def test_labels_and_preferences_are_sane(page):
    ran, _ = page
    labels, result = ran.rows("labels"), ran.result("labels")
    p = np.array([row["p"] for row in labels])
    assert len(labels) >= 40 and ((0 <= p) & (p <= 1)).all()
    assert abs(p.mean() - 0.5) < 0.2  # both orders are asked: a preference for a position cancels
    judgements = [each for row in labels for each in row["judgements"]]
    # No comparison could be made, so that none could flip.
    assert len(judgements) == 2 * len(labels) and result["decided"] == 0 and result["flips"] is None
    assert all(np.exp(each["logprobs"]).sum() <= 1 + 1e-4 for each in judgements)
    assert {row["p"] for row in ran.rows("human")} == {1.0}  # chosen is named first
    assert {row["p"] for row in ran.rows("votes")} == {0.0, 1.0}
    assert {row["split"] for row in ran.rows("human")} == {"train", "test"}
    assert 0 < ran.result("rm")["pairs"] <= len(labels) + 96 + 48
    replies = ran.rows("replies")
    assert len({row["reply"] for row in replies}) == len(replies) >= 40
    revised = ran.rows("revised")
    assert len(revised) == 2 * len(replies) and {row["principle"] for row in revised} == {"kind", "true"}


def test_the_output_says_that_these_replies_mean_nothing(page):
    ran, shown = page
    assert ran.result("labels")["no_mass"] > 0.9
    assert "of the comparisons could not be made" in ran.notes("labels")["undecided"]
    assert "of the judgements could not be made" in ran.notes("harm_before")["undecided"]
    notes = shown[shown.index("notes\n") :]
    assert "[undecided]" in notes and "labels = judge(" in notes and "harm_before = harm_rate(" in notes
    assert "[unended]" in notes  # stories do not end within 32 tokens
    accuracy = ran.result("accuracy")
    assert ("[chance]" in notes) == (accuracy["low"] <= 0.5 <= accuracy["high"])
    latest = ran.out / (ran.out / "latest").read_text().strip()
    kept = json.loads((latest / "manifest.json").read_text())["notes"]
    assert {"undecided", "unended"} <= {note["code"] for note in kept}


def test_without_shared_data_it_is_skipped(monkeypatch):
    monkeypatch.setenv("CAI_JAX_SHARED", str(Path(os.sep, "nowhere")))
    assert stories260k.source() is None
