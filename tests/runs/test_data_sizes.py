"""`plan` counts the rows and the lengths of the data that is here, and names what it assumes."""

from __future__ import annotations

import json
import math

import pytest

from cai_jax import cli
from cai_jax.pipeline import reward_scoring
from cai_jax.runs import data_sizes

PAGE = """use harmless from "constitutions/starter.cai"
base = model("builtin:tiny")
mine = prompts("mine.jsonl", test=0)
drawn = mine |> sample(base, n=2, max_new=16)
mended = drawn |> revise(harmless, rounds=1, max_new=16, fewshots=0)
labels = drawn |> judge(harmless, fewshots=0)
sl = mended |> finetune(base, epochs=1, batch=4)
rm = labels |> reward(base, batch=4)
rl = sl |> ppo(rm, on=mine, steps=2, batch=4, max_new=16)
"""


@pytest.fixture
def plan(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def found(rows, text=PAGE, *words):
        (tmp_path / "mine.jsonl").write_text("".join(json.dumps({"prompt": row}) + "\n" for row in rows))
        (tmp_path / "p.cai").write_text(text)
        with pytest.raises(SystemExit) as stopped:
            cli.main(["plan", "p.cai", *words])
        assert stopped.value.code == 0
        return capsys.readouterr().out

    return found


def tokens(plan, rows, page=PAGE):
    nodes = json.loads(plan(rows, page, "--json"))["nodes"]
    return {node["label"]: node["tokens"] for node in nodes}


def test_ten_short_prompts_are_few_tokens(plan):
    ten = tokens(plan, ["Say something nice."] * 10)
    # 2 replies of 16 tokens to each prompt of about 13 tokens: padded, some hundreds.
    assert 10 * 2 * 16 <= ten["drawn"] < 10_000
    assert ten["sl"] == 4 * 4 * 32  # 20 examples of 13 + 8 tokens on the mean fill 14 rows of 32, in steps of 4
    assert sum(ten.values()) < 100_000


def test_tokens_go_with_rows_and_with_lengths(plan):
    few = tokens(plan, [f"Say {i:04}." for i in range(200)])
    many = tokens(plan, [f"Say {i:04}." for i in range(2000)])
    long = tokens(plan, [f"Say {i:04}." + " word" * 150 for i in range(200)])
    for label in ("drawn", "mended", "labels", "sl"):
        assert 7 < many[label] / few[label] < 13, label
        assert long[label] > few[label], label
    assert 3 < many["rm"] / few["rm"] < 13 and long["rm"] > few["rm"]  # scores are normalised on 512 pairs at most
    assert long["rl"] > few["rl"] and many["rl"] == few["rl"]  # two rollouts of four, however many prompts there are


def test_what_was_read_and_what_is_assumed_is_named(plan):
    page = 'other = prompts("hf:org/name")\n' + PAGE + "more = other |> sample(base)\nsl2 = more |> finetune(base)\n"
    out = plan(["Say something nice."] * 10, page)
    assert "mine: 10 rows, prompts of up to about 13 tokens (read)" in out
    assert "other: 1,000 rows, prompts of up to about 512 tokens (assumed: it is not here)" in out
    data = json.loads(plan(["Say something nice."] * 10, page, "--json"))["data"]
    assert [(each["rows"], each["longest"], each["read"]) for each in data] == [(1000, 512, False), (10, 13, True)]


def test_pairs_and_replies_of_a_file_are_counted(plan, tmp_path):
    def write(name, rows):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))

    # As many tokens as words, and some more for each turn.
    long, short = {"prompt": "a b c", "a": "a " * 20, "b": "b", "p": 1}, {"prompt": "a", "a": "a", "b": "b", "p": 0}
    write("pairs.jsonl", [long, long, long, short])
    write("said.jsonl", [{"prompt": "a b", "response": f"{'a ' * n}b"} for n in (4, 39)])
    page = """base = model("builtin:tiny")
pairs = prefs("pairs.jsonl", test=0)
said = replies("said.jsonl", test=0)
rm = pairs |> reward(base, batch=2)
sl = said |> finetune(base, batch=1)
"""
    out = plan([], page)
    assert "pairs: 4 rows, prompts of up to about 11 tokens (read)" in out
    assert "said: 2 rows, prompts of up to about 10 tokens (read)" in out
    cost = tokens(plan, [], page)
    # A prompt of 11 tokens and a reply of 20 are padded to 32: two steps of two pairs, then scores of eight replies in
    # one batch.
    assert cost["rm"] == 2 * 2 * 2 * 32 + reward_scoring.BATCH * 32
    # A prompt of 10 tokens and a reply of 40 need a row of 64, and two of 10 + 20 on the mean have room in one.
    assert cost["sl"] == 64


