"""Prompts, preferences and models from people's files, through a program."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

PROMPTS = [{"prompt": f"Question {n}?", "topic": "x", "split": "test" if n % 3 == 0 else "train"} for n in range(9)]


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_prompts_from_a_file(bench, form):
    if form == "jsonl":
        bench.write("mine.jsonl", PROMPTS)
    else:
        pq.write_table(pa.Table.from_pylist(PROMPTS), bench.root / "mine.parquet")
    ran = bench.run(f'mine = prompts("mine.{form}", limit=4)\nx = mine.train |> sample(base, max_new=4)\n')
    assert [row["turns"][0]["text"] for row in ran.rows("x")] == [f"Question {n}?" for n in (1, 2, 4, 5)]
    assert {row["split"] for row in ran.rows("mine")} == {"train", "test"}
    assert ran.rows("x")[0]["topic"] == "x"


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_preferences_from_a_file(bench, form):
    rows = [{"prompt": f"Q{n}?", "first": "Yes.", "second": "No.", "which": n % 3} for n in range(9)]
    if form == "jsonl":
        bench.write("choices.jsonl", rows)
    else:
        pq.write_table(pa.Table.from_pylist(rows), bench.root / "choices.parquet")
    ran = bench.run(f"""\
mine = prefs("choices.{form}", a="first", b="second", label="which", test=0)
rm = mine.train |> reward(base, batch=4)
""")
    assert [row["p"] for row in ran.rows("mine")] == [0.5, 1.0, 0.0] * 3  # 0 is a tie, 1 and 2 the better one
    assert ran.result("rm")["pairs"] == 9


def test_malformed_rows_name_file_line_and_field(bench):
    bench.write("bad.jsonl", [{"prompt": "fine"}, {"prompt": 7}])
    failed = bench.run('bad = prompts("bad.jsonl", test=0)\nx = bad |> sample(base, max_new=4)\n', code=4)
    assert "bad.jsonl:2" in failed.err and "`prompt`" in failed.err
    (bench.root / "broken.jsonl").write_text(json.dumps({"prompt": "a", "a": "x", "b": "y", "p": 1}) + "\n{oops\n")
    failed = bench.run('bad = prefs("broken.jsonl", test=0)\nrm = bad |> reward(base, batch=2)\n', code=4)
    assert "broken.jsonl:2" in failed.err and "JSON" in failed.err


def test_what_is_not_there_is_found_before_anything_runs(bench):
    missing = bench.run('mine = prompts("nowhere.jsonl")\nx = mine |> sample(base, max_new=4)\n', code=3)
    assert "E221" in missing.err
    model = bench.run('other = model("nowhere")\nx = red |> sample(other, max_new=4)\n', code=3)
    assert "E221" in model.err and "nowhere" in model.err
    shape = bench.run('other = model("init:giant")\nx = red |> sample(other, max_new=4)\n', code=3)
    assert "E222" in shape.err and "tiny" in shape.err
    split = bench.run('x = red.validation |> sample(base, max_new=4)\n', code=3)
    assert "validation" in split.err and "train" in split.err


def test_a_damaged_model_folder_names_the_file(bench):
    folder = bench.root / "damaged"
    folder.mkdir(exist_ok=True)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((bench.root / "small" / name).read_bytes())
    failed = bench.run('other = model("damaged")\nx = red.train |> sample(other, max_new=4)\n', code=4)
    assert "model.safetensors" in failed.err and "Traceback" not in failed.err


def test_too_many_new_tokens_for_the_context(bench):
    failed = bench.run("x = red.train |> sample(base, max_new=512)\n", code=3)
    assert "E220" in failed.err and "512" in failed.err
