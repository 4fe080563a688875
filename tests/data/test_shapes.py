"""Rows of public datasets: conversations, prompts with replies, pairs, and rows that are none of these."""

import csv
import json

import pytest

from cai_jax.data.conversations import read_prompts, read_replies
from cai_jax.data.preferences import Unclear, read_prefs
from cai_jax.data.rows import DataError, asked_hash, content_hash, hash_split, is_transcript, transcript


def write(tmp_path, rows, name="x.jsonl"):
    path = tmp_path / name
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return str(path)


def said(rows):
    return [[(turn["role"], turn["text"]) for turn in row["turns"]] for row in rows]


def human(*texts):
    return [[("human", text)] for text in texts]


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


ABC = [{"role": "human", "text": "a"}, {"role": "assistant", "text": "b"}, {"role": "human", "text": "c"}]


# -- transcripts


@pytest.mark.parametrize(
    "text",
    [
        "\n\nHuman: a\n\nAssistant: b\n\nHuman: c",
        "\r\n\r\nHuman: a\r\n\r\nAssistant: b\r\n\r\nHuman: c",
        "Human: a\nAssistant: b\nHuman: c",
        "Human: a\n\nAssistant: b\n\n Human: c",
        "human: a\n \t\nASSISTANT: b\n\n\nHuman : c",
        "\rHuman: a\rAssistant: b\rHuman: c",
        *(f"{end * 2}Human: a{end * 2}Assistant: b{end * 2}Human: c" for end in "\u2028\u2029\x85\v\f\x1e"),
        "\ufeff\n\nHuman: a\n\n\ufeffAssistant: b\n\n \u200b Human: c",
        "\u200bHuman: a\n\u2060Assistant: b\n\u00adHuman: c",
    ],
)
def test_transcripts_with_other_line_breaks(text):
    assert transcript(text) == ABC and is_transcript(text)


def test_a_marker_behind_a_mere_line_break_among_others_is_refused():
    with pytest.raises(ValueError, match="behind an empty line and others behind a mere line break"):
        transcript("\n\nHuman: Read this:\nHuman: hi\n\nAssistant: b")


def test_an_assistant_within_a_line_only_is_refused():
    with pytest.raises(ValueError, match="'Assistant:' within a line"):
        transcript("Human: a Assistant: b Human: c")
    quoted = "Human: a Assistant: b\n\nAssistant: c"
    assert [turn["text"] for turn in transcript(quoted)] == ["a Assistant: b", "c"]


@pytest.mark.parametrize(
    "text",
    ["- Human: a\n\n- Assistant: b", "Human: a", "I am Human: a\n\nAssistant: b", "Assistant: a\n\nHuman: b", "", 3],
)
def test_what_only_looks_like_a_transcript(text):
    assert not is_transcript(text)


def test_text_is_text_unless_the_column_says_transcripts(tmp_path):
    quoted = "Human: Who is there?\n\nAssistant: Me.\n\nHuman: Say what comes next."
    path, noted = write(tmp_path, [{"question": quoted}]), []
    rows = read_prompts(path, column="question", note=lambda *note: noted.append(note))
    assert said(rows) == human(quoted)
    assert noted[0][0] == "transcripts" and "turns=transcript" in noted[0][1]
    (turns,) = said(read_prompts(path, turns="transcript"))
    assert [role for role, _ in turns] == ["human", "assistant", "human"]
    with pytest.raises(DataError, match="x.jsonl:1: field `question`: is not a transcript"):
        read_prompts(write(tmp_path, [{"question": "plain"}]), turns="transcript")


@pytest.mark.parametrize(("marked", "turns"), [(3, 3), (1, 1)])
def test_known_columns_are_transcripts_if_most_of_their_rows_are(marked, turns, tmp_path):
    rows = [{"transcript": "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: d"}] * marked
    path, noted = write(tmp_path, [*rows, {"transcript": "Just text"}, {"transcript": "More text"}]), []
    found = read_prompts(path, malformed="skip", note=lambda *note: noted.append(note[0]))
    assert len(said(found)[0]) == turns
    assert noted == (["transcripts", "malformed", "replies"] if turns == 3 else [])
    assert said(read_prompts(path, turns="text"))[0][0][1].startswith("Human: a")


