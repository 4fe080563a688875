"""The grammar, and where the parser's tables are kept."""

from __future__ import annotations

import os
import pickle
import stat
import sys

import pytest
from lark import Lark

from cai_jax.lang import assets, parser_cache


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A fresh cache directory; the process's own parser is put aside."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    parser_cache.parser.cache_clear()
    yield tmp_path / "cache"
    parser_cache.parser.cache_clear()


def tree(parser: Lark):
    return parser.parse("rm = a.b + 2 * c |> f(x, k=-1..1) with (mesh=pmap) |> g()")


def test_the_grammar_has_no_conflict():
    grammar = (assets.find("grammar") / "cai.lark").read_text(encoding="utf-8")
    assert tree(Lark(grammar, strict=True, **parser_cache.OPTIONS)) == tree(parser_cache.parser())


def test_tables_are_written_once_and_loaded_again(home, monkeypatch):
    built = tree(parser_cache.parser())
    (file,) = (home / "cai_jax").iterdir()
    assert stat.S_IMODE((home / "cai_jax").stat().st_mode) == 0o700
    parser_cache.parser.cache_clear()
    monkeypatch.setattr(parser_cache, "Lark", _LoadOnly)
    assert tree(parser_cache.parser()) == built
    assert list((home / "cai_jax").iterdir()) == [file]


class _LoadOnly(Lark):
    def __init__(self, *arguments, **options):
        raise AssertionError("the tables were built again")


@pytest.mark.parametrize("content", [b"", b"no pickle", b"\x80\x04N."])
def test_spoilt_tables_are_built_again(home, content):
    parser_cache.parser()
    (file,) = (home / "cai_jax").iterdir()
    file.write_bytes(content)
    parser_cache.parser.cache_clear()
    tree(parser_cache.parser())
    with file.open("rb") as good:
        tree(Lark.load(good))


def test_a_directory_that_others_may_read_is_closed(home):
    (home / "cai_jax").mkdir(parents=True)
    (home / "cai_jax").chmod(0o755)
    parser_cache.parser()
    assert stat.S_IMODE((home / "cai_jax").stat().st_mode) == 0o700


class _Planted:
    @staticmethod
    def run():
        raise SystemExit("a planted pickle was run")

    def __reduce__(self):
        return _Planted.run, ()


def test_nothing_is_read_from_a_directory_that_others_could_have_filled(home):
    parser_cache.parser()
    (file,) = (home / "cai_jax").iterdir()
    file.write_bytes(pickle.dumps(_Planted()))
    (home / "cai_jax").chmod(0o777)
    parser_cache.parser.cache_clear()
    tree(parser_cache.parser())


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="no users here")
def test_another_users_directory_is_not_used(home, monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    tree(parser_cache.parser())
    assert not list((home / "cai_jax").iterdir())


def test_without_a_writable_home_the_tables_are_built(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    parser_cache.parser.cache_clear()
    tree(parser_cache.parser())
    parser_cache.parser.cache_clear()


def test_the_key_of_the_file_names_what_the_tables_depend_on(home, monkeypatch):
    names = {parser_cache._cache_file("grammar a").name, parser_cache._cache_file("grammar b").name}
    monkeypatch.setattr(sys, "version_info", (3, 99, 0))
    names.add(parser_cache._cache_file("grammar a").name)
    assert len(names) == 3
