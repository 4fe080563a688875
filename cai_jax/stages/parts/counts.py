"""How many rows an artefact has before anything is read. Imports no JAX."""

from __future__ import annotations

from cai_jax.lang.types import Type

# Of a source without a limit, whose rows are unknown until it is read.
ROWS = 1000


def rows_of(kind: Type) -> int:
    """Rows of an artefact of this type; as many as ROWS prompts make where its type does not tell."""
    return (ROWS if kind.rows is None else sum(kind.rows.values())) * (kind.replies or 1)
