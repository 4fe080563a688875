"""Replies of one's own through a program, and conversations that are trained on as well as measured."""

import json

import pytest

import cai_jax
from cai_jax.api import stage_calls
from cai_jax.data.rows import hash_split

SFT = [
    {"messages": [{"role": "user", "content": f"Question {n}?"}, {"role": "assistant", "content": f"Answer {n}{of}."}]}
    for n in range(4)
    for of in "ab"
]


def test_replies_of_ones_own_are_trained_on_revised_judged_screened_and_measured(bench):
    bench.write("sft.jsonl", SFT)
    ran = bench.run("""\
mine = replies("sft.jsonl", test=0)
sl = mine |> finetune(base, steps=1, batch=2)
mended = mine |> revise(rules, by=base, rounds=1, fewshots=0, max_new=8)
seen = mine |> screen(rules, by=base, limit=100%)
every = mended + seen
""")
    judged = bench.run('labels = replies("sft.jsonl", test=0) |> judge(rules, by=base, fewshots=0)\n')
    rows = ran.rows("mine")
    assert [(row["sample"], row["reply"]) for row in rows[:2]] == [(0, "Answer 0a."), (1, "Answer 0b.")]
    assert len({row["id"] for row in rows}) == 4
    assert ran.result("sl")["steps"] == 1
    assert {frozenset((row["a"], row["b"])) for row in judged.rows("labels")} == {
        frozenset((f"Answer {n}a.", f"Answer {n}b.")) for n in range(4)
    }
    assert [row["original"] for row in ran.rows("mended")] == [row["reply"] for row in rows]
    assert [row["reply"] for row in ran.rows("seen")] == [row["reply"] for row in rows]


def checked(bench, text, code=3):
    found, out, err = bench.call("check", bench.program(text, "checked.cai"))
    assert found == code, out + err
    return out + err


def test_replies_have_splits_and_drawn_ones_have_none(bench):
    bench.write("sft.jsonl", SFT)
    text = 'mine = replies("sft.jsonl", test=0.5)\nsl = mine.{} |> finetune(base, steps=1)\n'
    checked(bench, text.format("train"), code=0)
    assert "E225" in checked(bench, text.format("dev"))
    assert "E228" in checked(bench, "drawn = red |> sample(base)\nsl = drawn.train |> finetune(base)\n")
    assert "E230" in checked(bench, 'mine = replies("sft.jsonl")\nmended = mine |> revise(rules)\n')


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("p.txt", "hello", "not a kind of file that is read"),
        ("p.cai", "x = 1", "not a kind of file that is read"),
        ("p.jsonl", '{"prompt": "a"}\n{"prompt": "b"}\n{oops\n', "p.jsonl:3: not JSON"),
        ("p.jsonl", '{"prompt": "a"}\n' * 1500 + '{"prompt": "b', "last line: not JSON"),
        ("p.jsonl", "\n", "holds no rows"),
        ("p.csv", 'prompt\n"never closed\n', "p.csv:2: the row that begins here"),
        ("p.parquet", "PAR1 no", "p.parquet: cannot be read"),
        ("p.arrow", "ARROW1 no", "p.arrow: cannot be read"),
        ("p/train.jsonl", '{"prompt": "a"}\n', None),
        ("p/readme.txt", "", "holds no dataset files"),
    ],
)
def test_wrong_kinds_and_contents_are_found_by_check(bench, tmp_path, name, text, message):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text)
    place = tmp_path / name.partition("/")[0]
    for source in (f'prompts("{place}")', f'documents("{place}", column="prompt")'):
        program = f"mine = {source}\n"
        found, out, err = bench.call("check", bench.program(program, "checked.cai"))
        said = " ".join((out + err).split())
        assert ("E270" in said and message in said and found == 3) if message else found == 0, said


PAIRS = [{"prompt": f"Question {n}?", "chosen": "Yes.", "rejected": "No."} for n in range(8)]
TRAINED = 'rm = prefs("pairs.jsonl", test=0).train |> reward(base, batch=4)\n'


