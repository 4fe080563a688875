"""Messages as JSON text, which tables of plain text cannot hold otherwise."""

import csv
import json

import pytest

from cai_jax.data.conversations import read_prompts, read_replies
from cai_jax.data.preferences import read_prefs
from cai_jax.data.rows import DataError
from tests.data._rows import assistant, human, said, user, write


def as_csv(tmp_path, rows, dump=json.dumps):
    with open(tmp_path / "x.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows([{k: v if isinstance(v, str) else dump(v) for k, v in row.items()} for row in rows])
    return str(tmp_path / "x.csv")


ASKED = [{"messages": [user(f"Q{n}"), assistant("A")]} for n in range(3)]


def test_messages_as_json_text_are_messages(tmp_path):
    path, noted = as_csv(tmp_path, ASKED), []
    assert said(read_prompts(path, note=lambda *note: noted.append(note))) == human("Q0", "Q1", "Q2")
    assert noted[0][0] == "messages" and "`messages`" in noted[0][1] and "turns=text" in noted[0][1]
    assert [row["reply"] for row in read_replies(path)] == ["A"] * 3
    assert said(read_prompts(path, turns="text"))[0] == [("human", json.dumps(ASKED[0]["messages"]))]


@pytest.mark.parametrize("listed", [list, lambda message: message[0]])
def test_pairs_and_replies_as_json_text(listed, tmp_path):
    sides = {"chosen": listed([assistant("good")]), "rejected": listed([assistant("bad")])}
    (row,) = read_prefs(as_csv(tmp_path, [{"prompt": listed([user("Q")]), **sides}]))
    assert (said([row]), row["a"], row["b"]) == (human("Q"), "good", "bad")
    (row,) = read_replies(as_csv(tmp_path, [{"prompt": "Q", "completion": sides["chosen"]}]))
    assert (said([row]), row["reply"]) == (human("Q"), "good")


def as_numpy(value):
    return repr(value).replace(", {", "\n {")


@pytest.mark.parametrize("dump", [repr, as_numpy, lambda value: json.dumps(value)[:-9]])
def test_messages_as_text_that_is_no_json_are_refused(dump, tmp_path):
    with pytest.raises(DataError, match="x.csv:2: field `messages`: holds messages as text that is no JSON"):
        read_prompts(as_csv(tmp_path, ASKED, dump))
    with pytest.raises(DataError, match="x.jsonl:3: field `messages`: holds messages as text that is no JSON"):
        read_replies(write(tmp_path, [*ASKED[1:], {"messages": dump(ASKED[0]["messages"])}]))
    pairs = [{"prompt": "Q", **dict.fromkeys(("chosen", "rejected"), row["messages"])} for row in ASKED]
    with pytest.raises(DataError, match="x.csv:2: field `chosen`: holds messages as text that is no JSON"):
        read_prefs(as_csv(tmp_path, pairs, dump))


def test_text_with_json_in_it_is_text(tmp_path):
    quoted = json.dumps([user("Q")])
    assert said(read_prompts(write(tmp_path, [{"prompt": quoted}, {"prompt": "a"}]))) == human(quoted, "a")
    letter = json.dumps({"from": "Ann", "to": "Bo"})
    assert read_replies(write(tmp_path, [{"prompt": "Q", "output": letter}]))[0]["reply"] == letter
