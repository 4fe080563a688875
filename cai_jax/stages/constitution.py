"""`constitution { … }` and `use`: principles and few-shot examples, as the program states them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cai_jax.lang.types import Cost, Kind, Param, Signature, Type

SIGNATURE = Signature(
    name="constitution",
    about="Principles, and examples of their use.",
    params=(
        Param("principles", "What the constitution says.", value="str"),
        Param("fewshots", "Path of its examples.", value="path", default=""),
    ),
    result=lambda call: Type(Kind.CONSTITUTION),
    group="operator",
    operator="constitution",
    source="fewshots",
)


def cost(ctx) -> Cost:
    return Cost()


def run(ctx) -> Mapping[str, Any]:
    """Result: principles (a list of dicts) and fewshots (a path, or "")."""
    return {"principles": ctx.params["principles"], "fewshots": ctx.params.get("fewshots", "")}
