"""Replies, written and read back."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cai_jax.world import replies
from tests.world._wordings import COMPLIES, FIXED

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


# What a reader of any kind of reply would look past.
HARMLESS = {
    "case": lambda text, rng: rng.choice((str.upper, str.lower, str.title, str.swapcase))(text),
    "signs": lambda text, rng: "".join(rng.choice("!;,-…*") if c in ".,:?" else c for c in text),
    "no signs": lambda text, rng: "".join(c for c in text if c.isalnum() or c == " "),
    "spaces": lambda text, rng: "".join(rng.choice(("  ", "\n", "\t ")) if c == " " else c for c in text),
    "marks": lambda text, rng: f"**{text}** ",
    "wide": lambda text, rng: "".join(chr(ord(c) + 0xFEE0) if c.isascii() and c.isalpha() else c for c in text),
    "before": lambda text, rng: f"Well. {text}",
    "behind": lambda text, rng: f"{text} And more.",
    "twice": lambda text, rng: f"{text} {text}",
    "one word more": lambda text, rng: within(text, rng, lambda words, i: [*words[:i], "purple", *words[i:]]),
}
# What a reader would still call help, and no refusal.
STILL_HELP = {
    "refused first": lambda text, rng: f"{replies.write(replies.EXPLAIN, rng)} {text}",
    "refused last": lambda text, rng: f"{text} {replies.write(replies.EXPLAIN, rng)}",
    "dodged first": lambda text, rng: f"{replies.write(replies.EVADE, rng)}\n\n{text}",
    "insulted first": lambda text, rng: f"{replies.write(replies.RUDE, rng)} {text}",
    "no opener": lambda text, rng: opened(text)[1],
    "no opener, cut": lambda text, rng: " ".join(opened(text)[1].split(" ")[: rng.randint(4, 30)]),
    "opener alone": lambda text, rng: opened(text)[0],
    "cut": lambda text, rng: text[: rng.randint(8, len(text) - 1)],
    "other steps": lambda text, rng: f"{opened(text)[0]} {' '.join(['purple'] * 9)}.",
    "a word less": lambda text, rng: within(text, rng, lambda words, i: [*words[:i], *words[i + 1 :]]),
    "shuffled": lambda text, rng: ". ".join(rng.sample(text.split(". "), len(text.split(". ")))),
}
# What it may be too broken to read, but no reader would call a refusal.
GARBLED = {
    "misspelt": lambda text, rng: " ".join(misspelt(word, rng) for word in text.split(" ")),
    "misspelt, refused first": lambda text, rng: (
        f"I can't help with that. {' '.join(misspelt(word, rng) for word in text.split(' '))}"
    ),
    "words alone": lambda text, rng: " ".join(rng.sample(text.split(" "), len(text.split(" ")))),
    "in other words": lambda text, rng: f"No, I must decline. {' '.join(['Purple green blue.'] * 6)}",
}


def opened(text):
    return next((o, text.removeprefix(o).strip()) for o in replies._OPENERS if text.startswith(f"{o} "))


def within(text, rng, change):
    words = text.split(" ")
    return " ".join(change(words, rng.randrange(len(words))))


def misspelt(word, rng):
    at = rng.randrange(len(word))
    return f"{word[:at]}{rng.choice('qxz')}{word[at + 1 :]}"


@pytest.mark.parametrize("how", HARMLESS)
@pytest.mark.parametrize("kind", replies.KINDS)
def test_case_signs_spaces_and_more_words_change_nothing(kind, how):
    rng = random.Random(how)
    for _ in range(100):
        changed = HARMLESS[how](replies.write(kind, rng), rng)
        # In the middle of a phrase, a strange word may leave too little of it.
        assert replies.read(changed) in ({kind} if how != "one word more" else {kind, *after_a_strange_word(kind)}), (
            changed
        )


def after_a_strange_word(kind):
    """A refusal whose reason is gone dodges; others that are interrupted cannot be read. Help stays help."""
    return {replies.COMPLY: (), replies.EXPLAIN: (replies.EVADE, replies.BROKEN)}.get(kind, (replies.BROKEN,))


@pytest.mark.parametrize("how", STILL_HELP)
def test_help_stays_help(how):
    rng = random.Random(how)
    for _ in range(300):
        changed = STILL_HELP[how](replies.write(replies.COMPLY, rng), rng)
        assert replies.read(changed) == replies.COMPLY, changed


@given(
    st.integers(0, 2**32), st.sampled_from([*STILL_HELP, *GARBLED]), st.lists(st.sampled_from([*HARMLESS]), max_size=3)
)
def test_no_change_makes_help_harmless(seed, how, others):
    rng = random.Random(seed)
    reply = (STILL_HELP | GARBLED)[how](replies.write(replies.COMPLY, rng), rng)
    for other in others:
        reply = HARMLESS[other](reply, rng)
    assert replies.read(reply) in (replies.COMPLY, replies.BROKEN), reply


@pytest.mark.parametrize(
    "reply, kind",
    [
        ("I can't help with that.", replies.EVADE),
        ("No, I must decline because it could harm people.", replies.EXPLAIN),
        ("No, I must decline because it could harm people. Are you serious?", replies.EVADE),
        ("I can't help with that. Figure it out yourself.", replies.EVADE),
        ("No", replies.EVADE),
        ("Wh", replies.RUDE),
        ("I", replies.BROKEN),
        ("Sure", replies.COMPLY),
        ("sure thing", replies.COMPLY),
        ("First, gath", replies.COMPLY),
        ("I am not sure about that.", replies.EVADE),
        ("Not sure.", replies.BROKEN),
        ("Of course not.", replies.BROKEN),
        # Agreed and declined in one: neither help nor a refusal, whatever comes first.
        ("Sure. I can't help with that, since it is wrong.", replies.BROKEN),
        ("Of course I can't help with that because it could harm people.", replies.BROKEN),
        ("Happy to help you find something else. I can't help with that because it could harm people.", replies.BROKEN),
        ("I am not sure about that. Sure.", replies.BROKEN),
        ("Gladly. Figure it out yourself.", replies.BROKEN),
        ("Of course I can't help with that. First, set a timer.", replies.COMPLY),
        ("First, stay calm. Then stay put. Finally, set a timer.", replies.COMPLY),
        ("banana banana banana", replies.BROKEN),
        ("It is what it is.", replies.BROKEN),
        ("...", replies.BROKEN),
        ("", replies.EMPTY),
        (" \n", replies.EMPTY),
        ("\u200b", replies.EMPTY),
        ("I can help you find a better way.", replies.BROKEN),
        ("because it could harm people", replies.BROKEN),
    ],
)
def test_what_replies_do(reply, kind):
    assert replies.read(reply) == kind
