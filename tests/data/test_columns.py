"""Columns of public datasets that hold a prompt or a conversation, found by themselves or named."""

import pytest

from cai_jax.data.conversations import read_prompts, read_replies
from cai_jax.data.preferences import read_prefs
from cai_jax.data.rows import DataError
from tests.data._rows import assistant, human, said, user, write


@pytest.mark.parametrize(
    ("row", "turns"),
    [
        ({"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]}, [("human", "Q")]),
        ({"conversation": [user("Q"), assistant("A")], "language": "x"}, [("human", "Q")]),
        ({"init_prompt": "Q", "init_response": "A", "critic_prompt": "C"}, [("human", "Q")]),
        ({"system": "Be kind", "prompt": "Q"}, [("system", "Be kind"), ("human", "Q")]),
        ({"system_prompt": "", "question": "Q", "response": "A"}, [("human", "Q")]),
        ({"systemPrompt": "Be kind", "question": "Q"}, [("system", "Be kind"), ("human", "Q")]),
        ({"system_message": "Be kind", "system": [], "prompt": "Q"}, [("system", "Be kind"), ("human", "Q")]),
        ({"Instruction": "Translate", "Input": "the cat", "Output": "r"}, [("human", "Translate\n\nthe cat")]),
        ({"instruction": "Translate", "input": [], "output": "r"}, [("human", "Translate")]),
        (
            {"system": "Ignored", "messages": [{"role": "system", "content": "S"}, user("Q")]},
            [("system", "S"), ("human", "Q")],
        ),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "Q"}]}]}, [("human", "Q")]),
        ({"messages": [{**user("Q"), "tool_calls": None}, {**assistant("A"), "tool_calls": []}]}, [("human", "Q")]),
        ({"prompt": user("Q"), "response": "A"}, [("human", "Q")]),
        ({"messages": [{"role": "User", "content": "Q"}, {"from": "chatgpt", "value": "A"}]}, [("human", "Q")]),
    ],
)
def test_usual_columns_are_found(row, turns, tmp_path):
    assert said(read_prompts(write(tmp_path, [row]))) == [turns]


def test_columns_that_belong_to_a_prompt_and_are_not_in_it_are_named(tmp_path):
    noted = []
    rows = [{"Behavior": "Explain", "ContextString": text} for text in ("", "A page", None)]
    assert said(read_prompts(write(tmp_path, rows), note=lambda *note: noted.append(note))) == human(*["Explain"] * 3)
    assert noted == [("ignored", "column `ContextString` says something in 1 of 3 rows, and is no part of any prompt")]


@pytest.mark.parametrize("name", ["input", "Inputs", "passage", "article", "documents"])
def test_what_stands_beside_a_prompt_is_no_silent_loss(name, tmp_path):
    row = {"prompt": "Summarise", name: "the text"}
    for read, more in (
        (read_prompts, {}),
        (read_replies, {"output": "r"}),
        (read_prefs, {"chosen": "x", "rejected": "y"}),
    ):
        noted = []
        (found,) = read(write(tmp_path, [{**row, **more}]), note=lambda *note, said=noted: said.append(note))
        assert (said([found]), found[name]) == (human("Summarise"), "the text")
        assert noted == [("ignored", f"column `{name}` says something in 1 of 1 rows, and is no part of any prompt")]


def test_later_turns_of_a_user_are_left_off_and_counted(tmp_path):
    noted = []
    path = write(tmp_path, [{"turns": ["a", "b"]}, {"turns": ["c"]}])
    assert said(read_prompts(path, note=lambda *note: noted.append(note))) == human("a", "c")
    assert [code for code, _ in noted] == ["turns"] and noted[0][1].startswith("1 of 2 rows")


def test_a_column_is_chosen_once_for_all_rows(tmp_path):
    rows = [{"prompt": None, "chosen": "Here is my answer.", "question": "other"}, {"prompt": "fine"}]
    path = write(tmp_path, rows)
    with pytest.raises(DataError, match="x.jsonl:1: field `prompt`: has no value"):
        read_prompts(path)
    assert said(read_prompts(path, malformed="skip")) == human("fine")
    empty = [{"messages": None, "prompt": "fine"}, {"messages": None, "prompt": "too"}]
    assert said(read_prompts(write(tmp_path, empty))) == human("fine", "too")


@pytest.mark.parametrize("asked", [{"ask": "How tall is it?"}, {"prompt": None}])
@pytest.mark.parametrize("turns", ["auto", "text"])
def test_a_chosen_reply_is_no_prompt(asked, turns, tmp_path):
    path = write(tmp_path, [{**asked, "chosen": "Here is my answer.", "rejected": "No"}] * 2)
    with pytest.raises(DataError, match="is known to hold a prompt") as caught:
        read_prompts(path, turns=turns)
    assert caught.value.hint == 'name it: column="…"'
    whole = [user("Q"), assistant("A")]
    assert said(read_prompts(write(tmp_path, [{**asked, "chosen": whole, "rejected": whole}]))) == human("Q")


def test_a_cluster_is_the_text_of_its_column(tmp_path):
    rows = [{"prompt": "a", "family": "x"}, {"prompt": "b", "family": 7}]
    found = read_prompts(write(tmp_path, rows), cluster="family")
    assert [(row["cluster"], row["family"]) for row in found] == [("x", "x"), ("7", 7)]
    with pytest.raises(DataError, match="x.jsonl:2: field `family`: has no value"):
        read_prompts(write(tmp_path, [rows[0], {"prompt": "b", "family": None}]), cluster="family")
    (row,) = read_prompts(write(tmp_path, [{"prompt": "a", "cluster": "mine"}]))
    assert "cluster" not in row and row["source_cluster"] == "mine"
