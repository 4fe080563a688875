"""What tests of the built-in world share: its checkpoint, and its constitution as stages see it."""

from __future__ import annotations

import functools
import json

from cai_jax.lang.assets import find
from cai_jax.lang.signature import Kind, Type
from cai_jax.models.config import Config
from cai_jax.models.locate import BUILTIN
from cai_jax.models.tokenizer import Tokenizer
from cai_jax.stages import registry
from tests.support.artefacts import Given

CHECKPOINT = BUILTIN["tiny"]


@functools.cache
def config() -> Config:
    """Of the shipped checkpoint."""
    return Config.from_hf(json.loads((CHECKPOINT / "config.json").read_text("utf-8")))


@functools.cache
def tokenizer() -> Tokenizer:
    """Of the shipped checkpoint."""
    return Tokenizer.load(CHECKPOINT, config())


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
