"""The grammar, and where the parser's tables are kept."""

from __future__ import annotations

import os
import pickle
import stat
import sys

import pytest
from lark import Lark

from cai_jax.lang import assets, tables


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A fresh cache directory; the process's own parser is put aside."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    tables.parser.cache_clear()
    yield tmp_path / "cache"
    tables.parser.cache_clear()


def tree(parser: Lark):
    return parser.parse("rm = a.b + 2 * c |> f(x, k=-1..1) with (mesh=pmap) |> g()")


def test_the_grammar_has_no_conflict():
    pytest.importorskip("interegular", reason="Lark's strict mode needs it")
    grammar = (assets.find("grammar") / "cai.lark").read_text(encoding="utf-8")
    assert tree(Lark(grammar, strict=True, **tables.OPTIONS)) == tree(tables.parser())


def test_tables_are_written_once_and_loaded_again(home, monkeypatch):
    built = tree(tables.parser())
    (file,) = (home / "cai_jax").iterdir()
    assert stat.S_IMODE((home / "cai_jax").stat().st_mode) == 0o700
    tables.parser.cache_clear()
    monkeypatch.setattr(tables, "Lark", _LoadOnly)
    assert tree(tables.parser()) == built
    assert list((home / "cai_jax").iterdir()) == [file]


class _LoadOnly(Lark):
    def __init__(self, *arguments, **options):
        raise AssertionError("the tables were built again")


@pytest.mark.parametrize("content", [b"", b"no pickle", b"\x80\x04N."])
def test_spoilt_tables_are_built_again(home, content):
    tables.parser()
    (file,) = (home / "cai_jax").iterdir()
    file.write_bytes(content)
    tables.parser.cache_clear()
    tree(tables.parser())
    with file.open("rb") as good:
        tree(Lark.load(good))


def test_a_directory_that_others_may_read_is_closed(home):
    (home / "cai_jax").mkdir(parents=True)
    (home / "cai_jax").chmod(0o755)
    tables.parser()
    assert stat.S_IMODE((home / "cai_jax").stat().st_mode) == 0o700


class _Planted:
    @staticmethod
    def run():
        raise SystemExit("a planted pickle was run")

    def __reduce__(self):
        return _Planted.run, ()


def test_nothing_is_read_from_a_directory_that_others_could_have_filled(home):
    tables.parser()
    (file,) = (home / "cai_jax").iterdir()
    file.write_bytes(pickle.dumps(_Planted()))
    (home / "cai_jax").chmod(0o777)
    tables.parser.cache_clear()
    tree(tables.parser())


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="no users here")
def test_another_users_directory_is_not_used(home, monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    tree(tables.parser())
    assert not list((home / "cai_jax").iterdir())


def test_without_a_writable_home_the_tables_are_built(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    tables.parser.cache_clear()
    tree(tables.parser())
    tables.parser.cache_clear()


def test_the_key_of_the_file_names_what_the_tables_depend_on(home, monkeypatch):
    names = {tables._cache_file("grammar a").name, tables._cache_file("grammar b").name}
    monkeypatch.setattr(sys, "version_info", (3, 99, 0))
    names.add(tables._cache_file("grammar a").name)
    assert len(names) == 3
