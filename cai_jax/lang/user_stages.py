"""Stages of the user's own, `use stage name from "file.py"`: their signatures, read without running the file.

A stage is a function with a decorator whose arguments are literals, `@cai_jax.stage(result="Metric", params={…})`.
"""

from __future__ import annotations

import ast as python
import os
import re
import warnings
from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cai_jax.lang import ast
from cai_jax.lang.diagnostics import Diagnostics, Label, listed
from cai_jax.lang.parser import MAX_BYTES
from cai_jax.lang.scope import has_scheme
from cai_jax.lang.signature import Code, Signature
from cai_jax.lang.source import Source, Span, shown_path
from cai_jax.lang.stage_declaration import FUNCTIONS, Undeclarable, signature

_EXAMPLE = '@cai_jax.stage(result="Metric", params={…})'
_COPY = "read it, copy the file beside the program, and name the copy"
# What a folder holds that was downloaded: weights, tokenizers and data. The code beside them is somebody else's.
_DOWNLOADED = (
    "adapter_config.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "tokenizer.json",
    "tokenizer_config.json",
    "dataset_info.json",
    "dataset_dict.json",
)
_HUB = re.compile(r"(?:models|datasets|spaces)--.+")  # a folder of the Hugging Face cache


def read_text(path: str | Path) -> str:
    """The text of a Python file, with line ends made `\\n`.

    Raises:
      OSError: it cannot be read.
      ValueError: it is not UTF-8, or larger than a program may be.
    """
    with open(path, "rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ValueError(f"it has more than {MAX_BYTES:,} bytes")
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise ValueError("it is not UTF-8") from error


@dataclass(frozen=True)
class _File:
    """A file that parses: its functions by name, the last of each, as in Python."""

    path: Path
    source: Source
    functions: Mapping[str, python.FunctionDef]

    def span(self, node: python.expr) -> Span:
        """The place of a node; it is underlined to the end of its first line."""
        start = self._offset(node.lineno, node.col_offset)
        assert node.end_lineno is not None and node.end_col_offset is not None  # the parser sets both
        end = self._offset(node.end_lineno, node.end_col_offset)
        line_end = self.source.text.find("\n", start)
        return Span(self.source, start, end if line_end < 0 else min(end, line_end))

    def name(self, function: python.FunctionDef) -> Span:
        """The name of a function after its `def`."""
        start = self._offset(function.lineno, function.col_offset)
        at = self.source.text.index(function.name, start + len("def"))
        return Span(self.source, at, at + len(function.name))

    def _offset(self, line: int, byte: int) -> int:
        before = self.source.line(line).encode()[:byte]
        return self.source.offset(line, len(before.decode(errors="replace")) + 1)


class UserStages:
    """The stages of the user's own that a program can use, each file read once.

    Args:
      folder: of the program; paths are looked for in it.
      taken: the names of the registry's stages.
    """

    def __init__(self, folder: Path, taken: Container[str], report: Diagnostics) -> None:
        self.folder = folder
        self.taken = taken
        self.report = report
        self._files: dict[Path, _File | None] = {}

    def use(self, statement: ast.UseStage) -> Signature | None:
        """The signature of the stage that a `use stage` names; None, reported, if there is none."""
        if statement.name.id in self.taken:
            message, hint = f"`{statement.name.id}` is a stage already", "give the function another name"
            self.report.report("E266", message, statement.name.span, "taken", hint=hint)
            return None
        path = self._find(statement.path)
        if path is None:
            return None
        if path not in self._files:
            self._files[path] = self._load(path, statement.path)
        file = self._files[path]
        return None if file is None else self._declared(file, statement)

    def _find(self, path: ast.Text) -> Path | None:
        if has_scheme(path.value):
            message = f"code is not run from `{path.value}`"
            self.report.report("E262", message, path.span, "not a file of yours", hint=_COPY)
            return None
        found = Path(os.path.abspath(self.folder / os.path.expanduser(path.value)))
        if not found.is_file():
            message = f"there is no file `{path.value}` beside the program"
            beside = (each.name for each in sorted(self.folder.glob("*.py")))
            hint = self.report.did_you_mean(path.value, beside) or "paths are relative to the program"
            self.report.report("E221", message, path.span, "not found", hint=hint)
            return None
        if why := _foreign(found) or _foreign(found.resolve()):
            self.report.report("E262", f"`{path.value}` lies in {why}", path.span, "not a file of yours", hint=_COPY)
            return None
        return found

    def _load(self, path: Path, written: ast.Text) -> _File | None:
        try:
            source = Source(shown_path(path), read_text(path))
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            self.report.report("E263", f"`{written.value}` cannot be read as Python: {why}", written.span)
            return None
        used = Label(written.span, "used here")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of escapes in its strings: they are for its author's own tools
                tree = python.parse(source.text)
        except SyntaxError as error:
            start = source.offset(error.lineno or 1, error.offset or 1)
            end = source.offset(error.end_lineno or 1, error.end_offset or 1)
            span = Span(source, start, max(start, end))
            self.report.report("E263", f"this is no Python: {error.msg}", span, "", used, hint="mend the file")
            return None
        except (ValueError, RecursionError, MemoryError) as error:
            message = f"`{written.value}` cannot be read as Python: {error or type(error).__name__}"
            self.report.report("E263", message, written.span, hint="mend the file")
            return None
        functions = {each.name: each for each in tree.body if isinstance(each, python.FunctionDef)}
        return _File(path, source, functions)

    def _declared(self, file: _File, statement: ast.UseStage) -> Signature | None:
        name, written = statement.name, statement.path.value
        function = file.functions.get(name.id)
        call = None if function is None else _decorator(function)
        if function is None or call is None:
            stages = [each for each, found in file.functions.items() if _decorator(found)]
            if function is not None:
                label = Label(file.name(function), "no stage")
                message, hint = f"`{name.id}` of `{written}` is not declared as a stage", f"write above it  {_EXAMPLE}"
                self.report.report("E264", message, name.span, "", label, hint=hint)
            else:
                known = f"it has {listed(stages, 'and')}" if stages else f"declare it there:  {_EXAMPLE}"
                hint = self.report.did_you_mean(name.id, stages) or known
                message = f"`{written}` has no stage `{name.id}`"
                self.report.report("E264", message, name.span, "not in that file", hint=hint)
            return None
        try:
            fields, given = _literals(call)
            code = Code(str(file.path), file.source.text, given)
            return signature(name.id, python.get_docstring(function) or "", fields, code)
        except _NotLiteral as error:
            message = "what a stage declares is written out, so that it can be read without running the file"
            self.report.report(
                "E265", message, file.span(error.node), "not a literal", Label(name.span, "used here"), hint=error.hint
            )
        except Undeclarable as error:
            span = file.span(_at(call, error.path)) if error.path else file.name(function)
            self.report.report("E265", error.message, span, "", Label(name.span, "used here"), hint=error.hint)
        return None


def _foreign(path: Path) -> str:
    """The kind of folder with other people's code that holds a file; "" if there is no sign of that."""
    if any(_HUB.fullmatch(part) for part in path.parts):
        return "the cache of the Hugging Face hub"
    if any((folder / name).exists() for folder in path.parents for name in _DOWNLOADED):
        return "a folder of a model or data set"
    return ""


def _decorator(function: python.FunctionDef) -> python.Call | None:
    """The call of `@cai_jax.stage(…)`, or `@stage(…)`, above a function."""
    for each in function.decorator_list:
        match each:
            case python.Call(func=python.Attribute(value=python.Name(id="cai_jax"), attr="stage")):
                return each
            case python.Call(func=python.Name(id="stage")):
                return each
    return None


class _NotLiteral(Exception):
    """A part of a declaration that is known only by running it."""

    def __init__(self, node: python.expr, hint: str = "write strings, numbers, lists and dicts in full") -> None:
        super().__init__()
        self.node = node
        self.hint = hint


def _literals(call: python.Call) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The arguments of a declaration: its plain values by name, and which functions."""
    if call.args:
        raise _NotLiteral(call.args[0], f"give it by name: {_EXAMPLE}")
    values, functions = {}, []
    for keyword in call.keywords:
        if keyword.arg is None:
            raise _NotLiteral(keyword.value)
        if keyword.arg in FUNCTIONS:
            functions.append(keyword.arg)
        else:
            values[keyword.arg] = _literal(keyword.value)
    return values, tuple(functions)


def _literal(node: python.expr) -> Any:
    """The value of a literal; raises _NotLiteral with the innermost part that is none."""
    try:
        return python.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        if isinstance(node, (python.Dict, python.List, python.Tuple)):
            for part in python.iter_child_nodes(node):
                if isinstance(part, python.expr):
                    _literal(part)
        raise _NotLiteral(node) from None


def _at(call: python.Call, path: tuple[str, ...]) -> python.expr:
    """The part of a declaration that a path leads to, as far as it goes."""
    at: python.expr = call
    for name in path:
        if isinstance(at, python.Call):
            inner = next((keyword.value for keyword in at.keywords if keyword.arg == name), None)
        elif isinstance(at, python.Dict):
            keys = [key.value if isinstance(key, python.Constant) else None for key in at.keys]
            inner = at.values[keys.index(name)] if name in keys else None
        else:
            inner = None
        if inner is None:
            break
        at = inner
    return at
