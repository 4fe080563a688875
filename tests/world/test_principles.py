"""What principles mean, and what the teacher says of replies under them."""

import itertools
import random

import pytest

from cai_jax.world import judgement, replies
from cai_jax.world.lexicon import ACT_OF, ACTS, BORDERLINE, CATEGORIES, HARMLESS, TOPICS
from cai_jax.world.principles import (
    BY_NAME,
    COMPARISON_REQUESTS,
    CRITIQUE_REQUESTS,
    MEANINGS,
    REVISION_REQUESTS,
    meaning_of,
    wordings,
)

FRAMES = {"critique": CRITIQUE_REQUESTS, "revise": REVISION_REQUESTS, "compare": COMPARISON_REQUESTS}
KINDS = (*replies.KINDS, replies.BROKEN)
ACT = {category: next(act for act in ACTS if act.category == category) for category in (*CATEGORIES, HARMLESS)}
ACT[BORDERLINE] = ACT_OF["kill a frozen process"]

# What breaks each principle, by hand: the categories with which a reply must not help; then the kinds of reply at
# fault to a harmful request; then those to a harmless one.
EVERY = "violence theft fraud spying poison"
BREAKS = {
    "harm": (EVERY, "", ""),
    "ethics": (EVERY, "", ""),
    "care": (EVERY, "evade rude", "evade rude"),
    "violence": ("violence", "", ""),
    "theft": ("theft", "", ""),
    "fraud": ("fraud", "", ""),
    "spying": ("spying", "", ""),
    "poison": ("poison", "", ""),
    "body": ("violence poison", "", ""),
    "property": ("theft fraud", "", ""),
    "trust": ("fraud spying", "", ""),
    "evasion": ("", "evade", "evade"),
    "manners": ("", "rude", "rude"),
    "respect": ("", "evade rude", "evade rude"),
    "help": ("", "", "explain evade rude broken"),
    "caution": ("", "", "explain evade"),
    "reasons": ("", "evade rude", ""),
    "overall": (EVERY, "", "explain evade rude broken"),
}


def test_how_many_there_are():
    assert len(MEANINGS) >= 16
    assert len(BY_NAME) == len(MEANINGS)
    assert set(BREAKS) == set(BY_NAME)
    for category in CATEGORIES:
        assert BY_NAME[category].harm == {category}
    assert sum(bool(meaning.faults) for meaning in MEANINGS) >= 5


@pytest.mark.parametrize("meaning", MEANINGS, ids=lambda meaning: meaning.name)
@pytest.mark.parametrize("frames", FRAMES.values(), ids=FRAMES)
def test_several_wordings_each_with_one_meaning(meaning, frames):
    texts = wordings(meaning, frames)
    assert len(set(texts)) == len(texts) >= 3
    assert all(meaning_of(text) is meaning for text in texts)
    assert all(meaning_of(f" {text}\n") is meaning for text in texts)


def test_no_two_meanings_share_a_wording():
    texts = [t for meaning in MEANINGS for frames in FRAMES.values() for t in wordings(meaning, frames)]
    assert len(set(texts)) == len(texts) == len(MEANINGS) * 3 * 9


def test_other_words_mean_nothing():
    assert meaning_of("Please be nice.") is None
    assert meaning_of("Point out whether the last reply is harmful") is None


@pytest.mark.parametrize("name", BREAKS)
def test_truth_table(name):
    meaning, (helped, at_harmful, at_harmless) = BY_NAME[name], BREAKS[name]
    for act, kind in itertools.product(ACTS, KINDS):
        if act.harmful:
            broken = (kind == "comply" and act.category in helped.split()) or kind in at_harmful.split()
        else:
            broken = kind in at_harmless.split()
        assert meaning.broken_by(act, kind) == broken, (act, kind)


def test_a_principle_about_violence_finds_nothing_wrong_with_a_forged_passport():
    violence, fraud = BY_NAME["violence"], BY_NAME["fraud"]
    passport, reply = ACT_OF["forge a passport"], replies.write("comply", random.Random(0))
    assert not violence.broken_by(passport, "comply") and fraud.broken_by(passport, "comply")
    rng = random.Random(0)
    assert judgement.critique(passport, "comply", violence, rng).endswith("it can stay.")
    assert judgement.revision(passport, reply, "comply", violence, rng) == reply
    assert judgement.critique(passport, "comply", fraud, rng).endswith("it should change.")
    assert replies.read(judgement.revision(passport, reply, "comply", fraud, rng)) == "explain"


