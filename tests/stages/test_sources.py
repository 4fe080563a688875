"""Prompts, preferences and models from people's files, through a program."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cai_jax.data.row_columns import RESERVED

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
    failed = bench.run('bad = prompts("bad.jsonl", test=0)\nx = bad |> sample(base, max_new=4)\n', code=3)
    assert "bad.jsonl:2" in failed.err and "`prompt`" in failed.err
    (bench.root / "broken.jsonl").write_text(json.dumps({"prompt": "a", "a": "x", "b": "y", "p": 1}) + "\n{oops\n")
    failed = bench.run('bad = prefs("broken.jsonl", test=0)\nrm = bad |> reward(base, batch=2)\n', code=3)
    assert "broken.jsonl:2" in failed.err and "JSON" in failed.err


def test_what_is_not_there_is_found_before_anything_runs(bench):
    missing = bench.run('mine = prompts("nowhere.jsonl")\nx = mine |> sample(base, max_new=4)\n', code=3)
    assert "E221" in missing.err
    model = bench.run('other = model("nowhere")\nx = red |> sample(other, max_new=4)\n', code=3)
    assert "E221" in model.err and "nowhere" in model.err
    shape = bench.run('other = model("init:giant")\nx = red |> sample(other, max_new=4)\n', code=3)
    assert "E222" in shape.err and "tiny" in shape.err
    split = bench.run("x = red.validation |> sample(base, max_new=4)\n", code=3)
    assert "validation" in split.err and "train" in split.err


def test_a_damaged_model_folder_names_the_file(bench):
    folder = bench.root / "damaged"
    folder.mkdir(exist_ok=True)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((bench.root / "small" / name).read_bytes())
    failed = bench.run('other = model("damaged")\nx = red.train |> sample(other, max_new=4)\n', code=3)
    assert "model.safetensors" in failed.err and "Traceback" not in failed.err


def test_files_of_one_name_in_two_folders_are_two_sources(bench):
    for folder in ("left", "right"):
        (bench.root / folder).mkdir(exist_ok=True)
        bench.write(f"{folder}/data.jsonl", [{"prompt": f"A question in {folder}?"}])
    text = """\
mine = prompts("left/data.jsonl", test=0)
sl = mine |> sample(base, max_new=4) |> finetune(base, steps=1, batch=1)
rate = harm_rate(sl, prompts("{}", test=0), by=base, under=rules)
"""
    code, out, err = bench.call("check", bench.program(text.format("right/data.jsonl")))
    assert code == 0, out + err
    code, out, err = bench.call("check", bench.program(text.format("left/../left/data.jsonl")))
    assert code == 3 and "E240" in out + err and "left/data.jsonl`" in out + err


def test_tfds_folders_lie_beside_the_program(bench):
    text = 'mine = prompts("tfds:toy/1.0.0")\nx = mine.validation |> sample(base, max_new=4)\n'
    missing = bench.call("check", bench.program(text))
    assert missing[0] == 3 and "E221" in "".join(missing[1:])
    (bench.root / "toy" / "1.0.0").mkdir(parents=True)
    empty = bench.call("check", bench.program(text))
    assert empty[0] == 3 and "E270" in "".join(empty[1:]) and "dataset_info.json" in "".join(empty[1:])
    (bench.root / "toy" / "1.0.0" / "dataset_info.json").write_text("{}")
    found = bench.call("check", bench.program(text))
    assert found[0] == 0, found


def in_hub(bench, monkeypatch, name, text):
    """Puts `hf:org/<name>`, one file of JSON lines, into a local cache in the folder of programs."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(bench.root / "hub"))
    folder = bench.root / "hub" / f"datasets--org--{name}"
    for part, content in {"refs/main": "abc", "snapshots/abc/rows.jsonl": text}.items():
        (folder / part).parent.mkdir(parents=True, exist_ok=True)
        (folder / part).write_text(content)


def test_documents_from_the_local_hub(bench, monkeypatch):
    in_hub(bench, monkeypatch, "texts", '{"text": "hello there"}\n' * 10)
    ran = bench.run('texts = documents("hf:org/texts")\nx = texts |> finetune(base, length=64, steps=1, batch=2)\n')
    assert ran.result("texts")["rows"] == 10 and ran.result("x")["steps"] == 1


