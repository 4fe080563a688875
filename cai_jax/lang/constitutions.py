"""Constitutions: check their principles, and resolve `use … from`."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cai_jax.lang import ast, principle_choice, units
from cai_jax.lang.diagnostics import Diagnostics, Label, listed
from cai_jax.lang.knobs import literal
from cai_jax.lang.parser import parse, read
from cai_jax.lang.signature import Call, Param, Principle, Signature
from cai_jax.lang.source import Span, shown_path
from cai_jax.lang.values import CONSTITUTION, FAILED, Artefact, Failed

_TEXTS = ("critique", "revise", "compare", "audit")
_FIELDS = (*_TEXTS, "weight", "tags")
_WEIGHT = Param("weight", "relative frequency with which the principle is drawn", value="float", low=0, open_low=True)


class Library:
    """The constitutions that a program can see, each file read once.

    Args:
      folder: of the program; paths of `use` are looked for in it first.
      root: holds the built-in constitutions/ folder.
      signature: of the stage that makes constitutions, where the registry has one: it checks their examples.
    """

    def __init__(self, folder: Path, root: Path, signature: Signature | None, report: Diagnostics) -> None:
        self.folder = folder
        self.root = root
        self.signature = signature
        self.report = report
        self._files: dict[Path, dict[str, Artefact | Failed]] = {}

    def use(self, statement: ast.Use) -> Artefact | Failed:
        """The constitution that a `use` names."""
        path = self._find(statement.path)
        if path is None:
            return FAILED
        if path not in self._files:
            self._files[path] = {}
            self._files[path] = self._load(path, statement.path)
        known = self._files[path]
        if statement.name.id in known:
            return known[statement.name.id]
        if not any(isinstance(value, Failed) for value in known.values()):
            all_of_it = f"it has {listed(known, 'and')}" if known else ""
            hint = self.report.did_you_mean(statement.name.id, known) or all_of_it
            message = f"`{statement.path.value}` has no constitution `{statement.name.id}`"
            self.report.report("E213", message, statement.name.span, "not in that file", hint=hint)
        return FAILED

    def _find(self, path: ast.Text) -> Path | None:
        for folder in (self.folder, self.root):
            found = folder / os.path.expanduser(path.value)
            if os.path.isfile(found):
                return found
        message = f"there is no file `{path.value}`, neither beside the program nor built in"
        self.report.report("E221", message, path.span, "not found", hint=self._similar(path.value))
        return None

    def _similar(self, wanted: str) -> str:
        candidates = (
            path.relative_to(folder).as_posix()
            for folder in (self.folder, self.root)
            for path in sorted((folder / "constitutions").glob("*.cai"))
        )
        return self.report.did_you_mean(wanted, candidates)

    def _load(self, path: Path, span: ast.Text) -> dict[str, Artefact | Failed]:
        known = len(self.report.errors)
        try:
            source = read(path, shown_path(path), self.report)
        except OSError as error:
            self.report.report("E221", f"`{span.value}` cannot be read: {error.strerror}", span.span)
            return {"": FAILED}
        inner = Diagnostics()
        program = parse(source, inner)
        if inner.errors and not any(s.span.text.startswith("constitution") for s in program.statements):
            message = f"`{span.value}` is no file of constitutions"
            self.report.report("E217", message, span.span, "holds something else")
            return {"": FAILED}
        self.report.extend(inner)
        self.report.met.update(inner.met)
        found: dict[str, Artefact | Failed] = {}
        for statement in program.statements:
            if isinstance(statement, ast.Constitution):
                found[statement.name.id] = self.constitution(statement, path.parent)
        other = next((s for s in program.statements if not isinstance(s, ast.Constitution | ast.Broken)), None)
        if other:
            message = "a file of constitutions holds nothing else"
            self.report.report("E217", message, other.span, "does not belong here")
        return found if len(self.report.errors) == known else {**found, "": FAILED}

    def constitution(self, statement: ast.Constitution, folder: Path | None = None) -> Artefact | Failed:
        """The artefact of a constitution, its few-shots relative to `folder`; FAILED, reported, if it is wrong."""
        known = len(self.report.errors)
        found: list[dict[str, Any]] = []
        places: dict[str, Span] = {}
        fewshots: tuple[str, Span] | None = None
        for item in statement.items:
            if isinstance(item, ast.Field):
                if fewshots:
                    self.report.report("E232", "`fewshots` is given twice", item.name.span, "again")
                fewshots = (_fewshots(item, folder or self.folder, self.report), item.value.span)
                continue
            if item.name.id in places:
                label = Label(places[item.name.id], "first here")
                message = f"two principles are called `{item.name.id}`"
                self.report.report("E216", message, item.name.span, "again", label)
            places[item.name.id] = item.name.span
            found.append(_principle(item, self.report))
        if not found:
            message = f"the constitution `{statement.name.id}` has no principles"
            self.report.report("E215", message, statement.name.span)
        path, at = fewshots or ("", statement.name.span)
        values = {"name": statement.name.id, "principles": found, "fewshots": path}
        for problem in self.signature.check(Call(values, {})) if self.signature and path else ():
            self.report.report(problem.code, problem.message, at, problem.label, hint=problem.hint)
        if len(self.report.errors) > known:
            return FAILED
        made = principle_choice.constitution_type(values, self.signature)
        return Artefact(CONSTITUTION, None, values, {}, made, statement.name.span)


def _fewshots(item: ast.Field, folder: Path, report: Diagnostics) -> str:
    if item.name.id != "fewshots":
        hint = report.did_you_mean(item.name.id, ("fewshots",)) or "it has `fewshots` and principles"
        report.report("E214", f"a constitution has no field `{item.name.id}`", item.name.span, "unknown", hint=hint)
        return ""
    if not isinstance(item.value, ast.Text):
        report.report("E214", "`fewshots` is a path in quotes", item.value.span)
        return ""
    path = folder / os.path.expanduser(item.value.value)
    if not os.path.isfile(path):
        message = f"there is no file `{item.value.value}`"
        report.report("E221", message, item.value.span, "not found", hint="paths are relative to this file")
        return ""
    return os.path.realpath(path)


def _principle(item: ast.PrincipleNode, report: Diagnostics) -> dict[str, Any]:
    known = len(report.errors)
    fields: dict[str, Any] = {}
    for field in item.fields:
        name = field.name.id
        if name not in _FIELDS:
            hint = report.did_you_mean(name, _FIELDS) or f"known are {listed(_FIELDS, 'and')}"
            report.report("E214", f"a principle has no field `{name}`", field.name.span, "unknown", hint=hint)
        elif name in fields:
            report.report("E232", f"`{name}` is given twice", field.name.span, "again")
        else:
            fields[name] = _field(name, field.value, report)
    if not any(fields.get(name) for name in _TEXTS) and len(report.errors) == known:
        message = f"the principle `{item.name.id}` says nothing"
        hint = f"give it {listed(_TEXTS)}"
        report.report("E215", message, item.name.span, "has no text", hint=hint)
    principle = Principle(item.name.id, **{name: value for name, value in fields.items() if value is not None})
    return {**asdict(principle), "tags": list(principle.tags)}


def _field(name: str, value: ast.Expr, report: Diagnostics) -> Any:
    """A field's value; None, reported, if it has the wrong type."""
    if name in _TEXTS:
        if isinstance(value, ast.Text) and value.value.strip():
            return value.value
        report.report("E214", f"`{name}` is a string with something in it", value.span)
    elif name == "tags":
        items = value.items if isinstance(value, ast.List) else ()
        tags = tuple(tag.id for tag in items if isinstance(tag, ast.Name))
        if tags and len(tags) == len(items):
            return tags
        report.report("E214", "`tags` is a list of words", value.span, hint="write  tags = [safety, law]")
    else:
        number = literal(value, report)
        if number is None:
            report.report("E214", "`weight` is a number", value.span)
        elif not isinstance(number, Failed):
            weight = units.plain(number, _WEIGHT, units.Use("principle", value.span), report)
            return None if isinstance(weight, Failed) else weight
    return None
