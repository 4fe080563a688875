"""The parser's tables: built from grammar/cai.lark, and kept in the user's own cache directory.

Building takes 80 ms, loading 4 ms. Lark keeps tables as a pickle, which runs code when loaded, so they are only
ever read from a directory that belongs to this user and that no other user may write to.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import sys
from functools import cache
from pathlib import Path

from lark import Lark
from lark import __version__ as lark_version

from cai_jax.lang import assets

# The basic lexer makes the language's words reserved everywhere, instead of wherever they might fit.
OPTIONS = {"parser": "lalr", "lexer": "basic", "propagate_positions": True}


@cache
def parser() -> Lark:
    """The parser of one statement; the same object for the whole process."""
    grammar = (assets.find("grammar") / "cai.lark").read_text(encoding="utf-8")
    path = _cache_file(grammar)
    if path is None:
        return Lark(grammar, **OPTIONS)
    try:
        with open(path, "rb") as file:
            return Lark.load(file)
    except FileNotFoundError:
        pass
    except Exception:  # an unreadable or half-written file of ours: build and write it again
        path.unlink(missing_ok=True)
    built = Lark(grammar, **OPTIONS)
    _write(built, path)
    return built


def cache_folder() -> Path | None:
    """The user's own cache folder for this package; None without one that is safely ours."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    directory = Path(base) / "cai_jax"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = directory.stat()
        if hasattr(os, "getuid"):
            if status.st_uid != os.getuid() or status.st_mode & 0o022:
                return None  # others could have put a file there
            if status.st_mode & 0o055:
                directory.chmod(0o700)
    except OSError:
        return None
    return directory


def _cache_file(grammar: str) -> Path | None:
    """The file of this grammar's tables; None where there can be none."""
    directory = cache_folder()
    if directory is None:
        return None
    meaning = f"{grammar}|{OPTIONS}|{lark_version}|{sys.version_info[:2]}"
    return directory / f"grammar-{hashlib.blake2b(meaning.encode(), digest_size=8).hexdigest()}.pickle"


def _write(built: Lark, path: Path) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            built.save(file)
        os.replace(temporary, path)
    except (OSError, pickle.PicklingError):
        temporary.unlink(missing_ok=True)
