"""The stages of the package, and one for units that no parameter of theirs has."""

from __future__ import annotations

from pathlib import Path

from cai_jax.lang.checker import Checked, check
from cai_jax.lang.signature import Kind, Param, Signature
from cai_jax.stages import registry

BUDGET = Signature(
    "budget",
    "Replies that may cost so much.",
    (
        Param("replies", "The replies.", (Kind.RESPONSES,)),
        Param("memory", "Memory, at most.", value="int", default=None, unit="bytes"),
        Param("time", "Time, at most.", value="float", default=None, unit="seconds"),
    ),
    lambda call: call.types["replies"],
)
REGISTRY = {**registry(), BUDGET.name: BUDGET}


def checked(text: str | bytes, world: Path, **overrides: str) -> Checked:
    """A program checked as `world`/p.cai."""
    return check(text, world / "p.cai", REGISTRY, overrides=overrides, root=world)
