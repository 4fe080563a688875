import hashlib
import json
import os
import shutil

import pytest

from cai_jax.data import file_stamps
from cai_jax.errors import UserError
from cai_jax.models.errors import ModelError
from cai_jax.runs import fingerprints
from cai_jax.runs.fingerprints import Fingerprints


def print_of(path):
    return Fingerprints(path.parent / "no memory").of(str(path))


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


@pytest.mark.parametrize("size", [1, fingerprints._WORTH_KEEPING])
@pytest.mark.parametrize("how", ["write", "replace", "rename"])
def test_neither_size_nor_time_hides_a_change(how, size, tmp_path):
    path, other = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    path.write_bytes(b"x" * size)
    other.write_bytes(b"y" * size)
    before = print_of(path)
    stamp = path.stat()
    if how == "write":
        path.write_bytes(b"y" * size)
    elif how == "replace":
        shutil.copy(other, path)
    else:
        other.rename(path)
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # as `cp -p` and `touch -r` do
    assert path.stat().st_size == size and path.stat().st_mtime_ns == stamp.st_mtime_ns
    assert print_of(path) != before


def test_a_large_file_is_read_once_and_a_fresh_one_again(tmp_path, monkeypatch):
    path, memory = tmp_path / "a.jsonl", tmp_path / "memory.json"
    path.write_bytes(b"x" * fingerprints._WORTH_KEEPING)
    read = []
    hashed = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda stream, how: read.append(stream.name) or hashed(stream, how))

    def look(settled):
        monkeypatch.setattr(fingerprints, "_hashed", {})  # another process
        monkeypatch.setattr(fingerprints, "_SETTLED_NS", 0 if settled else 10**12)
        prints = Fingerprints(memory)
        found = prints.of(str(path))
        prints.save()
        return found, len(read)

    first, _ = look(settled=False)
    assert look(settled=False) == (first, 2) and look(settled=True) == (first, 3)
    assert look(settled=True) == (first, 3)
    path.rename(tmp_path / "moved")
    shutil.copy(tmp_path / "moved", path)
    assert look(settled=True) == (first, 4)


@pytest.mark.parametrize(
    "text", ["", "[]", "null", '{"/a": 1}', '{"/a": [[1], "x"]}', "[" * 5000, '{"%s": [[1,2,3,4,5], 7]}']
)
def test_a_memory_that_is_damaged_is_forgotten(text, tmp_path):
    path, memory = tmp_path / "a.jsonl", tmp_path / "memory.json"
    path.write_text("x")
    memory.write_text(text.replace("%s", str(path)))
    prints = Fingerprints(memory)
    assert prints.of(str(path)) == print_of(path)
    prints.save()


def test_a_file_that_changes_while_it_is_read_has_no_fingerprint(tmp_path, monkeypatch):
    path = tmp_path / "a.jsonl"
    path.write_text("x")
    hashed = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda stream, how: (path.write_text("yy"), hashed(stream, how))[1])
    with pytest.raises(UserError, match="a.jsonl changes while it is read"):
        print_of(path)


def test_what_links_lead_to_is_part_of_a_folder(tmp_path):
    (tmp_path / "blobs").mkdir()
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "blobs" / "1").write_text("x")
    (tmp_path / "snapshot" / "w").symlink_to("../blobs/1")
    (tmp_path / "snapshot" / "sub").symlink_to("../blobs")
    (tmp_path / "snapshot" / "back").symlink_to("../snapshot")
    before = print_of(tmp_path / "snapshot")
    (tmp_path / "blobs" / "2").write_text("y")
    through = print_of(tmp_path / "snapshot")
    (tmp_path / "snapshot" / "w").unlink()
    (tmp_path / "snapshot" / "w").symlink_to("../blobs/2")
    assert len({before, through, print_of(tmp_path / "snapshot")}) == 3


def test_what_is_no_file_has_no_contents(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="model.safetensors is neither a file nor a folder"):
        print_of(tmp_path)
    monkeypatch.setattr(file_stamps, "MOST", 3)
    (tmp_path / "many").mkdir()
    for number in range(4):
        (tmp_path / "many" / str(number)).touch()
    with pytest.raises(UserError, match="holds more than 3 files"):
        print_of(tmp_path / "many")


def adapter(folder, base):
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(base)}))
    return folder


def test_of_adapters_on_adapters_every_base_counts(tmp_path):
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "w").write_text("x")
    top = adapter(tmp_path / "top", adapter(tmp_path / "middle", tmp_path / "base"))
    before = print_of(top)
    (tmp_path / "base" / "w").write_text("y")
    assert print_of(top) != before
    (tmp_path / "middle" / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(top)}))
    with pytest.raises(ModelError, match="stands on itself"):
        print_of(top)


def test_names_with_a_scheme(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    prints = Fingerprints(tmp_path / "memory.json")
    assert prints.of("init:tiny") == "init:tiny"
    assert prints.of("builtin:red_team") != prints.of("builtin:helpful")
    assert prints.of("hf:org/name") == "absent hf:org/name"
    seen = {prints.of("hf:org/name")}
    for kind, commit, text in [("models", "abc", "x"), ("models", "def", "y"), ("datasets", "abc", "z")]:
        cached = tmp_path / f"{kind}--org--name"
        (cached / "snapshots" / commit).mkdir(parents=True)
        (cached / "snapshots" / commit / "data.jsonl").write_text(text)
        (cached / "refs").mkdir(exist_ok=True)
        (cached / "refs" / "main").write_text(commit)
        seen.add(prints.of("hf:org/name"))
    # A download that was stopped goes on under the same commit.
    (cached / "snapshots" / "abc" / "more.jsonl").write_text("w")
    seen.add(prints.of("hf:org/name"))
    assert len(seen) == 5


def test_what_is_not_there_is_no_other_missing_thing(tmp_path):
    prints = Fingerprints(tmp_path / "memory.json")
    assert prints.of(str(tmp_path / "a")) != prints.of(str(tmp_path / "b"))
