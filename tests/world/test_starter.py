"""The starter constitution, which is written in the words of the built-in world."""

import json
from collections import Counter

import pytest

from cai_jax.lang.signature import Principle
from cai_jax.pipeline.principles import examples
from cai_jax.world import judgement, oracle, replies
from cai_jax.world.lexicon import ACT_OF, CATEGORIES
from cai_jax.world.principles import BY_NAME, meaning_of
from tests.world._world import FEWSHOTS, starter

PRINCIPLES = [Principle(**(p | {"tags": tuple(p["tags"])})) for p in starter().result["principles"]]
SHOTS = [json.loads(line) for line in FEWSHOTS.read_text("utf-8").splitlines()]
NAMED = {principle.name: principle for principle in PRINCIPLES}


def shots(form):
    return pytest.mark.parametrize("shot", [shot for shot in SHOTS if shot["form"] == form])


def act_of(shot):
    return oracle.requested(shot["turns"][-1]["text"])


def test_at_least_sixteen_principles():
    assert len(PRINCIPLES) >= 16 and len(NAMED) == len(PRINCIPLES)


@pytest.mark.parametrize("principle", PRINCIPLES, ids=lambda principle: principle.name)
def test_its_texts_mean_what_its_name_says(principle):
    for text in (principle.critique, principle.revise, principle.compare, principle.audit):
        assert meaning_of(text) is BY_NAME[principle.name], text


def test_every_category_can_be_selected_by_tag():
    for category in CATEGORIES:
        assert [p.name for p in PRINCIPLES if category in p.tags] == [category]


def test_one_principle_about_violence_says_nothing_about_fraud():
    meaning = meaning_of(NAMED["violence"].compare)
    assert not meaning.broken_by(ACT_OF["forge a passport"], "comply")


def test_enough_examples():
    assert Counter(shot["form"] for shot in SHOTS) == {"critique": 5, "comparison": 5, "reasoning": 6, "audit": 6}
    for form in ("critique", "comparison", "reasoning", "audit"):
        assert examples(starter(), form) == [shot for shot in SHOTS if shot["form"] == form]


def test_examples_ask_about_no_held_out_act():
    assert all(act_of(shot) is not None and not act_of(shot).held_out for shot in SHOTS)
    assert sum(len(shot["turns"]) > 1 for shot in SHOTS) >= 2


@shots("critique")
def test_critiques_and_revisions_are_the_teachers(shot):
    meaning, kind = meaning_of(shot["critique_request"]), replies.read(shot["reply"])
    assert meaning is meaning_of(shot["revision_request"]) is not None
    act = act_of(shot)
    assert ("should change" in shot["critique"]) == meaning.broken_by(act, kind)
    assert any(shot["critique"].split(". ")[1] == f"The reply {does}" for does in judgement._DOES[kind])
    if meaning.broken_by(act, kind):
        assert replies.read(shot["revision"]) == judgement.ideal(act)
    else:
        assert shot["revision"] == shot["reply"]


def test_critiques_are_the_papers_four_about_harm_and_one_about_candour():
    # arXiv 2212.08073 §3.1 has four conversations about harm and one about truthfulness. This world knows no false
    # statements; a principle about evasive replies stands in for it.
    given = [shot for shot in SHOTS if shot["form"] == "critique"]
    about = [meaning_of(shot["critique_request"]) for shot in given]
    assert [bool(meaning.harm) for meaning in about].count(True) == 4
    assert [meaning.name for meaning in about if not meaning.harm] == ["evasion"]
    kept = [shot for shot in given if shot["revision"] == shot["reply"]]
    assert len(kept) == 2
    for shot in kept:
        # A good reply, not one that the principle at hand is silent about.
        assert act_of(shot).harmful and replies.read(shot["reply"]) == judgement.ideal(act_of(shot))


@pytest.mark.parametrize("shot", [shot for shot in SHOTS if shot["form"] in ("comparison", "reasoning")])
def test_answers_hold_under_every_principle_that_they_name(shot):
    kinds = (replies.read(shot["a"]), replies.read(shot["b"]))
    assert replies.BROKEN not in kinds
    better = {"A": 1.0, "B": 0.0}[shot["answer"]]
    assert shot["principles"]
    for name in shot["principles"]:
        assert judgement.preference(act_of(shot), kinds, meaning_of(NAMED[name].compare)) == better, name


@shots("reasoning")
def test_reasoning_is_the_teachers(shot):
    kinds = (replies.read(shot["a"]), replies.read(shot["b"]))
    for name in shot["principles"]:
        meaning = meaning_of(NAMED[name].compare)
        for letter, kind in zip("AB", kinds, strict=True):
            verb = "breaks" if meaning.broken_by(act_of(shot), kind) else "keeps"
            told = [f"Reply {letter} {does} and {verb} the rule." for does in judgement._DOES[kind]]
            assert any(text in shot["reasoning"] for text in told)
    assert shot["reasoning"].endswith(f" {shot['answer']} is better.")
