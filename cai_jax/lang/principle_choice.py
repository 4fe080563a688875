"""Constitutions made of others: principles by name or tag, some drawn at random, and several put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Any

from cai_jax.lang import ast
from cai_jax.lang.arguments import Given, Site
from cai_jax.lang.call_types import Applying
from cai_jax.lang.diagnostics import Label, listed
from cai_jax.lang.signature import Call, Kind, Param, Signature, Type
from cai_jax.lang.source import Span
from cai_jax.lang.values import CONSTITUTION, FAILED, Artefact, Failed

SOME = Signature(
    name="some",
    about="A constitution with some of the principles, drawn at random.",
    params=(
        Param("n", "How many; with the same seed, fewer are among more.", value="int", low=1),
        Param("seed", "Another number, another draw.", value="int", default=0, low=0, high=2**32 - 1),
    ),
    result=lambda call: Type(Kind.CONSTITUTION),
    group="source",  # so that the number needs no name
    example="some(4, seed=1)",
)


def named(scope: Applying, constitution: Artefact, name: ast.Name) -> Artefact | Failed:
    """The constitution with only the principle of this name, or those with this tag."""
    every = constitution.values["principles"]
    chosen = [p for p in every if p["name"] == name.id] or [p for p in every if name.id in p["tags"]]
    if not chosen:
        known = sorted({p["name"] for p in every} | {tag for p in every for tag in p["tags"]})
        hint = scope.report.did_you_mean(name.id, known) or f"it has {listed(known, 'and')}"
        message = f"the constitution has no principle and no tag `{name.id}`"
        scope.report.report("E218", message, name.span, "unknown", hint=hint)
        return FAILED
    return _with(scope, constitution, {"principles": chosen})


def constitution_type(values: Mapping[str, Any], signature: Signature | None) -> Type:
    """The type of a constitution, of which its stage, where the registry has one, knows the examples."""
    made = signature.result(Call(values, {})) if signature else Type(Kind.CONSTITUTION)
    return replace(made, supports=abilities(values["principles"]))


def abilities(chosen: list[dict[str, Any]]) -> dict[str, int]:
    """Number of principles that support to "audit" a reply, "revise" it after a critique, "judge" which is better."""
    texts = {"audit": ("audit",), "revise": ("critique", "revise"), "judge": ("compare",)}
    counts = {able: sum(all(p[t] for t in read) for p in chosen) for able, read in texts.items()}
    return {able: count for able, count in counts.items() if count}


def some(scope: Applying, constitution: Artefact, method: ast.Method, span: Span) -> Artefact | Failed:
    """The constitution with some of its principles: the first n in an order that the seed and their names make.

    Their own order stays. What else a constitution has does not matter, so that more principles draw the same ones or
    new ones in their place.
    """
    site = Site(SOME, SOME.name, method.name.span, span)
    given = [Given(each.value.span, each.value, name=each.name) for each in method.arguments]
    values = scope.plain_arguments(site, given)
    if isinstance(values, Failed):
        return FAILED
    every, n = constitution.values["principles"], values["n"]
    if n > len(every):
        message = f"the constitution has {len(every)} principles, and {n} are to be drawn"
        scope.report.report("E237", message, method.span, f"at most {len(every)}")
        return FAILED
    drawn = sorted((p["name"] for p in every), key=lambda name: _place(values["seed"], name))[:n]
    return _with(scope, constitution, {"principles": [p for p in every if p["name"] in drawn]})


def _place(seed: int, name: str) -> bytes:
    return blake2b(f"some {seed} {name}".encode(), digest_size=16).digest()


def joined(scope: Applying, parts: Sequence[Artefact], spans: Sequence[Span]) -> Artefact | Failed:
    """The constitution with the principles and examples of all of these; those that are in several stand once."""
    found: dict[str, tuple[dict[str, Any], Span]] = {}
    fewshots: list[str] = []
    for part, span in zip(parts, spans, strict=True):
        own = part.values["fewshots"]
        fewshots += [own] if isinstance(own, str) else own
        for principle in part.values["principles"]:
            before, where = found.setdefault(principle["name"], (principle, span))
            if before != principle:
                message = f"two principles are called `{principle['name']}`, and they differ"
                label = Label(where, "one is here")
                scope.report.report("E216", message, span, "another one", label, hint="rename one of them")
                return FAILED
    paths = [path for path in dict.fromkeys(fewshots) if path]
    shots = paths if len(paths) > 1 else "".join(paths)
    return _with(scope, parts[0], {"principles": [principle for principle, _ in found.values()], "fewshots": shots})


def _with(scope: Applying, constitution: Artefact, changed: Mapping[str, Any]) -> Artefact:
    values, signature = {**constitution.values, **changed}, scope.world.signatures.get(CONSTITUTION)
    return scope.world.intern(replace(constitution, values=values, type=constitution_type(values, signature)))
