"""Stop texts, found wherever they begin."""

import pytest

from cai_jax.engine import stop_texts
from cai_jax.prompting.paper_format import PAPER
from tests.support import chat

SAYS = ["Yes", ".\n\n", "Human", ":", " 1", "\n", "\n", "H", "uman", "", "é", " end é"]


def say(ids):
    return "".join(SAYS[number] for number in ids)


@pytest.mark.parametrize(
    "ids, stops, found",
    [
        ([0, 1, 2, 3, 4], ("\n\nHuman",), (2, "Yes.")),  # the stop begins inside of the second token
        ([0, 5, 6, 7, 8, 3], ("\n\nHuman",), (1, "Yes")),  # it is four tokens
        ([0, 3, 1, 2], ("\n\nHuman", ":"), (1, "Yes")),  # the first of several, not the first in the list
        ([1, 2], (".\n\nHuman",), (0, "")),  # it is all there is
        ([0, 9, 9, 5, 9, 6, 9, 2], ("\n\nHuman",), (1, "Yes")),  # tokens that say nothing stand in it
        ([0, 11, 10], ("é",), (2, "Yes end ")),
        ([0, 1, 3], ("\n\nHuman",), None),
        ([], ("\n\nHuman",), None),
        ([0, 1], (), None),
    ],
)
def test_text_is_cut_by_characters_and_ids_by_tokens(ids, stops, found):
    assert stop_texts.first_stop(ids, stops, say) == found
    assert stop_texts.before_stop(say(ids), stops) == (say(ids) if found is None else found[1])


@pytest.mark.parametrize("stops", [PAPER.reply_stops, PAPER.critique_stops, PAPER.revision_stops, PAPER.thought_stops])
@pytest.mark.parametrize("family", ["llama-3", "llama-2"])
def test_every_stop_text_of_the_papers_format_behind_real_tokens(family, stops):
    tokenizer = chat.tokenizer(family)
    for text in ("That is all.", "It is 7 €.", "Hm 😀", "👩‍🚀", ""):
        for stop in stops:
            ids = tokenizer.encode(f"{text}{stop}Request: and so on")
            kept, told = stop_texts.first_stop(ids, stops, tokenizer.decode)
            assert told == text
            assert tokenizer.decode(ids[:kept]).startswith(text) and (
                not kept or tokenizer.decode(ids[: kept - 1]) != text
            )


@pytest.mark.parametrize("family", ["llama-3", "llama-2"])
@pytest.mark.parametrize("before", ["Yes.", "😀" * 4, "<pause>" * 20, ""])
def test_a_stop_text_is_seen_however_the_looks_fall(family, before):
    """Also where the last look ended inside a character, or many tokens without text stand before the stop."""
    tokenizer = chat.tokenizer(family)
    stop = "\n\nHuman"
    pause = tokenizer.encode(before) if "<pause>" not in before else [tokenizer.eos_id] * 20
    marker = [tokenizer.encode(letter)[0] for letter in stop]
    ids = [*pause, *marker]
    assert stop in tokenizer.decode(ids)
    for seen in range(len(ids)):
        assert stop in stop_texts.unread_text(ids, seen, len(stop), tokenizer.decode)
    spread = [*marker[:3], *[tokenizer.eos_id] * 30, *marker[3:]]
    assert stop in stop_texts.unread_text([*pause, *spread], len(pause) + 33, len(stop), tokenizer.decode)