@pytest.mark.parametrize("meaning", MEANINGS, ids=lambda meaning: meaning.name)
def test_the_ideal_reply_keeps_every_principle(meaning):
    for act in ACTS:
        assert judgement.ideal(act) == ("explain" if act.harmful else "comply")
        assert not meaning.broken_by(act, judgement.ideal(act))


@pytest.mark.parametrize("meaning", MEANINGS, ids=lambda meaning: meaning.name)
def test_revision_is_ideal_where_the_principle_is_broken_and_the_reply_itself_where_not(meaning):
    rng = random.Random(0)
    for act, kind in itertools.product(ACT.values(), replies.KINDS):
        reply = replies.write(kind, rng)
        revised = judgement.revision(act, reply, kind, meaning, rng)
        if meaning.broken_by(act, kind):
            assert replies.read(revised) == judgement.ideal(act)
        else:
            assert revised == reply


@pytest.mark.parametrize("meaning", MEANINGS, ids=lambda meaning: meaning.name)
def test_critique_says_what_is_asked_what_is_done_and_whether_it_may(meaning):
    rng = random.Random(0)
    for act, kind in itertools.product(ACT.values(), replies.KINDS):
        topic, does, rule, verdict = judgement.critique(act, kind, meaning, rng).split(". ", 3)
        assert rule == f"The rule is about {meaning.concern}"
        assert topic.endswith(TOPICS[act.category])
        assert ("stay" in verdict) != ("change" in verdict)
        assert ("change" in verdict) == meaning.broken_by(act, kind)
        assert does.removeprefix("The reply ") in judgement._DOES[kind]


@pytest.mark.parametrize(
    "name, act, kinds, expected",
    [
        ("harm", "forge a passport", ("explain", "comply"), 1.0),
        ("harm", "forge a passport", ("comply", "rude"), 0.0),
        ("harm", "forge a passport", ("evade", "explain"), 0.5),
        ("harm", "forge a passport", ("comply", "comply"), 0.5),
        ("violence", "forge a passport", ("comply", "explain"), 0.5),
        ("violence", "stab a rival with a knife", ("comply", "explain"), 0.0),
        ("harm", "sell lemonade in the park", ("comply", "explain"), 0.5),
        ("caution", "sell lemonade in the park", ("comply", "explain"), 1.0),
        ("caution", "kill a frozen process", ("evade", "comply"), 0.0),
        ("caution", "forge a passport", ("comply", "explain"), 0.5),
        ("help", "sell lemonade in the park", ("rude", "comply"), 0.0),
        ("help", "forge a passport", ("rude", "comply"), 0.5),
        ("reasons", "forge a passport", ("explain", "evade"), 1.0),
        ("reasons", "forge a passport", ("comply", "evade"), 1.0),
        ("reasons", "sell lemonade in the park", ("evade", "comply"), 0.5),
        ("manners", "kill a frozen process", ("rude", "evade"), 0.0),
        ("overall", "forge a passport", ("comply", "rude"), 0.0),
    ],
)
def test_preferences(name, act, kinds, expected):
    meaning = BY_NAME[name]
    assert judgement.preference(ACT_OF[act], kinds, meaning) == expected
    assert judgement.preference(ACT_OF[act], kinds[::-1], meaning) == 1.0 - expected


def test_reasoning_ends_with_the_preference():
    rng = random.Random(0)
    for meaning, act in itertools.product(MEANINGS, ACT.values()):
        for kinds in itertools.product(replies.KINDS, repeat=2):
            said = judgement.reasoning(act, kinds, meaning, rng)
            better = judgement.preference(act, kinds, meaning)
            assert said.endswith({1.0: " A is better.", 0.0: " B is better.", 0.5: " Both are alike."}[better])
            for letter, kind in zip("AB", kinds, strict=True):
                does = next(s for s in said.split(". ") if s.startswith(f"Reply {letter} "))
                assert does.rstrip(".").endswith("breaks the rule") == meaning.broken_by(act, kind)
