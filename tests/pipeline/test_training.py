"""`finetune`, `documents`, `reward`, and preference models weighed and added."""

import json

import jax
import numpy as np
import pytest

from cai_jax.models import checkpoint
from cai_jax.pipeline import training
from cai_jax.pipeline.context_length import Fitting
from cai_jax.pipeline.examples import Rows, dialog
from cai_jax.pipeline.reward_scoring import Scorer, raw_scores
from cai_jax.prompting.paper_format import PAPER
from cai_jax.stages import reward as reward_stage
from tests.support import artefacts
from tests.support.contexts import Context


def losses(ran, name):
    return [line["loss"] for line in ran.log(name)]


def same(first, second):
    return all(np.array_equal(a, b) for a, b in zip(flat(first), flat(second), strict=True))


def flat(model):
    return jax.tree.leaves(model.params)


def test_finetune_learns_and_epochs_are_steps(bench):
    ran = bench.run("""\
replies = ask.train |> sample(tiny, max_new=24)
one  = replies |> finetune(base, batch=2, epochs=8, learning_rate=5e-3)
half = replies |> finetune(base, batch=2, epochs=0.5)
set  = replies |> finetune(base, batch=2, steps=3, warmup=2, schedule=linear)
""")
    found = losses(ran, "one")
    assert [line["step"] for line in ran.log("one")] == list(range(1, len(found) + 1))
    assert np.mean(found[-3:]) < 0.8 * found[0]
    assert found[0] == pytest.approx(
        np.log(bench.model().config.vocab_size), rel=0.15
    )  # it guesses, with logits of variance 1
    steps = ran.result("one")["steps"]
    assert len(found) == steps >= 16
    rows = ran.result("one")["seen"] // 8
    assert (ran.result("half")["seen"], ran.result("half")["steps"]) == (round(rows / 2), -(-round(rows / 2) // 2))
    assert ran.result("set")["steps"] == 3 and steps == rows * 8 / 2
    assert not same(ran.model("half"), bench.model()) and not same(ran.model("one"), ran.model("half"))


def test_a_weight_changes_training_only_beside_another(bench):
    # Weights are relative to their mean over the data: doubling all is nothing, doubling one of two is something.
    settings = "finetune(base, batch=2, steps=2)\n"
    ran = bench.run(
        "replies = ask.train |> sample(tiny, max_new=24)\nothers = red.train |> sample(tiny, max_new=24)\n"
        + "plain = replies |> "
        + settings
        + "twice = 2 * replies |> "
        + settings
        + "even = replies + others |> "
        + settings
        + "uneven = replies + 2 * others |> "
        + settings
    )
    for a, b in zip(losses(ran, "plain"), losses(ran, "twice"), strict=True):
        assert a == pytest.approx(b, rel=1e-5)
    assert losses(ran, "even") != pytest.approx(losses(ran, "uneven"), rel=1e-4)


def test_a_weight_counts_where_every_batch_is_one_row(bench):
    # Fixed texts of which two never fit into a row, so that every step is about one dataset alone.
    fitter = Fitting(bench.model().tokenizer, 32, "error")
    trained, rows = {}, 0
    for name, reply in (("a", "Heat the oven and wait."), ("b", "I will not help with theft.")):
        said = [{"prompt": f"How do I {verb} {name} purse?", "response": reply} for verb in ("steal", "sell", "mend")]
        bench.write(f"weighed_{name}.jsonl", said)
        found = [
            dialog(fitter, PAPER, {"turns": [{"role": "human", "text": row["prompt"]}], "reply": row["response"]})
            for row in said
        ]
        assert all(16 < len(each.ids) <= 32 for each in found)
        trained[name] = sum(weight for each in found for weight in each.weights)
        rows += len(found)
    settings = "finetune(base, batch=1, length=32)\n"
    ran = bench.run(
        'a = replies("weighed_a.jsonl", test=0)\nb = replies("weighed_b.jsonl", test=0)\n'
        f"even = 1 * a + b |> {settings}uneven = 9 * a + b |> {settings}"
    )
    even, uneven = (ran.log(name) for name in ("even", "uneven"))
    mean = (9 * trained["a"] + trained["b"]) / (trained["a"] + trained["b"])
    ratios = [after["weight"] / before["weight"] for before, after in zip(even, uneven, strict=True)]
    assert sorted(ratios) == pytest.approx([1 / mean] * (rows // 2) + [9 / mean] * (rows // 2), rel=1e-5)
    # The first step starts from the same model: its loss is that of the other times its weight.
    assert uneven[0]["loss"] == pytest.approx(ratios[0] * even[0]["loss"], rel=1e-4)
    apart = [
        np.abs(one - other).max() for one, other in zip(*map(flat, map(ran.model, ("even", "uneven"))), strict=True)
    ]
    assert max(apart) > 1e-4


def test_overlong_examples(bench):
    text = "replies = ask.train |> sample(tiny, max_new=24)\n"
    text += "sl = replies |> finetune(base, batch=2, steps=1, length={})\n"
    failed = bench.run(text.format("16, overlong=error"), code=4)
    assert "room for 16" in failed.err and "truncate_left" in failed.err
    assert "none of the examples fits" in bench.run(text.format("16"), code=4).err
    fitter = Fitting(bench.model().tokenizer, 512, "error")
    replies = bench.run(text.format("512")).rows("replies")
    lengths = [len(dialog(fitter, PAPER, row).ids) for row in replies]
    cut = bench.run(text.format(f"{max(lengths) - 1}, overlong=truncate_left"))
    assert np.isfinite(losses(cut, "sl")).all() and "lost their beginning" in cut.notes("sl")["overlong"]
    middle = int(np.median(lengths))
    some = bench.run(text.format(middle))
    assert some.notes("sl")["overlong"].startswith(f"{sum(n > middle for n in lengths)} of 8 examples")


def test_documents_from_a_file_and_from_the_world(bench):
    bench.write("texts.jsonl", [{"text": f"The number {n} comes before {n + 1}."} for n in range(40)])
    ran = bench.run("""\
texts = documents("texts.jsonl")
world = documents("builtin:world", rows=40)
file  = texts |> finetune(base, length=64, batch=2, epochs=3, learning_rate=5e-3)
both  = texts + world |> finetune(base, length=192, batch=2, steps=4, optimizer=muon)
""")
    assert ran.result("texts")["rows"] == 40
    found = losses(ran, "file")
    assert found[-1] < found[0]
    assert ran.result("file")["steps"] == len(found) > 3
    assert ran.result("both")["steps"] == 4
    endless = bench.run('d = documents("builtin:world")\nm = d |> finetune(base, length=64, steps=1)\n', code=3)
    assert "E223" in endless.err and "rows=" in endless.err


def test_a_document_that_never_fits_is_an_error(bench):
    bench.write("wall.jsonl", [{"text": "word " * 600}])
    failed = bench.run('d = documents("wall.jsonl")\nm = d |> finetune(base, length=64, steps=1)\n', code=4)
    assert "short enough" in failed.err


def test_too_little_data_of_a_file_for_its_options_is_told(bench, tmp_path):
    # How many rows a file has, no check knows: of 4 pairs an epoch is one update.
    bench.write("four.jsonl", [{"prompt": f"Who {n}?", "a": "Me.", "b": "You.", "p": 0.9} for n in range(4)])
    bench.write("few.jsonl", [{"prompt": f"Who {n}?", "response": "Me, I think."} for n in range(4)])
    rm = 'four = prefs("four.jsonl", test=0)\nrm = four.train |> reward(base, batch=4{})\n'
    sl = 'few = replies("few.jsonl", test=0)\nsl = few.train |> finetune(base, batch=1, length=64, epochs=0.01)\n'
    failed = bench.run(rm.format(", warmup=1"), code=4)
    assert "rm (reward) failed: all updates of the run are warm-up: it has 1" in failed.err
    assert not list(bench.out.glob("cache/reward-*/ckpt"))
    limited = bench.run(rm.format(", warmup=1"), "--limit", "2", out=tmp_path)  # what is cut short may be
    assert limited.notes("rm")["warmup"] == "the run has 1 updates: 0 of them are warm-up, not 1"
    ran = bench.run(rm.format(", epochs=0.01") + sl)
    assert ran.notes("rm")["epochs"] == "0.01 of 4 pairs is not even one; one is trained on"
    assert ran.notes("sl")["epochs"].startswith("0.01 of ") and ran.notes("sl")["epochs"].endswith("is trained on")
    assert (ran.result("rm")["seen"], ran.result("sl")["seen"]) == (1, 1)


REWARD = "rm = human.train |> reward(base, batch=8, epochs=4, learning_rate=3e-3)\n"


def test_a_preference_model_is_normalised_on_its_reference_replies(bench):
    ran = bench.run(REWARD)
    found = losses(ran, "rm")
    assert found[0] == pytest.approx(np.log(2), abs=0.3) and found[-1] < found[0]
    result, prefs = ran.result("rm"), [row for row in ran.rows("human") if row["split"] == "train"]
    replies = [(row["turns"], row[side]) for row in prefs for side in ("a", "b")]
    scores = raw_scores(ran.model("rm"), PAPER, replies)
    assert scores.mean() == pytest.approx(0, abs=1e-4) and scores.std() == pytest.approx(1, abs=1e-4)
    # transformers' score head has no bias, so that the file says it elsewhere.
    config = json.loads((ran.entry("rm").dir / "hf" / "config.json").read_text())
    assert config["architectures"] == ["LlamaForSequenceClassification"] and len(config["id2label"]) == 1
    assert "score_offset" in config
    assert result["spread"] > 0 and result["pairs"] == 8 and result["steps"] == 4


def test_more_references_than_are_used(bench, monkeypatch):
    monkeypatch.setattr(reward_stage, "REFERENCE", 3)
    ran = bench.run("rm = human.train |> reward(base, batch=8, epochs=2)\n")
    prefs = [row for row in ran.rows("human") if row["split"] == "train"]
    chosen = [prefs[i] for i in np.random.default_rng(0).permutation(8)[:3]]
    scores = raw_scores(ran.model("rm"), PAPER, [(row["turns"], row[side]) for row in chosen for side in ("a", "b")])
    assert scores.mean() == pytest.approx(0, abs=1e-4) and scores.std() == pytest.approx(1, abs=1e-4)


def test_a_mixture_scores_the_weighted_sum(bench):
    ran = bench.run("""\
one = human.train |> reward(base, batch=8, epochs=4, learning_rate=3e-3)
two = human.train |> reward(base, batch=8, seed=1)
mix = 0.5 * one + 2 * two
replies = red.train |> sample(base, n=2, max_new=8)
top = replies |> best(mix)
""")
    rows = ran.rows("replies")
    pairs = [(row["turns"], row["reply"]) for row in rows]
    one, two = (raw_scores(ran.model(name), PAPER, pairs) for name in ("one", "two"))

    made = {name: artefacts.model(ran.entry(name).dir / "hf", **ran.result(name)) for name in ("one", "two")}
    mix = artefacts.mixture([(0.5, made["one"]), (2.0, made["two"])])
    np.testing.assert_allclose(Scorer(Context("best"), mix).scores(pairs), 0.5 * one + 2 * two, atol=1e-6)
    np.testing.assert_allclose(
        [row["score"] for row in ran.rows("top")], (0.5 * one + 2 * two).reshape(8, 2).max(axis=1), atol=1e-6
    )


def test_replies_that_are_scored_alike_leave_no_spread(bench, monkeypatch):
    # Equal replies are no pairs, so that these are two, and the floor is put above what a new head makes of them.
    monkeypatch.setattr(reward_stage, "SPREAD", 1e3)
    bench.write("alike.jsonl", [{"prompt": "Hello?", "a": "Yes.", "b": "Yes!", "p": 0.5}] * 4)
    ran = bench.run('alike = prefs("alike.jsonl", test=0)\nrm = alike.train |> reward(base, batch=4)\n')
    assert "hardly distinguishes replies" in ran.notes("rm")["no-spread"]
    model = ran.model("rm")
    # The floor of the spread keeps the scores of other replies in bounds too.
    other = [
        ([{"role": "human", "text": text}], reply) for text, reply in (("Hello?", "Yes."), ("Who?", "No, not me."))
    ]
    scores = raw_scores(model, PAPER, other)
    assert (abs(scores) < 0.1).all()
    assert ran.result("rm")["scale"] == reward_stage.SPREAD


def test_pairs_that_are_left_out_do_not_set_the_scale(bench):
    bench.write("mine.jsonl", [{"prompt": f"Who {n}?", "a": "Me.", "b": "You, I think.", "p": 0.9} for n in range(4)])
    bench.write("same.jsonl", [{"prompt": f"Why {n}?", "a": "So.", "b": "So.", "p": 0.5} for n in range(4)])
    ran = bench.run(
        'mine = prefs("mine.jsonl", test=0)\nsame = prefs("same.jsonl", test=0)\n'
        "one = mine.train |> reward(base, batch=4)\nother = mine.train + same.train |> reward(base, batch=4)\n"
    )
    assert ran.notes("other")["equal"].startswith("4 of 8 pairs")
    # What is trained is the same, and so is what is made of it, but for the order in which scores are added up.
    one, other = ([ran.result(name)[key] for key in ("pairs", "mean", "spread")] for name in ("one", "other"))
    assert other == pytest.approx(one, rel=1e-5)


def test_fresh_weights_and_bfloat16(bench):
    ran = bench.run("""\
fresh = model("init:tiny", seed=4, tokenizer="tokenizer")
half = model("small", dtype=bfloat16)
replies = ask.train |> sample(fresh, max_new=4)
sl = replies |> finetune(half, batch=2, steps=1)
""")
    assert len(ran.rows("replies")) == 8
    assert ran.result("sl")["dtype"] == "bfloat16"
    assert checkpoint.load(str(ran.entry("fresh").dir / "hf")).config.max_position == 1024
    assert np.isfinite(losses(ran, "sl")).all()


def test_what_is_not_finite_stops_training_and_keeps_the_checkpoint_before(bench, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "SAVE_EVERY", 0.0)
    batches = Rows.batches

    def poisoned(self, begin):
        for number, batch in enumerate(batches(self, begin), begin):
            yield batch if number != 2 else {**batch, "weights": np.full_like(batch["weights"], np.nan)}

    monkeypatch.setattr(Rows, "batches", poisoned)
    text = "x = ask.train |> sample(base, max_new=8) |> finetune(base, batch=2, steps=6)\n"
    ran = bench.run(text, out=tmp_path, code=4)
    assert "x (finetune) failed: loss is nan at step 3, and so is the gradient of each of the " in ran.err
    assert "lower the learning rate" in ran.err and "Traceback" not in ran.err
    (folder,) = (tmp_path / "cache").glob("finetune-*")
    assert {path.stem for path in (folder / "ckpt").glob("*.json")} == {"1", "2"}
    assert not (folder / "hf").exists() and not (folder / "DONE").exists()


EVERY = {"data": len(jax.devices()), "fsdp": 1, "tensor": 1}


@pytest.mark.parametrize(
    ("asked", "used"),
    [
        ({"mesh": "one", "microbatch": 2}, {"mesh": "one", "microbatch": 2}),
        ({"mesh": EVERY | {"data": 0}}, {"mesh": EVERY}),
    ],
)
def test_a_step_says_what_schedule_it_uses(asked, used):
    batch = 4 * len(jax.devices())
    ctx = Context("finetune", settings=asked, batch=batch)
    step = training.compiled(ctx, lambda axis: lambda state, batch: (state + batch["x"].sum(), {"loss": state}))
    assert ctx.schedule_used == {"microbatch": batch, **used}
    state, metrics = step(step.place(np.float32(2)), {"x": np.ones((1, batch), np.float32)})
    assert (state, metrics["loss"]) == (2 + batch, 2)
