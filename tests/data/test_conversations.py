import gzip
import json
import math

import pytest

from cai_jax.data.conversations import read_prompts, splits
from cai_jax.data.dataset_files import find
from cai_jax.data.preferences import read_prefs
from cai_jax.data.rows import DataError, hash_split


def write(path, rows):
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith(".gz"):
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return str(path)


def texts(rows):
    return [row["turns"][-1]["text"] for row in rows]


QUESTIONS = [{"prompt": f"question {i}?", "topic": i % 3} for i in range(8)]


def as_parquet(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(QUESTIONS), tmp_path / "p.parquet", row_group_size=3)
    return str(tmp_path / "p.parquet")


def as_saved_by_datasets(tmp_path):
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    datasets.Dataset.from_list(QUESTIONS).save_to_disk(tmp_path / "saved")
    return str(tmp_path / "saved")


def as_arrow_file(tmp_path):
    import pyarrow as pa

    table = pa.Table.from_pylist(QUESTIONS)
    with pa.OSFile(str(tmp_path / "x.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return str(tmp_path / "x.arrow")


@pytest.mark.parametrize(
    "make",
    [
        lambda folder: write(folder / "p.jsonl", QUESTIONS),
        lambda folder: write(folder / "p.jsonl.gz", QUESTIONS),
        as_parquet,
        as_arrow_file,
        as_saved_by_datasets,
    ],
    ids=["jsonl", "gz", "parquet", "arrow", "datasets"],
)
def test_every_format_gives_the_same_rows(make, tmp_path):
    rows = read_prompts(make(tmp_path))
    assert texts(rows) == [q["prompt"] for q in QUESTIONS]
    assert [row["topic"] for row in rows] == [q["topic"] for q in QUESTIONS]
    assert rows == read_prompts(write(tmp_path / "again.jsonl", QUESTIONS))


def prepared_tfds(folder, questions=QUESTIONS):
    """A prepared dataset as TFDS leaves it, written without TensorFlow; five questions are its train split."""
    writer_module = pytest.importorskip("array_record.python.array_record_module")
    import numpy as np
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.example_serializer import ExampleSerializer

    features = tfds.features.FeaturesDict(
        {
            "prompt": tfds.features.Text(),
            "topic": tfds.features.Scalar(dtype=np.int32),
            "share": tfds.features.Scalar(dtype=np.float32),
        }
    )
    serializer = ExampleSerializer(features.get_serialized_info())
    folder.mkdir(parents=True)
    parts = {"train": questions[:5], "test": questions[5:]}
    for split, rows in parts.items():
        writer = writer_module.ArrayRecordWriter(
            str(folder / f"toy-{split}.array_record-00000-of-00001"), "group_size:1"
        )
        for row in rows:
            writer.write(serializer.serialize_example(features.encode_example({**row, "share": 0.4})))
        writer.close()
    info = {
        "name": "toy",
        "version": "1.0.0",
        "fileFormat": "array_record",
        "splits": [
            {
                "name": split,
                "shardLengths": [str(len(rows))],
                "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
            }
            for split, rows in parts.items()
        ],
    }
    (folder / "dataset_info.json").write_text(json.dumps(info))
    (folder / "features.json").write_text(json.dumps(features.to_json()))
    return f"tfds:{folder}"


def test_a_prepared_tfds_dataset(tmp_path):
    path = prepared_tfds(tmp_path / "toy" / "1.0.0")
    rows = read_prompts(path)
    assert texts(rows) == [q["prompt"] for q in QUESTIONS]
    assert [row["split"] for row in rows] == ["train"] * 5 + ["test"] * 3
    assert [(row["topic"], row["share"]) for row in rows] == [(q["topic"], 0.4) for q in QUESTIONS]
    assert splits(path).names is None  # only reading it would tell


def test_an_unprepared_tfds_folder_is_named(tmp_path):
    with pytest.raises(DataError, match="dataset_info.json"):
        read_prompts(f"tfds:{tmp_path}")


def test_splits_by_column_by_file_and_by_hash(tmp_path):
    column = write(tmp_path / "c.jsonl", [{"prompt": "a", "split": "test"}, {"prompt": "b", "split": "dev"}])
    assert [row["split"] for row in read_prompts(column)] == ["test", "dev"]
    assert splits(column).names == {"test", "dev"}

    folder = tmp_path / "folder"
    write(folder / "train-00000-of-00001.jsonl", QUESTIONS[:2])
    write(folder / "validation" / "data.jsonl", QUESTIONS[2:3])
    rows = read_prompts(str(folder))
    assert [row["split"] for row in rows] == ["train", "train", "validation"]
    assert splits(str(folder)).names == {"train", "validation"}

    plain = write(tmp_path / "test.jsonl", QUESTIONS)
    rows = read_prompts(plain, test=0.5)
    assert [row["split"] for row in rows] == [hash_split(row["turns"], 0.5) for row in rows]
    assert splits(plain).names == {"train", "test"} and splits(plain, test=0.0).names == {"train"}


def test_no_split_in_the_split_column_is_no_split_of_that_name(tmp_path):
    path = write(tmp_path / "x.jsonl", [{"prompt": "a", "split": None}, {"prompt": "b", "split": "dev"}])
    assert splits(path, test=0.0).names == {"train", "dev"}
    assert [row["split"] for row in read_prompts(path, test=0.0)] == ["train", "dev"]


def test_splits_are_told_from_a_look_at_the_first_rows(tmp_path):
    many = [{"prompt": str(i)} for i in range(1001)]
    path = write(tmp_path / "plain.jsonl", many)
    with open(path, "a") as file:
        file.write("never read")
    assert splits(path).names == {"train", "test"}
    assert splits(write(tmp_path / "named.jsonl", [{**row, "split": "dev"} for row in many])).names is None
    assert splits(write(tmp_path / "short.jsonl", [{**row, "split": "dev"} for row in many[:1000]])).names == {"dev"}


def test_caches_and_hidden_files_of_a_dataset_folder_are_left_out(tmp_path):
    write(tmp_path / "d" / "data.jsonl", QUESTIONS)
    write(tmp_path / "d" / "cache-12.jsonl", QUESTIONS)
    write(tmp_path / "d" / ".git" / "x.jsonl", QUESTIONS)
    assert [file.name for file, _ in find(str(tmp_path / "d")).files] == ["data.jsonl"]


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ({"Question": "why?", "answer": "so"}, "why?"),
        ({"instruction": "Add.", "input": "1 2"}, "Add.\n\n1 2"),
        ({"instruction": "Add.", "input": ""}, "Add."),
        ({"turns": ["first", "second"]}, "first"),
        ({"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]}, "hi"),
        ({"transcript": "\n\nHuman: One\n\nAssistant: Two\n\nHuman: Three\n\nAssistant: Four"}, "Three"),
    ],
)
def test_the_prompt_is_found(row, text, tmp_path):
    (found,) = read_prompts(write(tmp_path / "x.jsonl", [row]))
    assert found["turns"][-1] == {"role": "human", "text": text}


def test_source_fields_never_shadow_ours(tmp_path):
    path = write(tmp_path / "x.jsonl", [{"prompt": "a", "id": 7, "reply": "b", "kind": "c", "flag": "spam"}])
    (row,) = read_prompts(path)
    assert "flag" not in row and row["source_flag"] == "spam"
    assert row["source_id"] == 7 and row["source_reply"] == "b" and row["kind"] == "c"
    assert row["id"].endswith("-0")


def test_limit(tmp_path):
    path = write(tmp_path / "x.jsonl", [{"prompt": str(i), "split": "test" if i % 2 else "train"} for i in range(10)])
    assert texts(read_prompts(path, limit=2)) == ["0", "1", "2", "3"]


SECOND_LINE = "x.jsonl:2"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"prompt": "a"', "not JSON (Expecting ',' delimiter at column 15)"),
        ("[1]", "not a JSON object"),
        ('{"prompt": 3}', "field `prompt`: is of type int where text or a list of turns is expected"),
        ('{"prompt": ""}', "field `prompt`: is empty"),
        ('{"prompt": null}', "field `prompt`: has no value"),
        ('{"topic": 1}', "field `prompt`: is not among `topic`"),
        ('{"prompt": "a", "split": 3}', "field `split`: is of type int where a split's name is expected"),
        (
            '{"prompt": [{"role": ["tool"], "content": "x"}]}',
            "field `prompt`: holds a message of role ['tool']",
        ),
        ('{"prompt": [{"role": "system", "content": "x"}]}', "field `prompt`: is empty"),
        ('{"prompt": "\\ud800"}', "field `prompt`: holds half of a surrogate pair"),
        ('{"prompt": "a", "x": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deeply"),
    ],
)
def test_a_malformed_row_names_file_line_field_and_cure(line, message, tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"prompt": "fine"}\n' + line + "\n")
    with pytest.raises(DataError) as caught:
        read_prompts(str(path), column="prompt")
    assert f"{SECOND_LINE}: {message}" in caught.value.message
    assert caught.value.hint


def test_bytes_that_are_not_utf8_are_named(tmp_path):
    (tmp_path / "x.jsonl").write_bytes(b'{"prompt": "a"}\n{"prompt": "\xff"}\n')
    with pytest.raises(DataError, match="x.jsonl:2: not UTF-8"):
        read_prompts(str(tmp_path / "x.jsonl"))


def test_a_byte_order_mark_is_no_error(tmp_path):
    (tmp_path / "x.jsonl").write_bytes(b'\xef\xbb\xbf{"prompt": "a"}\n')
    assert texts(read_prompts(str(tmp_path / "x.jsonl"))) == ["a"]


def test_missing_wrong_and_empty_sources(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_prompts(str(tmp_path / "none.jsonl"))
    (tmp_path / "x.txt").write_text("a,b\n")
    with pytest.raises(DataError, match="not a kind of file"):
        read_prompts(str(tmp_path / "x.txt"))
    with pytest.raises(DataError, match="holds no dataset files"):
        read_prompts(str(tmp_path))
    (tmp_path / "e.jsonl").write_text("\n")
    with pytest.raises(DataError, match="holds no rows"):
        read_prompts(str(tmp_path / "e.jsonl"))


def damaged(folder):
    """Files that end too early, or are not what their name says."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    packed = gzip.compress(b'{"prompt": "a"}\n' * 1000)
    (folder / "cut.jsonl.gz").write_bytes(packed[:40])
    (folder / "spoilt.jsonl.gz").write_bytes(packed[:20] + b"\xff" * 20 + packed[40:])
    (folder / "plain.jsonl.gz").write_text('{"prompt": "a"}\n')
    pq.write_table(pa.Table.from_pylist(QUESTIONS), folder / "cut.parquet")
    (folder / "cut.parquet").write_bytes((folder / "cut.parquet").read_bytes()[:200])
    (folder / "text.parquet").write_text("not parquet")
    (folder / "text.arrow").write_text("not arrow")
    return sorted(folder.iterdir())


def test_damaged_files_are_named(tmp_path):
    found = damaged(tmp_path)
    assert len(found) == 6
    for path in found:
        with pytest.raises(DataError, match=f"{path.name}: cannot be read beyond row "):
            read_prompts(str(path))


def table(path, **columns):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table(columns), path)
    return str(path)


def test_whatever_a_column_holds_becomes_json(tmp_path):
    import datetime
    import decimal

    day = datetime.datetime(2024, 5, 6, 7, 8)
    extra = {
        "when": [day], "day": [day.date()], "price": [decimal.Decimal("1.50")], "nothing": [float("nan")],
        "text": [b"abc"], "image": [b"\xff\xfe"], "inside": [{"list": [1.0, float("inf")]}],
    }  # fmt: skip
    (row,) = read_prompts(table(tmp_path / "x.parquet", prompt=["a"], **extra))
    assert json.loads(json.dumps(row, allow_nan=False)) == row
    assert {name: row[name] for name in extra} == {
        "when": "2024-05-06T07:08:00", "day": "2024-05-06", "price": "1.50", "nothing": None,
        "text": "abc", "image": None, "inside": {"list": [1.0, None]},
    }  # fmt: skip


def test_times_that_python_cannot_hold_refuse_no_row(tmp_path):
    """2024-05-06 07:08:00.000001999 and the like; a whole microsecond is read as ever."""
    import pyarrow as pa

    at, second = 1_714_979_280_000_001_999, 1_000_000_000
    ns, text = pa.timestamp("ns"), "2024-05-06T07:08:00.000001"
    columns = {
        "when": (pa.array([at, at - 999], ns), [text, text]),
        "there": (pa.array([at, None], pa.timestamp("ns", "+02:00")), ["2024-05-06T09:08:00.000001+02:00", None]),
        "zone": (pa.array([1000, None], pa.timestamp("ms", "No/Such")), ["1970-01-01T00:00:01+00:00", None]),
        "took": (pa.array([second + 1, second], pa.duration("ns")), ["0:00:01", "0:00:01"]),
        "hour": (pa.array([second + 1, second], pa.time64("ns")), ["00:00:01", "00:00:01"]),
        "far": (pa.array([253_402_300_800_000, None], pa.timestamp("ms")), ["10000-01-01 00:00:00.000", None]),
        "list": (pa.array([[at, None], None], pa.list_(ns)), [[text, None], None]),
        "map": (pa.array([[("a", at)], []], pa.map_(pa.string(), ns)), [[["a", text]], []]),
        "struct": (pa.array([{"a": at, "b": 1}, None], pa.struct({"a": ns, "b": "int8"})), [{"a": text, "b": 1}, None]),
        "word": (pa.array([at, at], ns).dictionary_encode(), [text, text]),
    }  # fmt: skip
    made = {name: array for name, (array, _) in columns.items()}
    rows = read_prompts(table(tmp_path / "x.parquet", prompt=["a", "b"], **made))
    for name, (_, expected) in columns.items():
        assert [row[name] for row in rows] == expected, name


def test_a_parquet_text_that_is_no_text_names_row_and_field(tmp_path):
    import pyarrow as pa

    ends, said = pa.array([0, 1, 3], pa.int32()).buffers()[1], pa.py_buffer(b"a\xff\xfe")
    path = table(tmp_path / "x.parquet", prompt=pa.StringArray.from_buffers(2, ends, said))
    with pytest.raises(DataError, match="x.parquet:2: field `prompt`: cannot be read"):
        read_prompts(path)
    binary = table(tmp_path / "y.parquet", prompt=pa.array([b"a", b"\xff"], pa.binary()))
    with pytest.raises(DataError, match="y.parquet:2: field `prompt`: has no value that can be read"):
        read_prompts(binary, column="prompt")


def test_an_unknown_column_asks_for_its_name(tmp_path):
    path = write(tmp_path / "x.jsonl", [{"utterance": "a"}])
    with pytest.raises(DataError, match="none of the columns `utterance`") as caught:
        read_prompts(path)
    assert 'column="…"' in caught.value.hint
    assert texts(read_prompts(path, column="utterance")) == ["a"]


def test_chosen_and_rejected_transcripts_share_their_turns(tmp_path):
    start = "\n\nHuman: One\n\nAssistant: Two\n\nHuman: Three\n\nAssistant: "
    path = write(tmp_path / "x.jsonl", [{"chosen": start + "good", "rejected": start + "bad"}])
    (row,) = read_prefs(path)
    assert [turn["text"] for turn in row["turns"]] == ["One", "Two", "Three"]
    assert (row["a"], row["b"], row["p"], row["weight"]) == ("good", "bad", 1.0, 1.0)
    assert texts(read_prompts(path)) == ["Three"]


def test_a_reply_that_begins_like_the_other_keeps_its_beginning(tmp_path):
    start = "\n\nHuman: One\n\nAssistant: Two"
    path = write(tmp_path / "x.jsonl", [{"chosen": start, "rejected": start + "\n\nAssistant: and more"}])
    (row,) = read_prefs(path)
    assert (row["a"], row["b"]) == ("Two", "Two\n\nand more")


def test_chosen_and_rejected_message_lists(tmp_path):
    ask = {"role": "user", "content": "Q"}
    row = {name: [ask, {"role": "assistant", "content": name}] for name in ("chosen", "rejected")}
    (row,) = read_prefs(write(tmp_path / "x.jsonl", [{"prompt": "Q", **row}]))
    assert (texts([row]), row["a"], row["b"]) == (["Q"], "chosen", "rejected")


def test_chosen_and_rejected_replies_beside_a_prompt(tmp_path):
    path = write(tmp_path / "x.jsonl", [{"query": "Q", "chosen": "good", "rejected": "bad", "weight": 2}])
    (row,) = read_prefs(path)
    assert (texts([row]), row["a"], row["b"], row["p"], row["weight"]) == (["Q"], "good", "bad", 1.0, 2.0)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([1, 2, 0], [1.0, 0.0, 0.5]),
        ([1, 0, 0.25], [1.0, 0.0, 0.25]),
        ([1.0, 2.0, "0"], [1.0, 0.0, 0.5]),
        (["a", "B", "tie"], [1.0, 0.0, 0.5]),
        (["one", "two", "0.5"], [1.0, 0.0, 0.5]),
    ],
)
def test_labels(labels, expected, tmp_path):
    rows = [{"prompt": "Q", "one": "x", "two": "y", "winner": label} for label in labels]
    path = write(tmp_path / "x.jsonl", rows)
    assert [row["p"] for row in read_prefs(path, a="one", b="two", label="winner")] == expected


@pytest.mark.parametrize("precision", ["float16", "float32", "float64"])
@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_labels_are_what_was_written_in_whatever_precision(suffix, precision, tmp_path):
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    written = [0.4, 0.6, 0.01, 0.499, 1.0]
    label = pa.array(np.array(written, precision))
    beside = pa.array([0.1, None, float("nan"), 0.3, 0.7], pa.float32())
    made = pa.table({"prompt": ["Q"] * 5, "x": ["1"] * 5, "y": ["2"] * 5, "l": label, "beside": beside})
    path = tmp_path / f"x.{suffix}"
    if suffix == "parquet":
        pq.write_table(made, path)
    else:
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, made.schema) as stream:
            stream.write_table(made)
    rows = read_prefs(str(path), a="x", b="y", label="l")
    assert [row["p"] for row in rows] == written
    assert [row["beside"] for row in rows] == [0.1, None, None, 0.3, 0.7]


def test_rows_with_a_b_and_p_need_no_names(tmp_path):
    path = write(tmp_path / "x.jsonl", [{"question": "Q", "a": "x", "b": "y", "p": 0.7}])
    (row,) = read_prefs(path)
    assert (row["a"], row["b"], row["p"]) == ("x", "y", 0.7)


@pytest.mark.parametrize(
    ("row", "options", "message"),
    [
        (
            {"prompt": "Q", "a": "x", "b": "y", "p": 1.5},
            {},
            "field `p`: does not say which of `a` and `b` is better, in 1.5",
        ),
        ({"prompt": "Q", "a": True, "b": "y", "p": 1}, {}, "field `a`: is of type bool"),
        (
            {"prompt": "Q", "chosen": "x", "rejected": "y", "weight": -1},
            {},
            "field `weight`: is not a weight, in -1",
        ),
        ({"prompt": "Q", "chosen": "x", "rejected": "y", "weight": math.nan}, {}, "field `weight`: is not a weight"),
        ({"prompt": "Q", "chosen": "x", "rejected": "y", "weight": math.inf}, {}, "field `weight`: is not a weight"),
        ({"prompt": "Q", "a": "x", "b": "y", "p": math.nan}, {}, "field `p`: has no value"),
        (
            {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: c\n\nAssistant: d"},
            {},
            "does not share",
        ),
        ({"input": "Q", "output_1": "x", "output_2": "y"}, {}, "neither `chosen` and `rejected` nor"),
        ({"prompt": "Q"}, {"a": "one"}, "go together"),
        ({"prompt": "Q"}, {"chosen": "one"}, "only one is given"),
    ],
)
def test_malformed_preferences(row, options, message, tmp_path):
    with pytest.raises(DataError, match=message):
        read_prefs(write(tmp_path / "x.jsonl", [row]), **options)
