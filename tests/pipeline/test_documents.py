"""Pretraining documents, read by number."""

import json

import pytest

from cai_jax.data.rows import DataError
from cai_jax.pipeline import documents
from cai_jax.prompting.render import END, Segment
from cai_jax.world.documents import document

FILE = {"column": "text", "config": "", "malformed": "error", "skip": 0}
WORLD = FILE | {"path": "builtin:world", "rows": 50, "form": "any", "shots": 0, "contrast": False, "endings": False}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": f"text {i}", "other": i}) + "\n" for i in range(6)))
    return FILE | {"path": str(path), "rows": 0}


def test_documents_of_a_file(file):
    assert documents.count(file) == 6
    assert list(documents.read(file, 2, 4)) == [
        [Segment("text 2", trusted=False, trained=True, truncatable=True), END],
        [Segment("text 3", trusted=False, trained=True, truncatable=True), END],
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


def test_few_shots_stand_in_front_of_documents_of_the_world():
    few = list(documents.read(WORLD | {"shots": 5, "form": "comparison"}, 0, 50))
    assert few == list(documents.read(WORLD | {"shots": 5, "form": "comparison"}, 0, 50))
    answers = [sum(segment.text == "\n\nThe answer is:" for segment in segments) for segments in few]
    assert set(answers) == {2, 3, 4, 5, 6}  # from one to five, and the document's own
    assert all(segments.count(END) == 1 and segments[-1] == END for segments in few)


def test_the_world_is_read_by_form_and_by_contrast():
    for form, contrast in (("audit", False), ("any", True), ("revision", True)):
        found = list(documents.read(WORLD | {"form": form, "contrast": contrast}, 0, 50))
        assert found == [document(index, form, contrast=contrast) for index in range(50)]
