"""What tests of the built-in world share: its checkpoint, and stages run without a run around them."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cai_jax.lang.assets import find
from cai_jax.lang.signature import Kind, Node, Type
from cai_jax.models.config import Config
from cai_jax.models.locate import BUILTIN
from cai_jax.models.tokenizer import Tokenizer
from cai_jax.stages import registry

CHECKPOINT = BUILTIN["tiny"]


@functools.cache
def config() -> Config:
    """Of the shipped checkpoint."""
    return Config.from_hf(json.loads((CHECKPOINT / "config.json").read_text("utf-8")))


@functools.cache
def tokenizer() -> Tokenizer:
    """Of the shipped checkpoint."""
    return Tokenizer.load(CHECKPOINT, config())


class Given(NamedTuple):
    """An artefact that no stage has made."""

    type: Type
    key: str = "given"
    lines: Sequence[dict[str, Any]] = ()
    result: Mapping[str, Any] = {}
    path: Path | None = None
    bases: tuple[Path, ...] = ()

    def source(self, name: str) -> str:
        """The few-shots of a constitution, which stand in its parameters; a model has none."""
        return self.result.get(name, "")

    def rows(self) -> list[dict[str, Any]]:
        return [dict(row) for row in self.lines]


class Context:
    """One stage at work, its rows and notes kept in memory."""

    stopping, seed = False, 0

    def __init__(self, stage: str, inputs: Mapping[str, Any], **params: Any) -> None:
        plain = {p.name: p.default for p in registry()[stage].SIGNATURE.params if not p.kinds}
        self.params = plain | params
        self.inputs = inputs
        self.node = Node("given", stage, self.params, {}, Type(Kind.RESPONSES))
        self.rows: list[dict[str, Any]] = []
        self.notes: list[tuple[str, str]] = []

    def committed(self) -> list[dict[str, Any]]:
        return list(self.rows)

    def commit(self, rows: Sequence[dict[str, Any]]) -> None:
        self.rows += rows

    def note(self, code: str, message: str) -> None:
        self.notes.append((code, message))

    def used(self, **schedule: Any) -> None:
        pass

    def progress(self, done: int, total: int, *, tokens: int = 0, unit: str = "rows") -> None:
        pass


def run(stage: str, inputs: Mapping[str, Any], **params: Any) -> list[dict[str, Any]]:
    """The rows that a stage makes of these inputs, its other parameters at their defaults."""
    ctx = Context(stage, inputs, **params)
    registry()[stage].run(ctx)
    return ctx.rows


def replies(rows: Sequence[dict[str, Any]]) -> Given:
    return Given(Type(Kind.RESPONSES), lines=rows)


def model(name: str = "tiny") -> Given:
    """A shipped checkpoint."""
    return Given(Type(Kind.MODEL), key=name, path=BUILTIN[name], result={"dtype": "float32"})


@functools.cache
def starter() -> Given:
    """The starter constitution, as the stage `constitution` gives it to others."""
    from cai_jax.lang import checker, plan

    text = (
        'use harmless from "constitutions/starter.cai"\n'
        'x = prompts("builtin:red_team").train |> sample(model("builtin:tiny"), n=2)'
        ' |> judge(harmless, by=model("builtin:tiny"))\n'
    )
    lowered = plan.lower(checker.check(text, "starter.cai", registry()), lambda path: path)
    node = next(node for node in lowered.nodes if node.stage == "constitution")
    return Given(Type(Kind.CONSTITUTION), result=node.params)


FEWSHOTS = find("constitutions") / "starter.fewshots.jsonl"