def test_a_reply_that_quotes_a_dialogue_stays_a_reply(tmp_path):
    quoted = "Human: Hi\n\nAssistant: Hello"
    path = write(tmp_path, [{"prompt": "Write a dialogue", "chosen": quoted, "rejected": "No"}])
    (row,) = read_prefs(path)
    assert (said([row]), row["a"], row["b"]) == (human("Write a dialogue"), quoted, "No")


# -- columns


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


# -- messages as text, which tables of plain text cannot hold otherwise


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


# -- rows that cannot be read

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


# -- pairs


@pytest.mark.parametrize(
    ("row", "turns"),
    [
        # TRL's page "Dataset formats": explicit and implicit prompt, standard and conversational.
        ({"prompt": "Q", "chosen": "good", "rejected": "bad"}, 1),
        ({"chosen": [user("Q"), assistant("good")], "rejected": [user("Q"), assistant("bad")]}, 1),
        ({"prompt": [user("Q")], "chosen": [assistant("good")], "rejected": [assistant("bad")]}, 1),
        ({"prompt": "Q", "chosen": [user("Q"), assistant("good")], "rejected": [user("Q"), assistant("bad")]}, 1),
        ({"prompt": "Q", "chosen": [assistant("good")], "rejected": [assistant("bad")]}, 1),
        ({"prompt": [user("Q")], "chosen": assistant("good"), "rejected": assistant("bad")}, 1),
        (
            {  # as LLaMA-Factory has them
                "conversations": [{"from": "human", "value": "Q"}],
                "chosen": {"from": "gpt", "value": "good"},
                "rejected": {"from": "gpt", "value": "bad"},
            },
            1,
        ),
        (
            {
                "prompt": [user("P"), assistant("O"), user("Q")],
                "chosen": [assistant("good")],
                "rejected": [assistant("bad")],
            },
            3,
        ),
        (
            {
                "prompt": [user("P")],
                "chosen": [assistant("O"), user("Q"), assistant("good")],
                "rejected": [assistant("O"), user("Q"), assistant("bad")],
            },
            3,
        ),
    ],
)
def test_pairs_in_the_forms_of_trl(row, turns, tmp_path):
    (found,) = read_prefs(write(tmp_path, [row]))
    assert (found["a"], found["b"], found["p"]) == ("good", "bad", 1.0)
    assert len(found["turns"]) == turns and found["turns"][-1] == {"role": "human", "text": "Q"}


def test_replies_beside_a_prompt_that_is_a_transcript(tmp_path):
    """The form of rm-static, whose prompt ends where the reply begins."""
    prompt = "\n\nHuman: Q\n\nAssistant: O\n\nHuman: R\n\nAssistant:"
    path, noted = write(tmp_path, [{"prompt": prompt, "chosen": " good", "rejected": " bad"}] * 2), []
    for row in read_prefs(path, turns="transcript"):
        assert said([row]) == [[("human", "Q"), ("assistant", "O"), ("human", "R")]]
        assert (row["a"].strip(), row["b"].strip()) == ("good", "bad")
    read_prefs(path, note=lambda *note: noted.append(note))
    assert [code for code, _ in noted] == ["transcripts"] and "turns=transcript" in noted[0][1]


@pytest.mark.parametrize(
    ("sides", "message"),
    [
        ({"chosen": "good", "rejected": False}, "field `rejected`: is of type bool where a reply or messages"),
        ({"chosen": 7, "rejected": "bad"}, "field `chosen`: is of type int where a reply or messages"),
        ({"chosen": [assistant("good")], "rejected": 0.5}, "field `rejected`: is of type float"),
        (
            {"chosen": [{**assistant(""), "tool_calls": [{"id": "x"}]}], "rejected": [assistant("bad")]},
            "field `chosen`: holds a message of the assistant that calls tools",
        ),
    ],
)
def test_the_side_of_a_pair_that_is_wrong_is_named(sides, message, tmp_path):
    with pytest.raises(DataError, match=f"x.jsonl:1: {message}"):
        read_prefs(write(tmp_path, [{"prompt": "Q", **sides}]))


