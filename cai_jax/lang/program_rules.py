"""Rules that hold for every stage alike: lineage, inheritance, splits, batches, and the stage's own check."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from cai_jax.lang import ast, settings
from cai_jax.lang.arguments import Site, missing
from cai_jax.lang.diagnostics import Diagnostics, Label, listed
from cai_jax.lang.signature import REQUIRED, Call, Kind, Signature
from cai_jax.lang.source import Span
from cai_jax.lang.values import Artefact

_TEXT = (Kind.RESPONSES, Kind.DIALOGS)
_DATA = (*_TEXT, Kind.PROMPTS, Kind.PREFS, Kind.QUESTIONS)
_TRAINED = (Kind.MODEL, Kind.REWARD_MODEL)
ALIKE = "measure both on the same prompts, with as many replies to each"


def joinable(first: Kind, other: Kind) -> bool:
    """True if `+` may join two kinds: equal ones, or replies with dialogs."""
    return first is other or (first in _TEXT and other in _TEXT)


def candidates(parts: Sequence[Artefact]) -> bool:
    """True if these are replies to the same prompts."""
    if any(part.type.kind is not Kind.RESPONSES for part in parts):
        return False
    return len({data_of(part) for part in parts}) == 1


def stage_check(site: Site, call: Call, spans: Mapping[str, Span], report: Diagnostics) -> bool:
    """Report the problems that the stage's own check finds with a call; False if one is an error."""
    sound = True
    for problem in site.signature.check(call):
        sound = sound and problem.warning
        span = spans.get(problem.param, site.at)
        also = [Label(spans[name], label) for name, label in problem.also if name in spans]
        report.report(problem.code, problem.message, span, problem.label, *also, hint=problem.hint)
    return sound


def effective(site: Site, call: Call, spans: Mapping[str, Span], knobs: Collection[str], report: Diagnostics) -> None:
    """Report the arguments that are given and have no effect together with the others.

    Args:
      knobs: parameters that a knob sets.
    """
    for param in site.signature.params:
        if param.needs is None or param.name not in spans or param.needs.met(call):
            continue
        if not any(name in knobs for name in param.needs.on):
            message = f"`{param.name}` of `{site.name}` has no effect without {param.needs.words}"
            labels = [Label(spans[name], "beside this") for name in param.needs.on if name in spans]
            report.report("E241", message, spans[param.name], "does nothing", *labels, hint="leave it out")


def unlike(site: Site, given: Mapping[str, Any], spans: Mapping[str, Span], report: Diagnostics) -> None:
    """Report two arguments that are the same, where they are meant to differ, and one twice in a list of models."""
    for param in site.signature.params:
        items = given.get(param.name)
        if param.many and param.kinds and isinstance(items, tuple) and len(set(map(id, items))) < len(items):
            message = f"`{param.name}` of `{site.name}` names one artefact twice"
            report.report("E246", message, spans[param.name], "the same", hint="give those that differ, each once")
        if param.unlike in spans and param.name in spans and given[param.name] == given[param.unlike]:
            label = Label(spans[param.unlike], "the same")
            message = f"`{param.name}` of `{site.name}` is the same as its `{param.unlike}`"
            report.report("E246", message, spans[param.name], "the same", label, hint="give two that differ")


def item(name: str, index: int) -> str:
    """The key of one item of a list that is given as parameter `name`."""
    return f"{name}.{index}"


def sides(signature: Signature, given: Mapping[str, Any]) -> dict[str, tuple[str, Any]]:
    """What a call compares: name of the argument, or `item` of a list -> its parameter and its value."""
    found: dict[str, tuple[str, Any]] = {}
    for name in (param.name for param in signature.params if param.lift and param.name in given):
        value = given[name]
        if isinstance(value, tuple):
            found |= {item(name, i): (name, each) for i, each in enumerate(value)}
        else:
            found[name] = name, value
    return found


def same_prompts(
    site: Site,
    given: Mapping[str, Artefact],
    spans: Mapping[str, Span],
    resolve: Callable[[str], str],
    report: Diagnostics,
) -> bool:
    """Report replies to different prompts in one comparison, or the same ones twice in a list; False if there are any.

    Args:
      given: the replies, by the keys of `sides`.
    """
    keys = list(given)
    for number, key in enumerate(keys[1:], start=1):
        span, message = spans.get(key, site.at), ""
        before = next((each for each in keys[:number] if given[each] is given[key]), None)
        if before is not None and "." in key:
            label = Label(spans.get(before, site.at), "here already")
            message = f"`{site.name}` compares this with itself"
            report.report("E246", message, span, "again", label, hint="give each once")
            return False
        if not same_data((given[key],), (given[keys[0]],)):
            message = f"`{site.name}` compares replies to the same prompts, and these reply to different ones"
        else:
            first, other = (_asked(given[each], resolve) for each in (keys[0], key))
            if first is not None and other is not None:
                message = other_prompts(first, other)
        if message:
            label = Label(spans.get(keys[0], site.at), "replies to other prompts")
            report.report("E244", message, span, "", label, hint=ALIKE)
            return False
    return True


