import hashlib
import json

import pytest

from cai_jax.data.rows import (
    asked_hash,
    content_hash,
    first,
    hash_split,
    merged,
    messages,
    numbered,
    text_hash,
    transcript,
)
from tests.data._rows import ABC


def prompt(text):
    return {"turns": [{"role": "human", "text": text}], "split": "train"}


def test_ids_count_repeated_conversations():
    rows = numbered([prompt("a"), prompt("b"), prompt("a")])
    digest = hashlib.blake2b(json.dumps([["human", "a"]]).encode(), digest_size=8).hexdigest()
    assert [row["id"] for row in rows] == [
        f"{digest}-0",
        f"{text_hash(prompt('b')['turns'])}-0",
        f"{digest}-1",
    ]


def test_the_role_is_part_of_a_conversation():
    human = [{"role": "human", "text": "x"}]
    assert text_hash(human) != text_hash([{"role": "assistant", "text": "x"}])


def test_hash_split_takes_the_fraction_asked_for_and_only_grows_with_it():
    turns = [prompt(f"question {i}")["turns"] for i in range(2000)]
    fifth = {i for i, t in enumerate(turns) if hash_split(t, 0.2) == "test"}
    half = {i for i, t in enumerate(turns) if hash_split(t, 0.5) == "test"}
    # Binomial: mean 400, standard deviation 18.
    assert 310 < len(fifth) < 490
    assert fifth < half
    assert all(hash_split(t, 0.0) == "train" for t in turns)
    assert all(hash_split(t, 1.0) == "test" for t in turns)


def test_limit_counts_each_split_by_itself():
    rows = [{"split": split, "n": n} for n, split in enumerate(["train", "train", "test", "train", "test"])]
    assert [row["n"] for row in first(rows, 1)] == [0, 2]
    assert [row["n"] for row in first(rows, 2)] == [0, 1, 2, 4]
    assert first(rows, None) == rows


def test_transcript():
    assert transcript("\n\nHuman: Hi\n\nthere \n\nAssistant: Hello.\n\nHuman: Bye") == [
        {"role": "human", "text": "Hi\n\nthere"},
        {"role": "assistant", "text": "Hello."},
        {"role": "human", "text": "Bye"},
    ]


def test_a_marker_inside_a_line_is_text():
    assert transcript("\n\nHuman: I said Human: be quiet") == [{"role": "human", "text": "I said Human: be quiet"}]


def test_neighbours_of_one_role_are_joined():
    turns = transcript("\n\nHuman: One\n\nHuman: Two\n\nAssistant: Three")
    assert turns == [{"role": "human", "text": "One\n\nTwo"}, {"role": "assistant", "text": "Three"}]
    assert merged([]) == []


@pytest.mark.parametrize("text", ["", "hello", "\n\nAssistant: Hi", "preface\n\nHuman: Hi"])
def test_what_is_no_transcript_is_refused(text):
    with pytest.raises(ValueError, match="begins with 'Human:'"):
        transcript(text)


def test_messages_in_three_dialects():
    expected = [{"role": "human", "text": "Q"}, {"role": "assistant", "text": "A"}]
    assert messages([{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]) == expected
    assert messages([{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]) == expected
    assert messages(expected) == expected


def test_a_systems_message_stands_before_all_others():
    asked = [{"role": "user", "content": "Q"}]
    assert messages([{"role": "system", "content": "Be nice"}, *asked]) == [
        {"role": "system", "text": "Be nice"},
        {"role": "human", "text": "Q"},
    ]
    with pytest.raises(ValueError, match="can only stand before them"):
        messages([*asked, {"role": "system", "content": "Be nice"}])


@pytest.mark.parametrize("role", ["tool", None, 3, ["human"], {"human": 1}])
def test_other_roles_are_refused(role):
    with pytest.raises(ValueError, match="holds a message of role"):
        messages([{"role": role, "content": "Q"}])


def test_conversations_that_differ_in_case_space_or_form_are_one():
    def turns(text):
        return [{"role": "human", "text": text}]

    assert content_hash(turns("How  do I\nbake\u00a0it?")) == content_hash(turns(" how do i bake it? "))
    assert content_hash(turns("Cafe\u0301 \ufb01ve")) == content_hash(turns("CAF\u00c9 five"))
    assert content_hash(turns("a b")) != content_hash(turns("ab"))
    assert content_hash(turns("a")) != content_hash([{"role": "assistant", "text": "a"}])
    assert all(hash_split(turns(f"Q {n}"), 0.5) == hash_split(turns(f"q  {n}\n"), 0.5) for n in range(50))


def test_a_systems_turn_and_letters_that_nobody_sees_make_no_other_question():
    asked = [{"role": "human", "text": "Question 3?"}]
    led = [{"role": "system", "text": "Be nice."}, *asked]
    hidden = [{"role": "human", "text": "\ufeffQuest\u00adion \u200b3?"}]
    assert asked_hash(asked) == asked_hash(led) == asked_hash(hidden) != asked_hash(ABC)
    # The splits of a dataset are by the older hash, and stay as they were.
    assert len({content_hash(turns) for turns in (asked, led, hidden)}) == 3
