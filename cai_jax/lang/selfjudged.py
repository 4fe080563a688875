"""Metrics whose judge is the reward: a policy learns to please its preference model, whatever that is worth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cai_jax.lang.calls import Site
from cai_jax.lang.diagnostics import Diagnostics, Label
from cai_jax.lang.source import Span
from cai_jax.lang.types import Kind
from cai_jax.lang.values import Artefact


def warn(site: Site, artefacts: Mapping[str, Any], spans: Mapping[str, Span], report: Diagnostics) -> None:
    """Warns of a metric by a preference model for whose score what it measures was trained or chosen."""
    by = artefacts.get("by")
    if site.signature.group != "metric" or by is None or by.type.kind is not Kind.REWARD_MODEL:
        return
    judges = set(map(id, _parts(by)))
    for name, measured in artefacts.items():
        if name == "by" or not isinstance(measured, Artefact):
            continue
        if any(id(part) in judges for rewarded in _rewards(measured) for part in _parts(rewarded)):
            of, judge = (spans[each].on_one_line if each in spans else each for each in (name, "by"))
            message = f"`{of}` was trained or chosen to please `{judge}`, which judges it here"
            also = [Label(spans[name], "made for its score")] if name in spans else []
            hint = "measure by a preference model of other labels, or by a model under a constitution"
            report.report("W302", message, spans.get("by", site.at), "judges its own pupil", *also, hint=hint)
            return


def _parts(model: Artefact) -> Iterator[Artefact]:
    """The preference models of which a weighted sum is made; the model itself else."""
    if model.signature is None or model.signature.group != "operator":
        yield model
        return
    for source in model.sources():
        if source.type.kind is Kind.REWARD_MODEL:
            yield from _parts(source)


def _rewards(measured: Artefact) -> Iterator[Artefact]:
    """The preference models that took part in making something: a policy trained on one, the best of several replies.

    What a preference model was itself made from does not count.
    """
    seen, stack = set(), [measured]
    while stack:
        for source in stack.pop().sources():
            if id(source) in seen:
                continue
            seen.add(id(source))
            if source.type.kind is Kind.REWARD_MODEL:
                yield source
            else:
                stack.append(source)
