"""Transcripts: text that holds the turns of a conversation, and text that only looks so."""

import pytest

from cai_jax.data.conversations import read_prompts
from cai_jax.data.preferences import read_prefs
from cai_jax.data.rows import DataError, is_transcript, transcript
from tests.data._rows import ABC, human, said, write


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


def test_blank_text_without_end_takes_no_time():
    text = "Human: a\n\nAssistant: b" + "\n \t" * 200_000 + "c"
    assert transcript(text) == [{"role": "human", "text": "a"}, {"role": "assistant", "text": text[21:]}]
