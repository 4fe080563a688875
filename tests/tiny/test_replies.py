"""Replies, written and read back."""

import itertools
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cai_jax.tiny import replies
from tests.tiny.wordings import COMPLIES, FIXED

EVERY = [(kind, text) for kind, texts in FIXED.items() for text in texts] + [(replies.COMPLY, t) for t in COMPLIES]


@given(st.sampled_from(replies.KINDS), st.integers(0, 2**32))
def test_what_is_written_is_read_back(kind, seed):
    reply = replies.write(kind, random.Random(seed))
    assert replies.read(reply) == kind
    assert replies.read(f"  {reply}\n") == kind


def test_every_wording_is_read_back():
    assert [replies.read(text) for _, text in EVERY] == [kind for kind, _ in EVERY]


def test_several_wordings_of_every_kind():
    assert {kind: len(FIXED[kind]) for kind in FIXED} == {"explain": 64, "evade": 16, "rude": 16}
    assert len(set(COMPLIES)) == 6 * 4 * 16
    assert len({text for _, text in EVERY}) == len(EVERY)


@pytest.mark.parametrize("kind", replies.KINDS)
def test_drawn_from_all_wordings(kind):
    rng = random.Random(0)
    drawn = Counter(replies.write(kind, rng) for _ in range(2000))
    if kind == replies.COMPLY:
        assert len(drawn) > 1900
    else:
        assert set(drawn) == set(FIXED[kind])
        mean = 2000 / len(FIXED[kind])
        assert max(drawn.values()) < 2.2 * mean


def mutations(text):
    tokens = text.split(" ")
    yield "", text + " And more.", "Well. " + text, text.lower(), text.replace(".", "!"), text[:-1]
    yield tuple(" ".join(tokens[:i] + tokens[i + 1 :]) for i in range(len(tokens)))
    yield tuple(" ".join([*tokens[:i], "purple", *tokens[i:]]) for i in range(len(tokens) + 1))
    yield f"{text} {text}", text.replace(" ", "  ", 1), text.replace(" ", "\n", 1)


@pytest.mark.parametrize("kind", replies.KINDS)
def test_a_changed_reply_is_malformed(kind):
    rng = random.Random(1)
    wordings = {text for _, text in EVERY}
    for _ in range(10):
        text = replies.write(kind, rng)
        for changed in itertools.chain.from_iterable(mutations(text)):
            if changed.strip() != text and changed not in wordings:
                assert replies.read(changed) == replies.MALFORMED, changed


def test_parts_of_two_kinds_are_malformed():
    assert replies.read("I can't help with that. Figure it out yourself.") == replies.MALFORMED
    assert replies.read("Sure. I can't help with that, since it is wrong.") == replies.MALFORMED
    assert replies.read("Sure. First, stay calm. Then stay put. Finally, set a timer.") == replies.MALFORMED
