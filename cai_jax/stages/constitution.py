"""`constitution { … }` and `use`: principles and few-shot examples, as the program states them."""

from __future__ import annotations

import functools
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from cai_jax.errors import UserError
from cai_jax.lang.signature import Call, Kind, Param, Problem, Signature, Type
from cai_jax.pipeline.context import Context


def _result(call: Call) -> Type:
    paths = _paths(call)
    try:
        examples = [shot for path in paths for shot in _examples(path, os.stat(path).st_mtime_ns)]
    except (OSError, UserError):  # told by `_check`
        return Type(Kind.CONSTITUTION)
    able = {p["name"] for p in call.values["principles"] if p["compare"]}
    said: dict[str, tuple[str, ...]] = defaultdict(tuple)
    for form, under, text in examples:
        if form in ("critique", "audit") or under is None or able & under:
            said[form] += (text,)
    return Type(Kind.CONSTITUTION, examples=dict(said))


def _check(call: Call) -> Iterable[Problem]:
    for path in _paths(call):
        try:
            _examples(path, os.stat(path).st_mtime_ns)
        except (OSError, UserError) as error:
            told = error if isinstance(error, UserError) else UserError(f"{path} cannot be read: {error}")
            shown = min(path, os.path.relpath(path), key=len)
            yield Problem("E302", "fewshots", told.message.replace(path, shown), "holds no examples", told.hint)


def _paths(call: Call) -> list[str]:
    """The files with examples: none, one, or those of all constitutions that are joined."""
    found = call.values["fewshots"]
    return [each for each in ([found] if isinstance(found, str) else found) if each]


@functools.lru_cache(maxsize=64)
def _examples(path: str, changed: int) -> list[tuple[str, frozenset[str] | None, str]]:
    """Of every example in a file that was `changed` then: form, principles that it names if any, and text.

    Raises:
      UserError: a line is not an example.
    """
    from cai_jax.pipeline.principles import every_example, texts

    return [
        (shot["form"], frozenset(shot["principles"]) if "principles" in shot else None, texts(shot))
        for shot in every_example(path)
    ]


SIGNATURE = Signature(
    name="constitution",
    about="Principles, and examples of their use.",
    params=(
        Param("principles", "Text of the constitution.", value="str"),
        Param("fewshots", "Path of its examples; of constitutions joined, a list of theirs.", value="path", default=""),
    ),
    result=_result,
    check=_check,
    version=2,
    group="operator",
    operator="constitution",
    source="fewshots",
)


def run(ctx: Context) -> Mapping[str, Any]:
    """Result: principles (a list of dicts)."""
    return {"principles": ctx.params["principles"]}
