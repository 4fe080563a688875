"""Rows that cannot be read: named with their value, or left out and counted."""

import pytest

from cai_jax.data.conversations import read_prompts
from cai_jax.data.rows import DataError
from tests.data._rows import assistant, human, said, user, write

BAD = [
    ({"messages": [user("Q"), {"role": "tool", "content": "x"}]}, "holds a message of role 'tool'"),
    (
        {"messages": [user("Q"), {"role": "assistant", "content": None}, user("R")]},
        "message of the assistant without text",
    ),
    ({"messages": [{"role": "user", "content": [{"type": "image", "url": "x"}]}]}, "parts that are not text"),
    ({"messages": []}, "is empty"),
    ({"messages": 3}, "is of type int where text or a list of turns is expected, in 3"),
    ({"messages": [user("  ")]}, "is empty"),
    ({"messages": [user("\u200b")]}, "is empty"),
    ({"messages": [user("P"), {**assistant(""), "tool_calls": [{"id": "x"}]}, user("Q")]}, "that calls tools"),
    ({"messages": [user("P"), {**assistant("Wait"), "function_call": {"name": "f"}}, user("Q")]}, "that calls tools"),
    ("{not json", "not JSON"),
    ({"other": 1}, "field `messages`: is not among `other`"),
    ({"messages": [user("Q")], "split": 3}, "field `split`: is of type int"),
    ({"messages": [user("Q")], "system": 3}, "field `system`: is of type int where text is expected"),
    (
        {"messages": [user("Q")], "system": {"role": "system", "content": "S"}},
        "field `system`: is of type dict where text is expected",
    ),
    ({"messages": [user("Q")], "system": ["S"]}, "field `system`: is of type list where text is expected"),
]


@pytest.mark.parametrize(("row", "message"), BAD)
def test_a_bad_row_is_named_with_its_value_or_left_out_and_counted(row, message, tmp_path):
    path, noted = write(tmp_path, [{"messages": [user("fine")]}, row, {"messages": [user("too")]}]), []
    with pytest.raises(DataError) as caught:
        read_prompts(path)
    assert "x.jsonl:2" in caught.value.message and message in caught.value.message and caught.value.hint
    rows = read_prompts(path, malformed="skip", note=lambda *note: noted.append(note))
    assert said(rows) == human("fine", "too")
    assert [code for code, _ in noted] == ["malformed"]
    assert noted[0][1].startswith("1 of 3 rows cannot be read and are left out; the first: ")


@pytest.mark.parametrize("extra", [7, 0, ["a", "b"]])
def test_an_input_that_is_no_text_is_a_bad_row(extra, tmp_path):
    path = write(tmp_path, [{"instruction": "Add", "input": "1 2"}, {"instruction": "Add", "input": extra}])
    with pytest.raises(DataError, match="x.jsonl:2: field `input`: is of type .* where text is expected"):
        read_prompts(path)
    assert said(read_prompts(path, malformed="skip")) == human("Add\n\n1 2")


def test_values_are_shown_short_and_cannot_steer_a_terminal(tmp_path):
    with pytest.raises(DataError) as caught:
        read_prompts(write(tmp_path, [{"prompt": {"\u009b31m": "x" * 200}}]))
    assert caught.value.message.endswith("x…") and caught.value.message.isprintable()


def test_a_dataset_of_bad_rows_alone_is_an_error(tmp_path):
    with pytest.raises(DataError, match="none of 2 rows can be read; the first: .*x.jsonl:1"):
        read_prompts(write(tmp_path, [{"prompt": ""}, {"prompt": " "}]), malformed="skip")
    with pytest.raises(DataError, match="x.jsonl:1: not JSON"):
        read_prompts(write(tmp_path, ["{", "}"]), malformed="skip")