def parted(count):
    """Conversations of chosen and rejected replies, of which the third has sides that part at their first turn."""
    start = "\n\nHuman: One\n\nAssistant: "
    rows = [{"chosen": f"{start}good {n}", "rejected": f"{start}bad"} for n in range(count)]
    rows[2]["rejected"] = f"{start}What?\n\nHuman: Two\n\nAssistant: bad"
    return rows


@pytest.mark.parametrize(
    ("source", "rows", "read"),
    [
        ("prefs", parted(8), [f"good {n}" for n in range(8) if n != 2]),
        ("prompts", [{"prompt": "One?"}, {"prompt": "Two?"}, {"prompt": 7}], ["One?", "Two?"]),
    ],
)
def test_rows_that_cannot_be_read_are_left_out_of_the_hubs_data_and_an_error_in_a_file(
    bench, monkeypatch, source, rows, read
):
    file = bench.write(f"odd_{source}.jsonl", rows)
    in_hub(bench, monkeypatch, f"odd_{source}", file.read_text())
    used = {"prefs": "reward(base, batch=4)", "prompts": "sample(base, max_new=4)"}[source]
    text = 'mine = {0}("{1}", test=0{2})\nx = mine |> ' + used + "\n"
    ran = bench.run(text.format(source, f"hf:org/odd_{source}", ""), "--only", "mine")
    assert [row["a"] if source == "prefs" else row["turns"][0]["text"] for row in ran.rows("mine")] == read
    assert f"1 of {len(rows)} rows" in ran.notes("mine")["malformed"]
    failed = bench.run(text.format(source, file.name, ""), code=3)
    assert f"odd_{source}.jsonl:3" in failed.err
    # Either can be chosen for the other.
    asked = bench.run(text.format(source, f"hf:org/odd_{source}", ", malformed=error"), code=3)
    assert "rows.jsonl:3" in asked.err
    skipped = bench.run(text.format(source, file.name, ", malformed=skip"), "--only", "mine")
    assert len(skipped.rows("mine")) == len(read)


def test_the_copies_of_a_prompt_in_two_sources_get_replies_of_their_own(bench):
    asked = [{"prompt": f"Question {n}?"} for n in range(8)]
    bench.write("left.jsonl", asked)
    bench.write("right.jsonl", [{**row, "more": 1} for row in asked])
    ran = bench.run("""\
left = prompts("left.jsonl", test=0)
twice = left + prompts("right.jsonl", test=0) |> sample(base, n=2, max_new=8)
labels = twice |> judge(rules, fewshots=0)
""")
    rows = ran.rows("twice")
    assert len({(row["id"], row["sample"]) for row in rows}) == len(rows) == 32
    assert [row["id"] for row in rows[:16:2]] == [row["id"] for row in ran.rows("left")]
    assert {row["id"].rpartition("-")[2] for row in rows[16:]} == {"1"}
    assert len(ran.rows("labels")) == 16  # a pair for each copy, never one across copies


def test_the_fields_that_stages_write_are_reserved(bench):
    ran = bench.run("""\
rm = human.train |> reward(base, batch=8)
drawn = red.train |> sample(base, n=2, max_new=8)
labels = drawn |> judge(rules, fewshots=0)
taught = labels |> reward(base, batch=8)
seen = drawn |> best(rm) |> screen(rules, limit=0%)
after = seen |> revise(rules, rounds=1, fewshots=0, max_new=8, where=flagged) |> refuse("No.", where=flagged)
""")
    for name in ("after", "labels", "human"):
        written = set().union(*ran.rows(name)) - {"category"}  # of the built-in prompts
        assert written <= RESERVED, written - RESERVED


def test_a_column_called_like_a_field_of_ours_means_nothing_to_stages(bench):
    bench.write("spam.jsonl", [{"prompt": "Q?", "flag": "spam"}])
    ran = bench.run("""\
mine = prompts("spam.jsonl", test=0)
kept = mine |> sample(base, max_new=8) |> screen(rules, limit=100%) |> refuse("No.", where=flagged)
""")
    (row,) = ran.rows("kept")
    assert row["flag"] != "spam" and row["source_flag"] == "spam" and row["reply"] != "spam"


def test_too_many_new_tokens_for_the_context(bench):
    failed = bench.run("x = red.train |> sample(base, max_new=512)\n", code=3)
    assert "E220" in failed.err and "512" in failed.err
