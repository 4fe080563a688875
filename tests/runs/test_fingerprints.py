import os

from cai_jax.runs.fingerprints import Fingerprints


def test_contents_count_and_names_do_not(tmp_path):
    prints = Fingerprints(tmp_path / "memory.json")
    for name, text in [("a.jsonl", "x"), ("b.jsonl", "x"), ("c.jsonl", "y")]:
        (tmp_path / name).write_text(text)
    a, b, c = (prints.of(str(tmp_path / f"{name}.jsonl")) for name in "abc")
    assert a == b != c


def test_a_folder_is_its_files_and_their_places(tmp_path):
    prints = Fingerprints(tmp_path / "memory.json")
    for folder, name in [("one", "train.jsonl"), ("two", "train.jsonl"), ("three", "test.jsonl")]:
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text("x")
    one, two, three = (prints.of(str(tmp_path / name)) for name in ("one", "two", "three"))
    assert one == two != three


def test_a_file_is_read_once_until_it_changes(tmp_path):
    path, memory = tmp_path / "a.jsonl", tmp_path / "memory.json"
    path.write_text("x")
    first = Fingerprints(memory)
    before = first.of(str(path))
    first.save()
    stamp = path.stat()
    path.write_text("y")  # of the same size, and made to look untouched
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert Fingerprints(memory).of(str(path)) == before
    os.utime(path, ns=(0, 0))
    assert Fingerprints(memory).of(str(path)) != before


def test_names_with_a_scheme(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    prints = Fingerprints(tmp_path / "memory.json")
    assert prints.of("init:tiny") == "init:tiny"
    assert prints.of("builtin:red_team") != prints.of("builtin:helpful")
    assert prints.of("hf:org/name") == "hf:org/name@absent"
    model = tmp_path / "models--org--name"
    (model / "snapshots" / "abc").mkdir(parents=True)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("abc\n")
    assert prints.of("hf:org/name") == "hf:org/name@abc"


def test_what_is_not_there_is_no_other_missing_thing(tmp_path):
    prints = Fingerprints(tmp_path / "memory.json")
    assert prints.of(str(tmp_path / "a")) != prints.of(str(tmp_path / "b"))
