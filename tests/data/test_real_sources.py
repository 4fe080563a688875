"""The readers on real public files, which are not part of this repository."""

import csv
import json
import os
from pathlib import Path

import pytest

from cai_jax.data.conversations import read_prompts, read_replies
from cai_jax.data.preferences import read_prefs

SHARED = Path(os.environ.get("CAI_JAX_SHARED", Path(__file__).parents[3] / "shared")) / "data"
pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data is not here")


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("redteam/anthropic_red_team_first_turns.jsonl.gz", 2000),
        ("redteam/advbench_harmful_behaviors.jsonl", 422),
        ("redteam/harmbench_behaviors_text.jsonl", 322),
        ("redteam/strongreject.jsonl", 263),
        ("redteam/jailbreakbench_harmful.jsonl", 78),
        ("redteam/simple_safety_tests.jsonl", 78),
        ("helpful/self_instruct_seed_tasks.jsonl", 136),
        ("helpful/self_instruct_user_oriented.jsonl", 197),
        ("helpful/fastchat_questions.jsonl", 120),
        ("overrefusal/xstest.jsonl", 225),
    ],
)
def test_prompts(name, rows):
    found = read_prompts(str(SHARED / name))
    assert len(found) == rows
    assert len({row["id"] for row in found}) == rows
    assert all(row["turns"][-1]["role"] == "human" and row["turns"][-1]["text"] for row in found)


def test_hh_transcripts():
    rows = read_prefs(str(SHARED / "preferences/hh_rlhf_harmless_base_test.jsonl.gz"))
    assert len(rows) == 1817
    assert all(row["p"] == 1.0 and row["turns"][-1]["role"] == "human" for row in rows)
    roles = [[turn["role"] for turn in row["turns"]] for row in rows]
    assert all(r == ["human", "assistant"] * (len(r) // 2) + ["human"] for r in roles)


def test_replies_beside_a_query():
    assert len(read_prefs(str(SHARED / "hhh_eval/hhh_alignment.jsonl"))) == 109


def test_labelled_pairs():
    rows = read_prefs(str(SHARED / "preferences/llmbar.jsonl"), a="output_1", b="output_2", label="label")
    assert len(rows) == 330
    assert {row["p"] for row in rows} == {0.0, 1.0}


@pytest.mark.parametrize("suffix", ["csv", "tsv", "json"])
@pytest.mark.parametrize("name", ["redteam/harmbench_behaviors_text", "overrefusal/xstest", "preferences/llmbar"])
def test_tables_hold_what_json_lines_hold(name, suffix, tmp_path):
    rows = [json.loads(line) for line in (SHARED / f"{name}.jsonl").read_text().splitlines()]
    path = tmp_path / f"x.{suffix}"
    with open(path, "w", newline="") as file:
        if suffix == "json":
            json.dump(rows, file, indent=1)
        else:
            writer = csv.DictWriter(file, list(rows[0]), delimiter="," if suffix == "csv" else "\t")
            writer.writeheader()
            writer.writerows(rows)
    text = [row["turns"] for row in read_prompts(str(SHARED / f"{name}.jsonl"))]
    assert [row["turns"] for row in read_prompts(str(path))] == text


def test_real_conversations_as_replies():
    path, noted = str(SHARED / "preferences/hh_rlhf_harmless_base_test.jsonl.gz"), []
    rows = read_replies(path, column="chosen", malformed="skip", note=lambda *note: noted.append(note[1]))
    assert any("of 1817 rows cannot be read" in text and "has an empty reply" in text for text in noted)
    chosen = {(pair["id"].partition("-")[0], pair["a"].strip()) for pair in read_prefs(path)}
    assert {(row["id"].partition("-")[0], row["reply"]) for row in rows} == {(i, reply) for i, reply in chosen if reply}