def test_one_file_split_in_two_ways_is_found_by_check(bench):
    bench.write("mine.jsonl", [{"prompt": f"Question {n}?"} for n in range(40)])
    text = """\
sl = prompts("mine.jsonl", test={}).train |> sample(base, max_new=4) |> finetune(base, steps=1)
rate = harm_rate(sl, prompts("mine.jsonl", test={}).test, by=base, under=rules)
"""
    said = checked(bench, text.format("20%", "50%"))
    assert "E240" in said and "mine.jsonl/test`, which the model was trained on" in " ".join(said.split())
    checked(bench, text.format("50%", "20%"), code=0)  # of which no row is in both: the one part holds the other
    found = {test: {n for n in range(40) if hash_split([{"role": "human", "text": f"Question {n}?"}], test) == "test"}
             for test in (0.2, 0.5)}  # fmt: skip
    assert found[0.2] < found[0.5]


@pytest.mark.parametrize(
    ("measured", "counted"),
    [
        ([{"prompt": f" question {n}?"} for n in range(6, 16)], "2 of 10 measured conversations"),
        ([{"messages": [{"role": "user", "content": "QUESTION  3?"}]}], "1 of 1 measured conversations"),
        ([{"system": "Be nice.", "prompt": "Question 3?"}], "1 of 1 measured conversations"),
        ([{"prompt": "\ufeffQuestion \u200b3?"}], "1 of 1 measured conversations"),
    ],
)
def test_copies_of_what_was_trained_on_stop_a_run_before_it_trains(bench, measured, counted):
    bench.write("pairs.jsonl", PAIRS)
    bench.write("copy.jsonl", measured)
    text = TRAINED + 'rate = harm_rate(base, prompts("copy.jsonl", test=0), by=rm)\n'
    failed = bench.run(text, out=bench.root / "stopped", code=3)
    assert counted in failed.err and "run (overlap=allow)" in failed.err
    assert not list((bench.root / "stopped" / "cache").glob("reward-*"))


def test_named_splits_and_preferences_that_hold_the_same_prompts(bench, monkeypatch, capsys):
    rows = [{**row, "split": split} for row in PAIRS for split in ("train", "test")]
    bench.write("named.jsonl", rows)
    text = 'human = prefs("named.jsonl")\nrm = human.train |> reward(base, batch=4)\n'
    failed = bench.run(text + "right = reward_accuracy(rm, human.test)\n", out=bench.root / "stopped", code=3)
    assert "8 of 8 measured conversations of human.test were trained on, as part of human.train" in failed.err
    allowed = bench.run(text + "right = reward_accuracy(rm, human.test)\nrun (overlap=allow)\n")
    assert "warning: right: 8 of 8 measured conversations" in allowed.err
    assert allowed.metrics["right"]["n"] == 8
    # From Python, where there is no run to say it for, it is a warning.
    monkeypatch.setenv("CAI_JAX_OUT", str(bench.root / "runs"))
    monkeypatch.setattr(stage_calls, "prepare_jax", lambda out: None)
    human = cai_jax.prefs(bench.root / "named.jsonl")
    rm = cai_jax.reward(human.split("train"), cai_jax.model(bench.root / "small"), batch=4)
    cai_jax.reward_accuracy(rm, human.split("test"))
    assert "8 of 8 measured conversations" in capsys.readouterr().err


def test_what_a_flow_is_measured_on_is_compared_as_well(bench):
    bench.write("pairs.jsonl", PAIRS)
    bench.write("copy.jsonl", [{"prompt": row["prompt"]} for row in PAIRS[:3]])
    text = TRAINED + (
        "guarded = _ |> sample(base, n=2, max_new=4) |> best(rm)\n"
        'rate = harm_rate(guarded, prompts("copy.jsonl", test=0), by=base, under=rules)\n'
    )
    assert "3 of 3 measured conversations" in bench.run(text, out=bench.root / "stopped", code=3).err


def test_other_ways_of_reading_reach_the_stage(bench):
    (bench.root / "h.csv").write_text('query;kind\n"Why?\nSay.";x\nWhy?;\n', encoding="utf-8")
    (bench.root / "folder").mkdir()
    (bench.root / "folder" / "a.jsonl").write_text(json.dumps({"prompt": "Q?"}) + "\n")
    card = "---\nconfigs:\n- config_name: c\n  data_files: {dev: a.jsonl}\n---\n"
    (bench.root / "folder" / "README.md").write_text(card)
    ran = bench.run("""\
mine = prompts("h.csv", column="query", delimiter=";", cluster="kind", malformed=skip, test=0)
other = prompts("folder", config="c")
x = mine + other |> sample(base, max_new=4)
""")
    assert [row["cluster"] for row in ran.rows("mine")] == ["x"]
    assert "1 of 2 rows cannot be read" in ran.notes("mine")["malformed"]
    assert [row["split"] for row in ran.rows("other")] == ["dev"]
