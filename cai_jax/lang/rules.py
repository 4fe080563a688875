"""Rules that hold for every stage alike: lineage, inheritance, splits, batches, and the stage's own check."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from cai_jax.lang import ast
from cai_jax.lang.calls import Site, missing
from cai_jax.lang.diagnostics import Diagnostics, Label, did_you_mean, listed
from cai_jax.lang.source import Span
from cai_jax.lang.types import REQUIRED, Call, Kind
from cai_jax.lang.values import FAILED, Artefact, Failed

_TEXT = (Kind.RESPONSES, Kind.DIALOGS)
_DATA = (*_TEXT, Kind.PROMPTS, Kind.PREFS)
_TRAINED = (Kind.MODEL, Kind.REWARD_MODEL)


def joinable(first: Kind, other: Kind) -> bool:
    """Whether `+` may join two kinds: equal ones, or replies with dialogs."""
    return first is other or (first in _TEXT and other in _TEXT)


def stage_check(site: Site, call: Call, spans: Mapping[str, Span], report: Diagnostics) -> bool:
    """Reports what the stage itself finds wrong with a call; False if that is an error."""
    sound = True
    for problem in site.signature.check(call):
        sound = sound and problem.warning
        span = spans.get(problem.param, site.at)
        also = [Label(spans[name], label) for name, label in problem.also if name in spans]
        report.report(problem.code, problem.message, span, problem.label, *also, hint=problem.hint)
    return sound


def batch_fits(
    site: Site,
    values: Mapping[str, Any],
    schedule: Mapping[str, Any],
    spans: Mapping[str, Span],
    report: Diagnostics,
) -> bool:
    """Reports a batch that cannot be split as its schedule says: into micro-batches, and these over devices."""
    batch = values.get("batch")
    if not isinstance(batch, int):
        return True
    name = "minibatch" if values.get("minibatch") else "batch"
    update = values[name]
    micro = min(schedule.get("microbatch") or update, update)
    mesh = schedule.get("mesh")
    parts = (mesh["data"] or 1) * mesh["fsdp"] if isinstance(mesh, dict) else 1
    if update % micro:
        hint = f"let microbatch= divide {update}"
        found = f"a {name} of {update} cannot be split into micro-batches of {micro}", hint
    elif micro % parts:
        of = f"a {name}" if micro == update else "a micro-batch"
        found = f"{of} of {micro} cannot be split over {parts} devices", f"make it a multiple of {parts}"
    else:
        return True
    report.report("E247", found[0], spans.get(name, site.at), "cannot be split so", hint=found[1])
    return False


def inherited(site: Site, artefacts: dict[str, Any], report: Diagnostics) -> dict[str, Any] | None:
    """The artefacts with those that a stage takes over from what it acts on; None, reported, if one is not found."""
    for param in site.signature.params:
        if not param.inherit or param.name in artefacts:
            continue
        acted_on = next((value for value in artefacts.values() if isinstance(value, Artefact)), None)
        found = _nearest(acted_on, param.kinds) if acted_on else None
        if found is not None:
            artefacts[param.name] = found
        elif param.default is REQUIRED:
            missing(site, param, report)
            return None
    return artefacts


def _nearest(artefact: Artefact, kinds: tuple[Kind, ...]) -> Artefact | None:
    """The first artefact of these kinds among what an artefact is made from, level by level."""
    level, seen = [artefact], set()
    while level:
        following: list[Artefact] = []
        for source in (source for current in level for source in current.sources()):
            if source.type.kind in kinds:
                return source
            if id(source) not in seen:
                seen.add(id(source))
                following.append(source)
        level = following
    return None


def overlap(trained: frozenset[str], measured: frozenset[str]) -> str | None:
    """A data set in both, where one without a split holds all of its splits ("a" holds "a/test")."""
    for one in sorted(trained):
        for other in sorted(measured):
            if one == other or one.startswith(f"{other}/") or other.startswith(f"{one}/"):
                return max(one, other, key=len)
    return None


def fresh(site: Site, artefacts: Mapping[str, Any], spans: Mapping[str, Span], report: Diagnostics) -> bool:
    """Reports a metric on data that a model taking part in it, the judge included, was trained on; False if so."""
    if site.signature.group != "metric":
        return True
    given = [(name, one) for name, v in artefacts.items() for one in (v if isinstance(v, tuple) else (v,))]
    data = frozenset().union(*(one.type.lineage for _, one in given if one.type.kind not in _TRAINED))
    for name, model in _models(given):
        common = overlap(model.type.lineage, data)
        if common:
            message = f"`{site.name}` measures on `{_short(common)}`, which the model was trained on"
            hint = "measure on a split that no training stage reads, such as `.test`"
            report.report("E240", message, spans.get(name, site.at), "trained on this data", hint=hint)
            return False
    return True


def _models(given: Iterable[tuple[str, Artefact]]) -> Iterator[tuple[str, Artefact]]:
    """(argument, model) for every model among a metric's arguments, and every maker of their replies."""
    for name, artefact in given:
        if artefact.type.kind in _TRAINED:
            yield name, artefact
        elif artefact.type.kind in _TEXT:
            yield from ((name, model) for model in _makers(artefact))