def other_prompts(ours: Counter[str], theirs: Counter[str]) -> str:
    """The problem with comparing replies to these prompts, by the number of replies to each; "" if there is none."""
    if ours == theirs:
        return ""
    return (
        f"the two sides reply to different prompts: {ours.total()} and {theirs.total()} replies, of which "
        f"{(ours & theirs).total()} are to the same"
    )


def _asked(replies: Artefact, resolve: Callable[[str], str]) -> Counter[str] | None:
    """Number of replies to each prompt, where they are read and not drawn; None where that is not known."""
    source, split, conditions = part_of(replies)
    found = source.signature.asked(Call(source.values, {}, resolve)) if source.signature is not None else None
    if found is None or conditions:
        return None
    return sum(found.values(), Counter()) if split is None else found.get(split)


def twice(parts: Sequence[Artefact], spans: Sequence[Span], report: Diagnostics) -> None:
    """Report data that `+` joins with itself: one artefact twice, or a part of it together with a larger one."""
    joined: dict[int, dict[Part, Span]] = {}  # what is joined so far, by the data that it is a part of
    for part, span in zip(parts, spans, strict=True):
        here = [part_of(atom) for atom in _joined(part)]
        before = next((found for one in here if (found := _around(one, joined.get(id(one.root), {})))), None)
        if before is not None:
            weighs = part.type.kind not in (Kind.CONSTITUTION, Kind.QUESTIONS)
            hint = "leave it out" + (", or to weight it write  2 * …" if weighs else "")
            report.report("E246", "this is joined with itself", span, "again", Label(before, "here already"), hint=hint)
        for one in here:
            joined.setdefault(id(one.root), {}).setdefault(one, span)


def _around(part: Part, others: Mapping[Part, Span]) -> Span | None:
    """Where data is that certainly has all rows of a part, or has no others."""
    same = others.get(part) or others.get(Part(part.root, None, frozenset()))
    if same is not None or not (part.split is None or part.conditions or any(other.conditions for other in others)):
        return same
    return next((span for other, span in others.items() if part.within(other) or other.within(part)), None)


def _joined(part: Artefact) -> Iterator[Artefact]:
    """The artefacts joined in one, each once: itself, or the parts of a join, and their parts."""
    stack, seen = [part], set[int]()  # joins of joins of the same would be walked twice as long with every step
    while stack:
        current = stack.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        if current.signature is not None and current.signature.operator == "+":
            stack.extend(current.sources())
        else:
            yield current


class Part(NamedTuple):
    """Data, as a part of what is neither a split nor chosen by columns.

    Attributes:
      root: the whole.
      split: of it; None for all.
      conditions: (column, its values) of every `where`.
    """

    root: Artefact
    split: str | None
    conditions: frozenset[tuple[str, tuple[Any, ...]]]

    def within(self, other: Part) -> bool:
        """True if every row of this part is certainly in the other."""
        if self.root is not other.root or other.split not in (None, self.split):
            return False
        return all(
            any(name == column and set(values) <= set(known) for column, values in self.conditions)
            for name, known in other.conditions
        )


def part_of(artefact: Artefact) -> Part:
    """The data that an artefact is, through splits and `where`."""
    split, conditions = None, frozenset[tuple[str, tuple[Any, ...]]]()
    while artefact.signature is not None and artefact.signature.operator in (".", ".where"):
        if artefact.signature.operator == ".":
            split = artefact.values["name"]
        conditions |= _conditions(artefact)
        artefact = next(artefact.sources())
    return Part(artefact, split, conditions)


def _conditions(artefact: Artefact) -> frozenset[tuple[str, tuple[Any, ...]]]:
    """Those of a `where`; none of anything else."""
    if artefact.signature is None or artefact.signature.operator != ".where":
        return frozenset()
    return frozenset((name, tuple(values)) for name, values in artefact.values["columns"].items())


def settings_read(site: Site, given: Iterable[ast.Argument], report: Diagnostics) -> None:
    """Report settings of `with (…)` that a stage does not read."""
    read = site.signature.settings
    for argument in given:
        if argument.name is not None and argument.name.id in {p.name for p in settings.WITH} - set(read):
            message = f"`{argument.name.id}` has no effect on `{site.name}`"
            hint = f"its settings are {listed(read, 'and')}" if read else "it reads none"
            report.report("E241", message, argument.span, "does nothing", hint=hint)


def batch_fits(
    site: Site,
    values: Mapping[str, Any],
    schedule: Mapping[str, Any],
    spans: Mapping[str, Span],
    report: Diagnostics,
) -> bool:
    """Report a batch that cannot be split as its schedule says: into micro-batches, and these over devices."""
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


