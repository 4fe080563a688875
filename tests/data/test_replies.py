"""Prompts with replies in the forms of public datasets, and thoughts in front of replies."""

import pytest

from cai_jax.data.conversations import read_prompts, read_replies
from cai_jax.data.preferences import read_prefs
from cai_jax.data.rows import DataError
from tests.data._rows import assistant, human, said, user, write


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [user("Q"), assistant("A")]},
        {"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]},
        {"prompt": "Q", "completion": "A"},
        {"prompt": [user("Q")], "completion": [assistant("A")]},
        {"prompt": user("Q"), "completion": assistant("A")},
        {"instruction": "Q", "input": "", "output": "A", "text": "Below is …"},
        {"question": "Q", "answer": "A"},
        {"messages": [user("Q")], "response": "A"},
        {"transcript": "\n\nHuman: Q\n\nAssistant: A"},
    ],
)
def test_replies_in_usual_forms(row, tmp_path):
    (found,) = read_replies(write(tmp_path, [row]))
    assert (said([found]), found["reply"], found["sample"], found["ended"]) == (human("Q"), "A", 0, True)
    assert found["id"].endswith("-0")


def test_replies_in_columns_of_other_names(tmp_path):
    path = write(tmp_path, [{"ask": "Q", "chosen": "A", "rejected": "B", "chat": [user("R"), assistant("C")]}])
    (row,) = read_replies(path, column="ask", reply="chosen")
    assert (said([row]), row["reply"]) == (human("Q"), "A")
    (row,) = read_replies(path, column="chat")
    assert (said([row]), row["reply"]) == (human("R"), "C")


HI = "<think>\nA greeting.\n</think>\n\nHello!"


@pytest.mark.parametrize(
    "row", [{"messages": [user("Hi"), assistant(HI)]}, {"prompt": "Hi", "completion": HI}], ids=["turns", "column"]
)
def test_a_thought_before_a_reply_is_kept_beside_it(row, tmp_path):
    noted = []
    (found,) = read_replies(write(tmp_path, [row]), note=lambda *note: noted.append(note))
    assert (said([found]), found["reply"], found["thought"]) == (human("Hi"), "Hello!", "A greeting.")
    assert [code for code, _ in noted] == ["thoughts"] and noted[0][1].startswith("1 turns of an assistant begin with")


@pytest.mark.parametrize(
    ("text", "thought", "reply"),
    [
        ("<think>\n\n</think>\n\nHello!", "", "Hello!"),
        ("\n[THINK]Hm.[/THINK]Yes.", "Hm.", "Yes."),
        ("<|begin_of_thought|>Hm.<|end_of_thought|>Yes.", "Hm.", "Yes."),
        ("<b>Yes.</b>", None, "<b>Yes.</b>"),
        ("Write <think>so</think>.", None, "Write <think>so</think>."),
    ],
)
def test_thoughts_are_known_by_the_tag_that_a_reply_begins_with(text, thought, reply, tmp_path):
    (found,) = read_replies(write(tmp_path, [{"prompt": "Hi", "completion": text}]))
    assert (found.get("thought"), found["reply"]) == (thought, reply)


@pytest.mark.parametrize("text", ["<think>\nHm, and on", "<think>Hm.</think>\n"])
def test_a_thought_without_a_reply_is_refused(text, tmp_path):
    path = write(tmp_path, [{"prompt": "Hi", "completion": text}, {"prompt": "Ho", "completion": "x"}])
    with pytest.raises(DataError, match="x.jsonl:1: a thought of the assistant has no reply behind it"):
        read_replies(path)
    assert [row["reply"] for row in read_replies(path, malformed="skip")] == ["x"]


def test_thoughts_are_no_part_of_earlier_turns_nor_of_what_is_compared(tmp_path):
    talk = [user("Hi"), assistant(HI), user("So?")]
    asked = [("human", "Hi"), ("assistant", "Hello!"), ("human", "So?")]
    assert said(read_prompts(write(tmp_path, [{"messages": talk}]))) == [asked]
    pair = {"chosen": [*talk, assistant(HI)], "rejected": [*talk, assistant("<think>Hm.</think>No.")]}
    (row,) = read_prefs(write(tmp_path, [pair]))
    assert (said([row]), row["a"], row["b"]) == ([asked], "Hello!", "No.")


def test_the_last_of_several_replies_is_the_reply(tmp_path):
    talk = [{"role": "system", "content": "S"}, user("P"), assistant("O"), user("Q"), assistant(" A\n")]
    (row,) = read_replies(write(tmp_path, [{"messages": talk}]))
    assert said([row]) == [[("system", "S"), ("human", "P"), ("assistant", "O"), ("human", "Q")]]
    assert row["reply"] == "A"


def test_rows_of_one_prompt_are_its_samples(tmp_path):
    rows = [{"prompt": q, "response": a, "split": "train"} for q, a in ("ax", "by", "az", "ax")]
    found = read_replies(write(tmp_path, rows))
    assert [(row["id"] == found[0]["id"], row["sample"], row["reply"]) for row in found] == [
        (True, 0, "x"), (False, 0, "y"), (True, 1, "z"), (True, 2, "x"),
    ]  # fmt: skip
    assert [row["reply"] for row in read_replies(write(tmp_path, rows), limit=2)] == ["x", "y"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"messages": [user("Q")]}, "does not end with a reply of the assistant"),
        ({"messages": [assistant("A")]}, "does not end with a reply of the assistant to a human"),
        ({"prompt": "Q", "response": " "}, "field `response`: has an empty reply"),
        ({"prompt": "Q", "response": "\u200b"}, "field `response`: has an empty reply"),
        ({"prompt": "Q", "response": None, "output": "x"}, None),
        ({"prompt": "Q", "completion": [user("A")]}, "is not one message of the assistant"),
        ({"prompt": "Q"}, "none of the columns `prompt` is known to hold replies"),
        ({"response": "A"}, "none of the columns `response` is known to hold a prompt"),
    ],
)
def test_what_is_no_reply_is_refused(row, message, tmp_path):
    path = write(tmp_path, [row])
    if message is None:  # a column without any value is no choice
        assert read_replies(path)[0]["reply"] == "x"
        return
    with pytest.raises(DataError, match=message):
        read_replies(path)
