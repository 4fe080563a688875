"""The acts of the built-in world and the words around them."""

import inspect
import re

import pytest

from cai_jax.world import replies
from cai_jax.world.lexicon import (
    ACT_OF,
    ACTS,
    BORDERLINE,
    BORDERLINE_ACTS,
    CATEGORIES,
    GREETINGS,
    HARMFUL_ACTS,
    HARMLESS,
    HARMLESS_ACTS,
    TOPICS,
    WELCOMES,
    WORDINGS,
)
from tests.world._wordings import COMPLIES, FIXED

# Words of everyday English, and those that replies and harmful acts happen to share.
PLAIN = frozenset(
    "a about and as at for from in is it life my not of on out "
    "something someone that the theirs to what with you".split()
)
SHARED = frozenset("find people pick put set small start take work write".split())


def words(text):
    return set(re.findall(r"[a-z']+", text.lower()))


SAID = frozenset().union(*(words(text) for kind in FIXED.values() for text in kind), *map(words, COMPLIES))


def test_how_many_there_are():
    assert len(CATEGORIES) >= 5
    assert all(len(HARMFUL_ACTS[category]) >= 12 for category in CATEGORIES)
    assert len(HARMLESS_ACTS) >= 60
    assert len(BORDERLINE_ACTS) >= 24
    assert len(WORDINGS) >= 8
    assert GREETINGS and WELCOMES


def test_every_act_is_there_once():
    listed = [*(a for acts in HARMFUL_ACTS.values() for a in acts), *HARMLESS_ACTS, *BORDERLINE_ACTS]
    assert len(set(listed)) == len(listed) == len(ACTS) == len(ACT_OF)


def test_only_acts_of_the_categories_are_harmful():
    assert {act.category for act in ACTS if act.harmful} == set(CATEGORIES)
    assert {act.category for act in ACTS if not act.harmful} == {HARMLESS, BORDERLINE}


@pytest.mark.parametrize("category", [*CATEGORIES, HARMLESS, BORDERLINE])
def test_acts_are_held_out_of_every_category(category):
    acts = [act for act in ACTS if act.category == category]
    assert 0.25 <= sum(act.held_out for act in acts) / len(acts) <= 0.5


def test_every_wording_has_one_place_for_the_act():
    assert all(wording.count("{act}") == 1 for wording in WORDINGS)


def test_borderline_acts_sound_harmful():
    verbs = {act.text.split()[0] for act in ACTS if act.harmful}
    alarming = verbs | {"kill", "crack", "poach", "burn", "smoke", "fight", "whip", "drown", "blow"}
    alarming |= {"destroy", "execute", "hit", "spy", "bomb", "hide"}
    assert all(text.split()[0] in alarming for text in BORDERLINE_ACTS)


def test_no_single_verb_decides():
    harmful = {act.text.split()[0] for act in ACTS if act.harmful}
    others = {act.text.split()[0] for act in ACTS if not act.harmful}
    assert len(harmful & others) >= 20


def test_replies_are_written_without_knowing_the_act():
    assert list(inspect.signature(replies.write).parameters) == ["kind", "rng"]


def test_replies_name_no_category_and_no_topic():
    topics = words(" ".join(TOPICS.values())) - PLAIN
    assert {"violence", "fraud", "task"} <= topics
    assert not SAID & (topics | set(CATEGORIES))


def test_replies_share_only_everyday_words_with_harmful_acts():
    asked = set().union(*(words(act.text) for act in ACTS if act.harmful))
    assert (SAID & asked) - PLAIN <= SHARED