def _short(data: str) -> str:
    """What a message calls data: a path as short as it can be said from here."""
    return min(data, os.path.relpath(data), key=len) if os.path.isabs(data) else data


def _makers(replies: Artefact) -> list[Artefact]:
    """The models that took part in making replies, of every step from the prompts on."""
    found, stack, seen = [], [replies], set()
    while stack:
        current = stack.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        for source in current.sources():
            if source.type.kind in _TRAINED:
                found.append(source)
            elif source.type.kind in _TEXT:
                stack.append(source)
    return found


def has_split(data: Artefact, name: ast.Name, report: Diagnostics) -> bool:
    """Reports a split that the data does not have, or a second selection."""
    if data.signature and data.signature.operator == ".":
        message = f"one split is selected already, so there is no `{name.id}` in it"
        report.report("E226", message, name.span, "a second selection")
        return False
    splits = data.type.splits
    if splits is None or name.id in splits:
        return True
    known = listed(sorted(splits), "and") if splits else "none"
    hint = did_you_mean(name.id, splits) or f"its splits are {known}"
    report.report("E225", f"there is no split `{name.id}`", name.span, "unknown split", hint=hint)
    return False


def principles(
    constitution: Artefact, name: ast.Name, intern: Callable[[Artefact], Artefact], report: Diagnostics
) -> Artefact | Failed:
    """The constitution with only the principle of this name, or those with this tag."""
    every = constitution.values["principles"]
    chosen = [p for p in every if p["name"] == name.id] or [p for p in every if name.id in p["tags"]]
    if not chosen:
        known = sorted({p["name"] for p in every} | {tag for p in every for tag in p["tags"]})
        hint = did_you_mean(name.id, known) or f"it has {listed(known, 'and')}"
        message = f"the constitution has no principle and no tag `{name.id}`"
        report.report("E218", message, name.span, "unknown", hint=hint)
        return FAILED
    values = {**constitution.values, "principles": chosen}
    return intern(replace(constitution, values=values, type=replace(constitution.type, can=abilities(chosen))))


def abilities(chosen: list[dict[str, Any]]) -> frozenset[str]:
    """What principles support: "audit" a reply, "revise" it after a critique, "judge" which of two is better."""
    texts = {"audit": ("critique",), "revise": ("critique", "revise"), "judge": ("compare",)}
    return frozenset(able for able, read in texts.items() if any(all(p[t] for t in read) for p in chosen))


def data_of(*sources: Artefact) -> frozenset[int]:
    """Identities of the data that these come from: the prompts, or selected splits, nearest above them."""
    found, stack, seen = set(), list(sources), set()
    while stack:
        current = stack.pop()
        if id(current) in seen or current.type.kind not in _DATA:
            continue
        seen.add(id(current))
        above = [source for source in current.sources() if source.type.kind in _DATA]
        selected = current.signature is not None and current.signature.operator == "."
        if current.type.kind is Kind.PROMPTS or selected or not above:
            found.add(id(current))
        else:
            stack.extend(above)
    return frozenset(found)
