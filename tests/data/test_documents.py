"""Pretraining documents, read by number."""

import json

import pytest

from cai_jax.data import documents
from cai_jax.data.render import END, Segment
from cai_jax.data.rows import DataError
from cai_jax.tiny.documents import document

FILE = {"column": "text", "config": "", "malformed": "error", "skip": 0}
WORLD = FILE | {"path": "builtin:world", "rows": 50, "shots": 0, "few": 0.0, "contrast": 0.0}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": f"text {i}", "other": i}) + "\n" for i in range(6)))
    return FILE | {"path": str(path), "rows": 0}


def test_documents_of_a_file(file):
    assert documents.count(file) == 6
    assert list(documents.read(file, 2, 4)) == [
        [Segment("text 2", trusted=False, trained=True, spare=True), END],
        [Segment("text 3", trusted=False, trained=True, spare=True), END],
    ]


def test_skip_and_rows(file):
    assert documents.count(file | {"skip": 4}) == 2
    assert documents.count(file | {"rows": 3}) == 3
    assert documents.count(file | {"rows": 30}) == 6
    assert [d[0].text for d in documents.read(file | {"skip": 4}, 0, 2)] == ["text 4", "text 5"]


def test_no_documents_left(file):
    with pytest.raises(DataError, match="no documents are left after skip=6"):
        documents.count(file | {"skip": 6})


def test_a_document_without_text_is_named(file):
    with pytest.raises(DataError, match=r"texts\.jsonl:1.*`body`") as error:
        list(documents.read(file | {"column": "body"}, 0, 1))
    assert "column" in str(error.value.hint)
    with pytest.raises(DataError, match="`other`"):
        list(documents.read(file | {"column": "other"}, 0, 1))


def test_rows_that_hold_no_document_are_left_out_and_counted(file):
    with open(file["path"], "r+") as texts:
        whole = texts.read()
        texts.seek(0)
        texts.write('{oops\n{"text": null}\n' + whole)
    with pytest.raises(DataError, match=r"texts\.jsonl:1: not JSON"):
        documents.count(file)
    bad = []
    assert documents.count(file | {"malformed": "skip", "skip": 2}, bad.append) == 4 and len(bad) == 2
    read = documents.read(file | {"malformed": "skip", "skip": 2}, 0, 4)
    assert [segments[0].text for segments in read] == ["text 2", "text 3", "text 4", "text 5"]


def test_the_world_is_read_from_anywhere():
    assert documents.count(WORLD) == 50
    every = list(documents.read(WORLD, 0, 50))
    assert every == [document(index) for index in range(50)]
    assert list(documents.read(WORLD, 20, 30)) == every[20:30]
    assert list(documents.read(WORLD | {"skip": 20}, 0, 10)) == every[20:30]


def test_a_part_of_the_world_has_few_shots():
    def length(source):
        return [len(segments) for segments in documents.read(source, 0, 50)]

    few = list(documents.read(WORLD | {"shots": 5, "few": 0.4}, 0, 50))
    assert few == list(documents.read(WORLD | {"shots": 5, "few": 0.4}, 0, 50))
    plain = [document(index) for index in range(50)]
    assert 8 <= sum(a != b for a, b in zip(few, plain, strict=True)) <= 32
    assert sum(length(WORLD | {"shots": 5, "few": 1.0})) > 2 * sum(length(WORLD))
    assert all(segments.count(END) == 1 and segments[-1] == END for segments in few)


def test_a_part_of_the_world_is_contrast():
    part = list(documents.read(WORLD | {"contrast": 0.5}, 0, 50))
    plain, contrast = ([document(index, contrast=c) for index in range(50)] for c in (False, True))
    assert all(segments in (plain[i], contrast[i]) for i, segments in enumerate(part))
    assert part != plain and part != contrast
    assert list(documents.read(WORLD | {"contrast": 1.0}, 0, 50)) == contrast