def test_a_systems_column_is_part_of_every_form_of_pairs(tmp_path):
    good, bad, led = [assistant("good")], [assistant("bad")], {"system": "Be kind"}
    rows = [
        led | {"prompt": "Q", "chosen": "good", "rejected": "bad"},
        led | {"prompt": "Q", "chosen": good, "rejected": bad},
        led | {"chosen": [user("Q"), *good], "rejected": [user("Q"), *bad]},
        {"chosen": "\n\nHuman: Q\n\nAssistant: good", "rejected": "\n\nHuman: Q\n\nAssistant: bad"} | led,
    ]
    for row in rows:
        (found,) = read_prefs(write(tmp_path, [row]))
        assert said([found]) == [[("system", "Be kind"), ("human", "Q")]] and "system" not in found
        assert (found["a"], found["b"]) == ("good", "bad")


def test_a_pair_whose_sides_part_early_is_left_out_alone(tmp_path):
    start = "\n\nHuman: One\n\nAssistant: "
    rows = [{"chosen": f"{start}good {n}", "rejected": f"{start}bad"} for n in range(9)]
    rows.insert(4, {"chosen": f"{start}good", "rejected": f"{start}What?\n\nHuman: Two\n\nAssistant: bad"})
    path, noted = write(tmp_path, rows), []
    with pytest.raises(DataError, match="x.jsonl:5: field `rejected`: does not share all turns"):
        read_prefs(path)
    found = read_prefs(path, malformed="skip", note=lambda *note: noted.append(note))
    assert [row["a"] for row in found] == [f"good {n}" for n in range(9)]
    assert [code for code, _ in noted] == ["transcripts", "malformed"] and "1 of 10 rows" in noted[1][1]


@pytest.mark.parametrize("values", [[0, 1, 1], ["0", "1"], [True, False], [0.0, 0.0], [1], [0, 1, "tie"], [0, "b"],
                                    [0, 1, -1], [0, 1, "N/A"], [1, 3.0, None]])  # fmt: skip
def test_labels_of_nought_and_one_ask_what_they_mean(values, tmp_path):
    path = write(tmp_path, [{"prompt": f"Q{n}", "x": "a", "y": "b", "best": v} for n, v in enumerate(values)])
    names = {"a": "x", "b": "y", "label": "best"}
    with pytest.raises(Unclear, match="every number that can be read is 0 or 1") as caught:
        read_prefs(path, **names, malformed="skip")
    assert "label_means=probability" in caught.value.hint and "label_means=index" in caught.value.hint
    said = {"tie": 0.5, "b": 0.0, -1: None, "N/A": None, 3.0: None, None: None}  # whatever the numbers mean
    probability = [said[value] if value in said else float(value) for value in values]
    index = [said[value] if value in said else 1 - float(value) for value in values]
    for means, expected in (("probability", probability), ("index", index)):
        found = read_prefs(path, **names, label_means=means, malformed="skip")
        assert [row["p"] for row in found] == [p for p in expected if p is not None]


def test_how_ties_as_numbers_are_read_is_said(tmp_path):
    path = write(tmp_path, [{"prompt": f"Q{n}", "x": "a", "y": "b", "best": n} for n in range(3)])
    names, noted = {"a": "x", "b": "y", "label": "best"}, []
    found = read_prefs(path, **names, note=lambda *note: noted.append(note))
    assert [row["p"] for row in found] == [0.5, 1.0, 0.0]
    assert [code for code, _ in noted] == ["labels"]
    assert "0 is read as a tie, 1 as `x` and 2 as `y`" in noted[0][1] and "label_means=index" in noted[0][1]
    assert [row["p"] for row in read_prefs(path, **names, label_means="index")] == [1.0, 0.0, 0.5]


def test_an_index_is_nought_or_one(tmp_path):
    path = write(tmp_path, [{"prompt": "Q", "x": "a", "y": "b", "best": 2}])
    with pytest.raises(DataError, match="does not say which of `x` and `y` is better, in 2"):
        read_prefs(path, a="x", b="y", label="best", label_means="index")


# -- replies


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


# -- the same conversation


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


def test_blank_text_without_end_takes_no_time():
    text = "Human: a\n\nAssistant: b" + "\n \t" * 200_000 + "c"
    assert transcript(text) == [{"role": "human", "text": "a"}, {"role": "assistant", "text": text[21:]}]
