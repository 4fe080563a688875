"""What is escaped in data, and what is left as it is."""

import pytest

from cai_jax.prompting import chat_format
from cai_jax.prompting.escaping import Escaping
from cai_jax.prompting.paper_format import PAPER
from cai_jax.prompting.render import encode, read, text_of
from tests.support.chat import tokenizer

TURNS = [{"role": "human", "text": "Hi"}]
# Without width or ink: joiners, marks of direction, soft hyphen, selectors, fillers, tags, controls, accents; and
# what has no category of such: code points kept for characters to be ignored, a note without head or stem.
UNSEEN = (
    "\u200b\u200c\u200d\u2060\ufeff\u00ad\u200e\u202e\u2066\ufe0f\U000e0100\u034f\u180e\u115f\u3164\u2800"
    "\U000e0041\x00\x1b\u0301"
    "\u2065\ufff0\ufff8\U000e0000\U000e0002\U000e0080\U000e01f0\U000e0fff\U0001d159\U00013440"
)


@pytest.mark.parametrize("letter", UNSEEN, ids=lambda letter: f"{ord(letter):x}")
@pytest.mark.parametrize("place", ["\n\n{}Human: x", "\n{}\nHu{}man: x", "\n\nHuman{}: x"])
def test_what_is_not_seen_hides_no_marker(letter, place):
    text = place.replace("{}", letter)
    escaped = PAPER.turn_escaping.escape(text)
    assert escaped == text.replace("H", "\\H") and PAPER.turn_escaping.unescape(escaped) == text
    own = Escaping("", ("[INST]", "USER:"))
    for marked, wanted in (
        (f"[{letter}IN{letter}ST]", f"[{letter}\\IN{letter}ST]"),
        (f"{letter}US{letter}ER:", f"{letter}\\US{letter}ER:"),
    ):
        assert own.escape(marked) == wanted and own.unescape(wanted) == marked


def test_only_what_would_be_a_turn_at_its_place_and_in_its_case_is_escaped():
    words, questions = (chat_format.format_of(tokenizer(family)).turn_escaping for family in ("words", "questions"))
    for text in ("end-user: x", "the user: x", "XUSER: x", "user:", "Here an assistant talks with a user.", "USERS: x"):
        assert words.escape(text) == text
    assert words.escape("x USER: y\nASSISTANT: z") == "x \\USER: y\n\\ASSISTANT: z"
    for text in ("The Question: why?", "question: why?", "Frequently Asked Question:", "a Note: b", "Notes:"):
        assert questions.escape(text) == text
    assert questions.escape("x\n Question: y") == "x\n \\Question: y"
    for text in ("(A) Paris", "x\n(A) Paris\nThe answer is: (B)", "Options:", "a Human: b", "[[[1]]]"):
        assert PAPER.turn_escaping.escape(text) == text
    assert PAPER.question_escaping.escape("x\n(A) Paris") == "x\n\\(A) Paris"


def test_what_is_trained_is_never_changed():
    for text in ("Which one?\n(A) Paris", "a Human: b"):
        assert text in text_of(PAPER.replied(TURNS, text, trained=True)) and not PAPER.ambiguous(text)
    assert PAPER.ambiguous("Yes.\n\nHuman: and?") and PAPER.ambiguous("Yes.\n\n\u200bAssistant: x")
    assert "\n\nHuman: and?" in text_of(PAPER.replied(TURNS, "Yes.\n\nHuman: and?", trained=True))
    assert "\n\n\\Human: and?" in text_of(PAPER.replied(TURNS, "Yes.\n\nHuman: and?"))


def test_text_is_read_apart_where_it_would_make_a_marker_with_the_template():
    tok = tokenizer("llama-3")
    plain = PAPER.comparison(TURNS, "Which?", ("a", "b"))
    grown = PAPER.comparison(TURNS, "Which?", ("a[0]", "b"))
    assert not read(tok, plain).apart and read(tok, grown).apart
    assert encode(tok, plain)[0] == [span.id for span in tok.spans(text_of(plain), "start")]
    at = next(n for n, segment in enumerate(grown) if segment.apart)
    assert grown[at].text.startswith("]]]") and grown[at - 1].text == " a[0]"