def heads_split(
    site: Site, types: Mapping[str, Any], schedule: Mapping[str, Any], spans: Mapping[str, Span], report: Diagnostics
) -> bool:
    """Report a model whose heads cannot be divided among the devices of `mesh(tensor=)`; False if so."""
    mesh = schedule.get("mesh")
    parts = mesh["tensor"] if isinstance(mesh, dict) and "mesh" in site.signature.settings else 1
    for name, given in types.items():
        for one in given if isinstance(given, tuple) else (given,):
            if one.heads and one.heads % parts:
                message = f"the {one.heads} heads of this model cannot be split over {parts} devices"
                hint = f"let tensor= divide {one.heads}"
                report.report("E247", message, spans.get(name, site.at), "cannot be split so", hint=hint)
                return False
    return True


def inherited(site: Site, artefacts: dict[str, Any], report: Diagnostics) -> dict[str, Any] | None:
    """The artefacts with those that a stage takes over from what it acts on; None, reported, if one is not found."""
    for param in site.signature.params:
        if not param.inherit or param.name in artefacts:
            continue
        acted_on = next((value for value in artefacts.values() if isinstance(value, Artefact)), None)
        found = _nearest(acted_on, param.kinds) if acted_on else None
        if found is not None:
            artefacts[param.name] = (found,) if param.many else found
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
            if _share_rows(one, other):
                return other if _parts(one)[2] and _parts(other)[2] else max(one, other, key=len)
    return None


def _share_rows(one: str, other: str) -> bool:
    """True if two names of lineage denote data with rows in common.

    "a?test=0.2/train" is the part of "a" above a fraction of 0.2 of the range of hashes, and "a?test=0.5/test" that
    below 0.5, so that these two share rows.
    """
    if one == other or one.startswith(f"{other}/") or other.startswith(f"{one}/"):
        return True
    (path, test, split), (path_too, test_too, split_too) = _parts(one), _parts(other)
    if path != path_too or test == test_too:
        return False
    if {split, split_too} == {"train", "test"}:
        return float(test if split == "test" else test_too) > float(test_too if split == "test" else test)
    return not split or not split_too or split == split_too


def _parts(lineage: str) -> tuple[str, str, str]:
    """Path, fraction of the test split, and split of a name of lineage; "" for what it does not say."""
    path, mark, rest = lineage.rpartition("?test=")
    test, _, split = rest.partition("/")
    return (path, test, split) if mark else (lineage, "", "")


def fresh(site: Site, artefacts: Mapping[str, Any], spans: Mapping[str, Span], report: Diagnostics) -> bool:
    """Report a metric on data that a model taking part in it, the judge included, was trained on; False if so."""
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
    """The name of data in messages: a path in its shortest form as seen from the working directory."""
    path, _, split = _parts(data)
    data = f"{path}/{split}" if split else path
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
    """Report a split that the data does not have, or a second selection."""
    atoms = list(_joined(data))
    chosen = [part_of(atom).split for atom in atoms]
    each = [{one} if one is not None else atom.type.splits for atom, one in zip(atoms, chosen, strict=True)]
    known = [names for names in each if names is not None]
    splits = frozenset[str]().union(*known) if len(known) == len(each) else None
    if len(atoms) > 1 and (splits is None or name.id in splits):
        return True
    if None not in chosen:
        message = f"one split is selected already, so there is no `{name.id}` in it"
        report.report("E226", message, name.span, "a second selection")
        return False
    if splits is None or name.id in splits:
        return True
    those = listed(sorted(splits), "and") if splits else "none"
    hint = report.did_you_mean(name.id, splits) or f"its splits are {those}"
    report.report("E225", f"there is no split `{name.id}`", name.span, "unknown split", hint=hint)
    return False


def same_data(left: Iterable[Artefact], right: Iterable[Artefact]) -> bool:
    """True if two sides come from the same data, as far as known: only a run finds which prompts a file replies to."""
    sides = [data_of(*left), data_of(*right)]
    if sides[0] == sides[1]:
        return True
    wholes = [{id(part.root) for part in side} for side in sides]
    return wholes[0] != wholes[1] and any(_from_file(part.root) for side in sides for part in side)


def _from_file(whole: Artefact) -> bool:
    """True if data is replies that are read, and not made from prompts."""
    return whole.type.kind in _TEXT and not any(source.type.kind in _DATA for source in whole.sources())


def data_of(*sources: Artefact) -> frozenset[Part]:
    """The data that these come from: the prompts, or selected splits, nearest above them.

    What replies are chosen by counts for their prompts: replies to chosen prompts are chosen replies to all of them.
    """
    found: set[Part] = set()
    stack = [(source, frozenset[tuple[str, tuple[Any, ...]]]()) for source in sources]
    seen: set[tuple[int, frozenset]] = set()
    while stack:
        current, conditions = stack.pop()
        if (id(current), conditions) in seen or current.type.kind not in _DATA:
            continue
        seen.add((id(current), conditions))
        above = [source for source in current.sources() if source.type.kind in _DATA]
        selected = current.signature is not None and current.signature.operator == "."
        if current.type.kind is Kind.PROMPTS or selected or not above:
            part = part_of(current)
            found.add(part._replace(conditions=part.conditions | conditions))
        else:
            stack.extend((source, conditions | _conditions(current)) for source in above)
    return frozenset(found)
