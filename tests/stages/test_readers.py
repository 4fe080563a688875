"""Models of different tokenizers and formats in one program: text crosses from one to another, ids never do."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from cai_jax.engine import buckets
from cai_jax.learn import preference
from cai_jax.models import checkpoint, decoder
from cai_jax.models.tokenizer import Tokenizer
from cai_jax.pipeline import model_store, questions
from cai_jax.pipeline.generation import prefix_of
from cai_jax.pipeline.principles import comparison_shots, critique_shots
from cai_jax.pipeline.reward_scoring import Scorer, raw_scores
from cai_jax.pipeline.rng import Draw
from cai_jax.prompting import chat_format
from cai_jax.prompting.paper_format import PAPER, paper
from cai_jax.prompting.render import encode, text_of
from tests.stages.conftest import SMALL
from tests.support import artefacts
from tests.support.chat import write
from tests.support.contexts import Context

RULES = {"honest": "Choose what is true.", "kind": "Choose what is kind.", "brief": "Choose what is brief."}
ASKED = {"honest": "Is the reply a lie?", "kind": "Is the reply rude?"}
# A base model of the built-in vocabulary, and a chat model of another one, whose markers are plain text.
MODELS = 'plain = model("small")\nchatty = model("chatty")\n'
BOTH = pytest.mark.parametrize("policy, reader", [("plain", "chatty"), ("chatty", "plain")])


@pytest.fixture(scope="module")
def two(bench):
    """Model and format of each of the two, by name."""
    folder = bench.root / "chatty"
    write(folder, "zephyr")
    tokenizer = Tokenizer.load(folder)
    config = replace(SMALL, vocab_size=tokenizer.vocab_size, bos_id=tokenizer.bos_id, eos_ids=(tokenizer.eos_id,))
    params = decoder.init(config, jax.random.key(5))
    checkpoint.save(checkpoint.Model(config, params, tokenizer), folder)
    chatty, plain = checkpoint.load(folder), bench.model()
    assert chatty.tokenizer.vocab_size != plain.tokenizer.vocab_size
    return {"plain": (plain, PAPER), "chatty": (chatty, chat_format.format_of(chatty.tokenizer))}


def constitution(bench):
    rules = [{"name": name, "compare": text, "tags": []} for name, text in RULES.items()]
    return artefacts.constitution(bench.root / "shots.jsonl", rules)


@BOTH
def test_a_judge_reads_in_its_own_format(bench, two, policy, reader):
    ran = bench.run(
        MODELS
        + f"pairs = red.train |> sample({policy}, n=2, max_new=8)\n"
        + f"labels = pairs |> judge(rules, by={reader}, fewshots=1)\n"
        + f"thought = pairs |> judge(rules, by={reader}, reason=true, max_new=8)\n"
        + "every = labels + thought\n"
    )
    model, form = two[reader]
    shots = comparison_shots(constitution(bench), 1, form, Draw(0, 0, "judge"))
    assert ran.result("labels")["fewshots"] == shots.text
    prefix = prefix_of(model, shots.segments)
    ids, told = [], []
    for row in ran.rows("labels"):
        for judgement in row["judgements"]:
            pair = (row["b"], row["a"]) if judgement["swapped"] else (row["a"], row["b"])
            asked = shots.format.comparison(row["turns"], judgement["request"], pair)
            ids.append(encode(model.tokenizer, asked)[0])
            told.append(judgement["logprobs"])
    np.testing.assert_allclose(questions.score(model, ids, prefix).logprobs, told, atol=1e-4)
    assert {type(each["reasoning"]) for row in ran.rows("thought") for each in row["judgements"]} == {str}
    begun = text_of(form.reasoned_comparison([], "", ("", ""))).partition("Consider")[0]
    assert ran.result("thought")["fewshots"].startswith(begun) and begun.startswith("<s>") == (reader == "chatty")


@BOTH
def test_a_reviser_and_a_screener_read_in_their_own_formats(bench, answering, two, policy, reader):
    ran = bench.run(
        MODELS
        + f"seen = red.train |> sample({policy}, max_new=8) |> screen(rules, by={reader}, limit=0%)\n"
        + f"mended = seen |> revise(rules, by={reader}, rounds=1, fewshots=1, max_new=8)\n"
    )
    model, form = two[reader]
    for row in ran.rows("seen"):
        asked = [form.audit(row["turns"], row["reply"], text, swapped) for text in ASKED.values() for swapped in (0, 1)]
        yes, no = questions.audits(model, [asked]).p[:, 0].reshape(-1, 2).T
        assert row["flag"]["p"] == pytest.approx(((yes + 1 - no) / 2).max(), abs=1e-4)
        assert row["prompt"] == text_of(two[policy][1].ask(row["turns"]))
    behind = critique_shots(constitution(bench), 1, form).format
    for row in ran.rows("mended"):
        (entry,) = row["rounds"]
        asked = behind.critique(row["turns"], row["original"], ASKED[entry["principle"]])
        assert entry["prompt"].startswith(text_of(asked))
        assert ("<|user|>" in entry["prompt"]) == (reader == "chatty")


@BOTH
def test_a_preference_model_reads_text_in_its_own_format(bench, two, policy, reader):
    ran = bench.run(
        MODELS
        + f"rm = human.train |> reward({reader}, batch=8)\n"
        + f"top = red.train |> sample({policy}, n=2, max_new=8) |> best(rm)\n"
    )
    judge, form = ran.model("rm"), two[reader][1]
    rows = ran.rows("top")
    ids = [encode(judge.tokenizer, form.replied(row["turns"], row["reply"]))[0] for row in rows]
    lengths = np.array([len(each) for each in ids], np.int32)
    tokens = buckets.pad(ids, len(ids), lengths.max())
    params = {"decoder": judge.params, "head": judge.head}
    by_hand = jax.jit(preference.scores, static_argnums=1)(params, judge.config, tokens, lengths)
    np.testing.assert_allclose([row["score"] for row in rows], by_hand, atol=1e-4)


def test_a_policy_is_paid_by_a_preference_model_of_another_format(bench, two):
    ran = bench.run(
        MODELS
        + "rm = human.train |> reward(chatty, batch=8)\n"
        + "rl = plain |> ppo(rm, on=red.train, batch=8, max_new=8, steps=1)\n"
    )
    assert "another shape, tokenizer or format" in ran.notes("rl")["critic"]
    assert ran.model("rl").tokenizer.vocab_size == two["plain"][0].tokenizer.vocab_size
    kept = {"dtype": "float32", "format": "auto"}
    assert kept.items() <= ran.result("rl").items() and kept.items() <= ran.result("rm").items()
    assert ran.log("rl")[0]["score"] != 0


def test_a_mixture_scores_with_each_in_its_own_format(bench, two):
    ran = bench.run(
        MODELS
        + "one = human.train |> reward(plain, batch=8)\nother = human.train |> reward(chatty, batch=8)\n"
        + "top = red.train |> sample(plain, n=2, max_new=8) |> best(one + 2 * other)\n"
    )
    said = [(row["turns"], row["reply"]) for row in ran.rows("top")]
    by_hand = raw_scores(ran.model("one"), PAPER, said) + 2 * raw_scores(ran.model("other"), two["chatty"][1], said)
    np.testing.assert_allclose([row["score"] for row in ran.rows("top")], by_hand, atol=1e-4)


def test_a_tuned_model_keeps_the_format_that_was_chosen(bench, two):
    ran = bench.run(
        'base_like = model("chatty", format="paper")\n'
        "drawn = red.train |> sample(base_like, max_new=8)\n"
        "tuned = drawn |> finetune(base_like, steps=1, batch=4)\n"
        "again = red.train |> sample(tuned, max_new=8)\n"
    )
    assert ran.result("tuned")["format"] == "paper"
    for row in ran.rows("again"):
        assert row["prompt"] == text_of(paper("<s>").ask(row["turns"])) and row["prompt"].startswith("<s>\n\nHuman:")


def test_a_model_without_a_chat_template_is_no_chat_model(bench):
    (bench.root / "bare").mkdir()
    for file in (bench.root / "small").iterdir():
        text = file.read_bytes()
        if file.name == "tokenizer_config.json":
            text = text.replace(b"chat_template", b"no_template")
        (bench.root / "bare" / file.name).write_bytes(text)
    ran = bench.run('bare = model("bare", format=chat)\nr = red.train |> sample(bare, max_new=8)\n', code=3)
    assert "no chat template" in ran.err and 'format="paper"' in ran.err


def test_plan_shows_the_format_of_whoever_reads(bench, two):
    program = bench.program(
        MODELS
        + "drawn = red.train |> sample(chatty, n=2, max_new=8)\nsl = drawn |> finetune(chatty, steps=1)\n"
        + "labels = drawn |> judge(rules, by=plain)\nrm = labels |> reward(plain, batch=8)\n"
        + "again = red.train |> sample(sl, n=2, max_new=9) |> best(rm)\n"
        + 'fresh = model("init:tiny")\nfirst = red.train |> sample(fresh, max_new=8)\nevery = again + first\n',
        "planned.cai",
    )
    code, out, err = bench.call("plan", program, "--prompts", 1, "--out", bench.root / "unmade")
    assert code == 0, err
    shown = {part.split(" ", 1)[0]: part for part in out.split("=== ")[1:]}
    assert "<s><|user|>\n  ⟦" in shown["drawn"] and "<s><|user|>\n  ⟦" in shown["sample(red.train,"]
    assert "Human:⟦" in shown["labels"] and "<|user|>" not in shown["labels"]
    assert "Human:⟦" in shown["again"] and "Human:⟦" in shown["first"]


def test_a_scorer_and_a_screener_are_found_again_with_their_formats(bench, two):
    artefact = artefacts.model(bench.root / "chatty", format="paper")
    assert model_store.format_choices(artefact) == {"dtype": "float32", "format": "paper"}
    assert model_store.format_of(artefact) == paper("<s>") == Scorer(Context("best"), artefact).models[0][2]
