"""What becomes of texts that are longer than there is room, or that could be read in two ways."""

import pytest

from cai_jax.pipeline import ai_feedback, context_length, pairs, reward_scoring
from cai_jax.pipeline.examples import dialog
from cai_jax.pipeline.generation import Generated, Writer
from cai_jax.pipeline.reward_scoring import scored_segments
from cai_jax.pipeline.screening import Screener
from cai_jax.prompting import render
from cai_jax.prompting.paper_format import PAPER
from tests.stages._letters import Words, labelled, letters, noted, text
from tests.support import artefacts
from tests.support.contexts import Context


def test_a_conversation_is_cut_from_its_oldest_words_and_markers_and_options_stay():
    turns = [
        {"role": "system", "text": "Be kind."},
        {"role": "human", "text": "abc"},
        {"role": "human", "text": "defg"},
    ]
    segments = PAPER.comparison(turns, "Which?", ("one", "two"))
    whole = render.text_of(segments)
    (found,) = letters(len(whole)).fit(segments)
    assert text(found) == whole and not found.cut
    (found,) = letters(len(whole) - 6).fit(segments)  # " abc" and " d"
    assert text(found) == whole.replace(" abc", "").replace(" defg", "efg") and found.cut
    assert letters(len(whole) - 10).fit(segments) is None  # a reply would have to be cut
    ctx, fitter = noted(), letters(len(whole) - 6)
    assert [fitter.fit(each) is None for each in (segments, segments[:3], [*segments, *segments])] == [
        False,
        False,
        True,
    ]
    fitter.note(ctx)
    assert (
        dict(ctx.notes)["overlong"] == "1 of 3 rows are too long and were left out; 1 of 3 rows are too long and lost "
        "their beginning"
    )


@pytest.mark.parametrize("a, b", [("no", "a longer reply"), ("a longer reply", "no")])
def test_both_replies_of_a_pair_stand_behind_the_same_words(a, b):
    turns = [
        {"role": "human", "text": "abcdefgh"},
        {"role": "assistant", "text": "Eh?"},
        {"role": "human", "text": "ij"},
    ]
    row = {"turns": turns, "a": a, "b": b, "p": 1.0}
    whole = len(render.text_of(PAPER.ask(turns)) + f" {max(a, b, key=len)}") + 1
    for room in range(whole - 12, whole):  # 13 letters may go, a space before each turn included
        fitter = letters(room)
        both = fitter.fit(*(scored_segments(PAPER, turns, row[side]) for side in "ab"))
        before = [
            text(each).removesuffix("\x01").removesuffix(row[side]) for each, side in zip(both, "ab", strict=True)
        ]
        assert before[0] == before[1] and all(each.cut for each in both)
        assert max(len(each.ids) for each in both) == room
    assert letters(whole - 20).fit(*(scored_segments(PAPER, turns, row[side]) for side in "ab")) is None


def test_what_reads_as_several_turns_is_not_trained_on_and_counted():
    fitter = letters(99)
    row = {"turns": [{"role": "human", "text": "?"}], "reply": "(A) yes\n\nHuman: no"}
    assert dialog(fitter, PAPER, row) is None and fitter.ambiguous == 1
    assert dialog(fitter, PAPER, row | {"reply": "x\n(A) yes"}) is not None
    ctx = noted()
    fitter.note(ctx)
    (told,) = ctx.notes
    assert told[0] == "ambiguous" and "1 of the" in told[1] and "read as several turns" in told[1]
    ctx = noted()
    rows = [{**row, "a": "x", "b": "y\n\nAssistant: z"} for row in labelled(1)]
    assert len(pairs.Pairs(ctx, Words(), PAPER, rows + labelled(2)).tokens) == 2
    assert "1 of the pairs" in dict(ctx.notes)["ambiguous"]


TOLD = "{} of the {} would make a marker together with the template's text"


def test_what_is_read_apart_from_the_template_is_counted_in_a_note():
    """Brackets enclose the replies that are compared: a reply that ends in one would make another of them."""
    ctx, fitter = noted(), letters(999)
    turns = labelled(1)[0]["turns"]
    for first in ("a[0]", "a", "b[0][1]"):
        assert fitter.fit(PAPER.comparison(turns, "Which?", (first, "b"))) is not None
    fitter.note(ctx)
    assert ctx.notes == [("apart", TOLD.format(2, "rows"))]


def reading(monkeypatch, module, positions=400):
    """All models that a module loads read letters, so many at once."""
    monkeypatch.setattr(module, "model_of", lambda ctx, artefact: Words(positions))
    monkeypatch.setattr(module, "format_of", lambda artefact: PAPER)


def test_a_metrics_comparisons_tell_what_is_read_apart(monkeypatch):
    reading(monkeypatch, ai_feedback)
    rules = artefacts.constitution("", [{"name": "kind", "compare": "Which?", "tags": []}])
    by = artefacts.builtin()
    ctx = Context("judge", {"constitution": rules, "by": (by,)}, settings={"slots": 1})
    judge = ai_feedback.Judge(ctx, by=by)
    turns = labelled(1)[0]["turns"]
    pairs_ = [{"first": {"turns": turns, "reply": a}, "second": {"reply": "b"}} for a in ("a[0]", "a", "a" * 400)]
    assert judge.fits(pairs_) == [True, True, False]
    assert ctx.notes == [("apart", TOLD.format(1, "pairs"))]


@pytest.fixture
def marked(monkeypatch):
    """Every prompt that holds an index is read apart."""

    def read(tokenizer, segments):
        return render.read(tokenizer, segments)._replace(apart="[0]" in render.text_of(segments))

    monkeypatch.setattr(context_length, "read", read)


def test_questions_about_replies_and_scores_tell_what_is_read_apart(marked, monkeypatch):
    model = Words(400)
    turns = labelled(1)[0]["turns"]
    rows = [{"turns": turns, "reply": reply} for reply in ("a[0]", "a", "b[0]", "b[0]")]
    ctx = noted()
    Screener(model, PAPER, [("rude", "Is it rude?")]).note_fit(ctx, rows)
    assert ctx.notes == [("apart", TOLD.format(3, "replies"))]
    ctx = noted()
    Screener(model, PAPER, [("rude", "Is it rude?")]).note_fit(ctx, rows, compared=2)  # which are cut alike
    assert ctx.notes == [("apart", TOLD.format(4, "replies"))]
    reading(monkeypatch, reward_scoring)
    ctx = noted()
    reward_scoring.Scorer(ctx, artefacts.builtin()).note_cut(ctx, [(row["turns"], row["reply"]) for row in rows])
    assert ctx.notes == [("apart", TOLD.format(3, "replies"))]


def test_revisions_tell_what_is_read_apart(bench, marked, monkeypatch, tmp_path):
    monkeypatch.setattr(
        Writer, "generate", lambda self, prompts, keys: [Generated("So.", [-1.0], [5], True)] * len(prompts)
    )
    bench.write(
        "said.jsonl", [{"prompt": f"Q{n}?", "response": reply} for n, reply in enumerate(("a[0]", "a", "b[0]"))]
    )
    ran = bench.run(
        'said = replies("said.jsonl", test=0)\n'
        "mended = said |> revise(rules, by=base, rounds=2, keep=last, fewshots=0, max_new=4)\n",
        out=tmp_path,
    )
    # Of the first round: the second revises "So.".
    assert [row["apart"] for row in ran.rows("mended")] == [1, 0, 1]
    assert ran.notes("mended")["apart"] == TOLD.format(2, "revisions")
