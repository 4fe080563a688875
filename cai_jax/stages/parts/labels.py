"""AI labels beside the oracle's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from cai_jax.errors import UserError
from cai_jax.lang.types import Call, Kind, Param, Problem

LABELS = Param("labels", "Labels that `judge` made of replies to built-in prompts.", kinds=(Kind.PREFS,))


def judged_labels(call: Call) -> Iterable[Problem]:
    """A problem where the oracle knows nothing of the prompts."""
    if not call.types["labels"].oracle:
        yield Problem(
            "E212",
            "labels",
            "nobody can judge these labels: the oracle knows the built-in prompts only",
            label="not labels of built-in prompts",
            hint="measure labels that `judge` made of replies to built-in prompts",
        )


def decided(rows: Sequence[dict[str, Any]]) -> list[tuple[dict[str, Any], float]]:
    """Labels with the oracle's own, where the principle that was asked tells the two replies apart.

    Raises:
      UserError: there is none.
    """
    from cai_jax.evals.verdicts import preference

    found = [(row, preference(row)) for row in rows if "judgements" in row]
    told = [(row, truth) for row, truth in found if truth is not None and truth != 0.5]
    if not told:
        raise UserError(
            "no pair is told apart by its principle, so there is no label to check",
            "use principles in the built-in world's words, and replies that differ",
        )
    return told