def test_documents_are_counted_and_packed_into_rows(plan, tmp_path):
    def write(name, count, words):
        text = json.dumps({"text": " ".join("a" * words)}) + "\n"  # as many tokens as words
        (tmp_path / name).write_text(text * count)

    write("short.jsonl", 128, 8)
    write("long.jsonl", 60, 40)
    page = """base = model("builtin:tiny")
short = documents("short.jsonl")
some = documents("long.jsonl", rows=20, skip=10)
world = documents("builtin:world", rows=2000)
away = documents("hf:org/name")
one = short |> finetune(base, batch=4, length=64)
both = short + some |> finetune(base, batch=4, length=64)
built = world |> finetune(base, batch=4)
other = away |> finetune(base, batch=4, length=64)
"""
    out = plan([], page)
    assert "short: 128 documents of about 8 tokens, the longest of about 8 (read)" in out
    assert "some: 20 documents of about 40 tokens, the longest of about 40 (read)" in out
    assert "away: 1,000 documents of about 512 tokens, the longest of about 512 (assumed: it is not here)" in out
    found = json.loads(plan([], page, "--json"))
    cost = {node["label"]: node["tokens"] for node in found["nodes"]}
    assert cost["one"] == 128 * 8  # 16 rows of 64 tokens, in four steps
    # 148 documents of 12.3 tokens, for which 13 are taken, are 31 rows: eight steps of four.
    assert cost["both"] == 8 * 4 * 64
    assert cost["other"] == 1000 * 64  # none is here: each is taken to fill a row
    world = next(each for each in found["data"] if each["rows"] == 2000)
    assert world["read"] and 0 < world["mean"] <= world["longest"]
    # What is told is rounded, and what is taken is the next whole number of tokens.
    taken = [math.ceil(math.ceil(2000 * (world["mean"] + more) / 512) / 4) * 4 * 512 for more in (0, 1)]
    assert cost["built"] in taken


def test_documents_that_cannot_be_read_are_told(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    fine = '{"text": "fine"}\n'
    (tmp_path / "bad.jsonl").write_text(fine * 1100 + '{"text": 3}\n' + fine)  # behind what `check` looks at
    (tmp_path / "p.cai").write_text('bad = documents("bad.jsonl")\nm = bad |> finetune(model("builtin:tiny"))\n')
    with pytest.raises(SystemExit) as stopped:
        cli.main(["plan", "p.cai"])
    shown = capsys.readouterr()
    assert stopped.value.code == 0 and "bad: 1,000 documents" in shown.out
    assert "warning: bad: " in shown.err and "bad.jsonl:1101: field `text`: no text" in shown.err


def test_the_option_says_otherwise(plan):
    out = plan(["Say something nice."] * 10, PAGE, "--prompt-tokens", "64")
    assert "mine: 10 rows, prompts of up to about 64 tokens (read)" in out


def test_about_how_many_tokens():
    assert data_sizes.tokens("") == 0
    assert data_sizes.tokens("a b c d e f") == 6
    assert data_sizes.tokens("incomprehensibilities") == 6
    assert data_sizes.tokens("\u65e5" * 8) == 6  # three bytes each
