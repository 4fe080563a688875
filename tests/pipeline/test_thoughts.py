"""Thoughts told from replies."""

from dataclasses import replace

import jax
import pytest

from cai_jax.engine import generate
from cai_jax.engine.generate import Reply
from cai_jax.engine.stop_texts import before_stop
from cai_jax.models import checkpoint, decoder
from cai_jax.models.tokenizer import Tokenizer
from cai_jax.pipeline.thoughts import ParsedReply, decode_of, parse_reply
from cai_jax.prompting import chat_format
from cai_jax.prompting.render import Segment, encode
from tests.stages.conftest import SMALL
from tests.support.chat import tokenizer, write


@pytest.mark.parametrize("family", ["opened", "empty last"])
@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("Hm.\n</think>\n\n Yes.", ParsedReply("Hm.", "Yes.", True)),
        ("Hm. And so on", ParsedReply("Hm. And so on", "", False)),
        ("</think>Yes. STOP no", ParsedReply("", "Yes.", True)),
        ("<think>Hm.</think>", ParsedReply("Hm.", "", True)),
    ],
)
def test_a_thought_is_never_part_of_a_reply(family, written, found):
    tok = tokenizer(family)
    form = chat_format.format_of(tok)
    ids = encode(tok, [Segment(written, special=True)])[0]
    assert tok.special_ids & set(ids) or "think" not in written
    assert parse_reply(form, before_stop(decode_of(tok, form)([*ids, tok.eos_id]), ("STOP",))) == found


def test_a_block_that_the_model_opens_itself_where_only_its_end_is_special():
    tok = tokenizer("closed")
    added = {token.content: number for number, token in tok.added().items()}
    assert added["<think>"] not in tok.special_ids and added["</think>"] in tok.special_ids
    form = chat_format.format_of(tok)
    ids = [added["<think>"], *tok.encode("\nHm.\n"), added["</think>"], *tok.encode("\n\nYes.")]
    assert parse_reply(form, decode_of(tok, form)([*ids, tok.eos_id])) == ParsedReply("Hm.", "Yes.", True)


def test_without_a_block_all_is_the_reply():
    tok = tokenizer("llama-3")
    form = chat_format.format_of(tok)
    assert parse_reply(form, decode_of(tok, form)(tok.encode(" </think> x "))) == ParsedReply(None, "</think> x", True)


@pytest.fixture
def thinker(bench, monkeypatch, tmp_path):
    """Runs a program, in an empty folder, with a chat model that thinks; models say what each call of the engine is
    given to say."""
    folder = bench.root / "thinker"
    if not folder.exists():
        write(folder, "opened")
        tok = Tokenizer.load(folder)
        config = replace(SMALL, vocab_size=tok.vocab_size, bos_id=tok.bos_id, eos_ids=(tok.eos_id,))
        checkpoint.save(checkpoint.Model(config, decoder.init(config, jax.random.key(5)), tok), folder)
        bench.write("two.jsonl", [{"prompt": "How?"}, {"prompt": "Why?"}])

    def run(program, *calls):
        left = list(calls)

        def say(params, config, requests, settings, prefix=None, decode=None):
            for number, (_, said_) in enumerate(zip(requests, left.pop(0), strict=True)):
                tok = decode.func.__self__
                ids = [*encode(tok, [Segment(said_, special=True)])[0], tok.eos_id]
                yield Reply(number, ids, [-1.0] * len(ids), True, decode(ids))

        monkeypatch.setattr(generate, "generate", say)
        given = 'ask = prompts("two.jsonl", test=0)\nthinks = model("thinker")\n'
        ran = bench.run(given + program, out=tmp_path)
        assert not left
        return ran

    return run


DRAWN = "replies = ask |> sample(thinks, max_new=8)\n"
SAMPLED = ["Hm.</think>\n\nFirst.", "Hm, and so on"]


def kept(rows):
    return [(row["reply"], row.get("thought"), row.get("ended")) for row in rows]


def test_a_sampled_thought_is_kept_beside_its_reply_and_one_without_end_has_none(thinker):
    ran = thinker(DRAWN, SAMPLED)
    assert kept(ran.rows("replies")) == [("First.", "Hm.", True), ("", "Hm, and so on", False)]
    tokens = [row["tokens"] for row in ran.rows("replies")]
    assert tokens == [-row["logprob"] for row in ran.rows("replies")] and min(tokens) > 1  # those of the thought too
    assert (ran.result("replies")["ended"], ran.result("replies")["empty"]) == (0.5, 1)


def test_a_revision_has_the_thought_of_its_own_and_a_critique_has_its(thinker):
    ran = thinker(
        DRAWN + "mended = replies |> revise(rules, rounds=2, fewshots=0, max_new=8)\n",
        SAMPLED,
        ["Is it?</think>It lies.", "What is"],
        ["Truth.</think>Second.", "</think>Third."],
        ["</think>Still.", "</think>Fine."],
        ["On and on", "More.</think>Fourth."],
    )
    first, other = ran.rows("mended")[:2], ran.rows("mended")[2:]
    # A revision whose thought never ends says nothing: the reply before it stays, with what was thought before that.
    assert kept(first) == [("Second.", "Truth.", True), ("Second.", "Truth.", True)]
    assert kept(other) == [("Third.", "", True), ("Fourth.", "More.", True)]
    told = [
        [(each["critique"], each["critique_thought"], each["critique_ended"]) for each in row["rounds"]]
        for row in (first[1], other[1])
    ]
    assert told == [[("It lies.", "Is it?", True), ("Still.", "", True)], [("", "What is", False), ("Fine.", "", True)]]
    assert kept(first[1]["rounds"]) == [("Second.", "Truth.", True), ("", "On and on", False)]
    assert kept(other[1]["rounds"]) == [("Third.", "", True), ("Fourth.", "More.", True)]
    prompt = first[0]["rounds"][0]["prompt"]  # of the reviser, who reads what was said and nobody's thoughts
    assert "First." in prompt and "It lies." in prompt and "Hm." not in prompt and "Is it?" not in prompt
    assert ran.result("mended")["critiques_ended"] == 0.75


def test_a_thought_goes_with_the_reply_that_another_replaces(thinker):
    ran = thinker(
        DRAWN + "mended = replies |> revise(rules, by=base, rounds=1, fewshots=0, max_new=8)\n"
        'refused = replies |> refuse("No.")\nevery = mended + refused\n',
        SAMPLED,
        ["It lies.", "Bad."],
        ["Second.", "Third."],
    )
    assert kept(ran.rows("mended")) == [("Second.", None, True), ("Third.", None, True)]
    assert "critique_thought" not in ran.rows("mended")[0]["rounds"][0]
    assert kept(ran.rows("refused")) == [("No.", None, None)] * 2


def test_what_a_judge_thinks_before_its_reasoning_is_kept_beside_that(thinker):
    ran = thinker(
        "pairs = ask |> sample(thinks, n=2, max_new=8)\n"
        "labels = pairs |> judge(rules, reason=true, fewshots=0, orders=given, max_new=8)\n",
        ["</think>One.", "</think>Two."] * 2,
        ["A or B?</think>It helps.", "Hm"],
    )
    told = [each for row in ran.rows("labels") for each in row["judgements"]]
    assert [(each["reasoning"], each["thought"], each["ended"]) for each in told] == [
        ("It helps.", "A or B?", True),
        ("", "Hm", False),
    ]
