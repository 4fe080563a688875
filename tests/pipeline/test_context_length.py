"""What becomes of texts that are longer than there is room, or that could be read in two ways."""

import pytest

from cai_jax.pipeline import pairs
from cai_jax.pipeline.examples import dialog
from cai_jax.pipeline.reward_scoring import scored_segments
from cai_jax.prompting import render
from cai_jax.prompting.paper_format import PAPER
from tests.stages.toy import Words, labelled, letters, noted, text


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
        ctx.notes["overlong"] == "1 of 3 rows are too long and were left out; 1 of 3 rows are too long and lost "
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
    assert "1 of the" in ctx.notes["ambiguous"] and "read as several turns" in ctx.notes["ambiguous"]
    ctx = noted()
    rows = [{**row, "a": "x", "b": "y\n\nAssistant: z"} for row in labelled(1)]
    assert (
        len(pairs.Pairs(ctx, Words(), PAPER, rows + labelled(2)).tokens) == 2
        and "1 of the pairs" in ctx.notes["ambiguous"]
    )
