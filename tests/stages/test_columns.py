"""Columns that a dataset has not are found by `check`, from its first row."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cai_jax.lang.checker import check
from cai_jax.stages import registry

ROW = {"question": "Why?", "good": "So.", "bad": "No.", "fold": "test"}


ROWS = [{"prompt": "Why?", "chosen": "So.", "rejected": "No."}] * 2


@pytest.mark.parametrize(
    "call", ["prompts({})", "prefs({})", "replies({})", "documents({})", 'prompts({}, column="x")']
)
def test_rows_within_an_object_are_told_with_a_cure(call, tmp_path):
    (tmp_path / "d.json").write_text(json.dumps({"version": 1, "data": ROWS}))
    wrong = check("d = " + call.format('"d.json"') + "\n", tmp_path / "p.cai", registry()).diagnostics
    (found,) = [d for d in wrong if d.code != "E207"]
    assert found.code == "E270" and "an object that holds rows in `data`" in found.message and '.["data"]' in found.hint


@pytest.mark.parametrize("row", [{**ROWS[0], "data": ROWS}, {"messages": [{"role": "user", "content": "Why?"}]}])
def test_a_single_row_with_lists_of_objects_is_a_row(row, tmp_path):
    (tmp_path / "d.json").write_text(json.dumps(row))
    assert {d.code for d in check('d = prompts("d.json")\n', tmp_path / "p.cai", registry()).diagnostics} <= {"E207"}


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
@pytest.mark.parametrize(
    "source, hint",
    [
        ('prompts({}, column="qestion")', "did you mean `question`? its columns are"),
        ('prompts({}, split="foldd")', "did you mean `fold`? its columns are"),
        ('prefs({}, chosen="Good", rejected="bad")', "did you mean `good`? its columns are"),
        ('prefs({}, prompt="question", chosen="good", rejected="x")', "its columns are `question`, `good`"),
        ("prefs({})", "its columns are `question`, `good`, `bad` and `fold`; say which by"),
        ("documents({})", "its columns are `question`"),
        ("prompts({})", None),
        ('prefs({}, chosen="good", rejected="bad", split="fold")', None),
        ('documents({}, column="good")', None),
    ],
)
def test_a_column_that_is_not_there(source, hint, form, tmp_path):
    if form == "jsonl":
        (tmp_path / "d.jsonl").write_text(json.dumps(ROW) + "\n{not json\n", encoding="utf-8")
    else:
        pq.write_table(pa.Table.from_pylist([ROW]), tmp_path / "d.parquet")
    text = "d = " + source.format(f'"d.{form}"') + "\n"
    found = [d for d in check(text, tmp_path / "p.cai", registry()).diagnostics if d.code == "E224"]
    assert [d.hint.startswith(hint) for d in found] == [True] if hint else not found
