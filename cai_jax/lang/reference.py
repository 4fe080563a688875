"""Write the generated sections of the language reference, grammar/README.md, from the definitions the checker reads."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from cai_jax.lang import settings, units
from cai_jax.lang.diagnostics import catalogue, listed
from cai_jax.lang.signature import REQUIRED, Param, Signature

_GROUPS = {"source": "Sources", "stage": "Stages", "metric": "Metrics"}


def update(text: str, registry: Mapping[str, Any]) -> str:
    """The reference with its sections for stages, settings and diagnostics made again.

    Raises:
      ValueError: the text lacks a section's markers.
    """
    signatures = [getattr(stage, "SIGNATURE", stage) for stage in registry.values()]
    sections = {"stages": _stages(signatures), "settings": _settings(), "diagnostics": _diagnostics()}
    for name, content in sections.items():
        begin, end = f"<!-- {name}: generated, see cai_jax/lang/reference.py -->", f"<!-- end of {name} -->"
        pattern = re.compile(rf"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
        if not pattern.search(text):
            raise ValueError(f"the reference lacks the markers of its section {name!r}")
        text = f"{begin}\n\n{content}\n\n{end}".join(pattern.split(text))
    return text


def _stages(signatures: Iterable[Signature]) -> str:
    parts = []
    for group, title in _GROUPS.items():
        chosen = sorted((s for s in signatures if s.group == group), key=lambda s: s.name)
        records = _records(param for signature in chosen for param in signature.params)
        parts += [f"### {title}", *map(_stage, chosen), *records]
    return "\n\n".join(parts)


def _stage(signature: Signature) -> str:
    lines = [f"#### `{signature.name}`", "", signature.about, "", *_table(signature.params)]
    if signature.settings:
        lines += ["", f"Settings: {listed(signature.settings, 'and')}."]
    if signature.example:
        lines += ["", "```", signature.example, "```"]
    return "\n".join(lines)


def _settings() -> str:
    here = [param for param in settings.RUN if param not in settings.WITH]
    parts = {
        "Both of `run (…)` and `with (…)`": settings.WITH,
        "Of `run (…)` alone": here,
    }
    tables = ["\n".join([f"{title}:", "", *_table(params)]) for title, params in parts.items()]
    return "\n\n".join([*tables, *_records(settings.WITH)])


def _records(params: Iterable[Param]) -> list[str]:
    """A table for each of the calls that may be given as values of these parameters."""
    found = {param.record.name: (param, param.record) for param in params if param.record}
    return [
        "\n".join([f"Of `{name}(…)`, as in `{p.name}={record.example}`:", "", *_table(record.params)])
        for name, (p, record) in found.items()
    ]


def _diagnostics() -> str:
    lines = ["| code | means |", "|---|---|"]
    return "\n".join(lines + [f"| {entry.code} | {_cell(entry.title)} |" for entry in catalogue().values()])


def _table(params: Iterable[Param]) -> list[str]:
    lines = ["| parameter | takes | default | meaning |", "|---|---|---|---|"]
    return lines + [f"| `{p.name}` | {_cell(_takes(p))} | {_cell(_default(p))} | {_cell(_means(p))} |" for p in params]


def _means(param: Param) -> str:
    if param.needs is None:
        return param.about
    return f"{param.about.rstrip('.')}. Only with {param.needs.words}."


def _takes(param: Param) -> str:
    if param.kinds:
        kinds = [str(kind) for kind in param.kinds] + (["Model", "Flow"] if param.lift else [])
        choices = [f"`{choice}`" for choice in param.choices]
        return " or ".join([*dict.fromkeys(kinds), *choices]) + (", or a list" if param.many else "")
    if param.value == "enum":
        record = [f"{param.record.name}(…)"] if param.record else []
        return " ".join(f"`{choice}`" for choice in (*param.choices, *record))
    words = {"int": "whole number", "float": "number", "bool": "`true` `false`", "str": "string", "range": "n..m"}
    limits = units.bounds(param)
    return words.get(param.value, param.value) + (f", {limits}" if limits else "") + _unit(param)


def _unit(param: Param) -> str:
    return f" ({param.unit})" if param.unit else ""


def _default(param: Param) -> str:
    if param.default is REQUIRED:
        return "that of what is acted on" if param.inherit else "needed"
    if param.default is None or param.default == "":
        return "none"
    return f"`{units.shown(param.default)}`" if param.value != "enum" else f"`{param.default}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
