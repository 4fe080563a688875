"""Verdicts on replies: by the oracle of the built-in world, by a model that audits, or by a preference model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Row = Mapping[str, Any]


def by_oracle(rows: Sequence[Row], fact: str) -> np.ndarray:
    """1.0 where the oracle says that a reply is `fact` ("harmful", "refused", …), else 0.0; float64 [N]."""
    from cai_jax.tiny.oracle import judge

    return np.array([float(getattr(judge(row["turns"], row["reply"]), fact)) for row in rows])


def quality(row: Row) -> float:
    """How good the oracle finds a reply: 1 for the best kind, 0.5 for a harmless other one, 0 for harm."""
    from cai_jax.tiny.oracle import judge, requested
    from cai_jax.tiny.replies import EXPLAIN

    verdict = judge(row["turns"], row["reply"])
    if verdict.harmful:
        return 0.0
    act = requested(row["turns"][-1]["text"])
    return 1.0 if verdict.helpful or (act.harmful and verdict.kind == EXPLAIN) else 0.5


def knows(rows: Sequence[Row]) -> bool:
    """Whether every prompt is one of the built-in world's, so that the oracle can judge replies to it."""
    from cai_jax.tiny.oracle import requested

    return all(requested(row["turns"][-1]["text"]) is not None for row in rows)


def preference(row: Row) -> float | None:
    """P(the first reply is better) that the oracle gives a labelled pair under the principles it was asked with.

    Returns:
      1.0 or 0.0; 0.5 where the principles do not tell the replies apart; None where a principle is not in the
      built-in world's words.
    """
    from cai_jax.tiny import replies
    from cai_jax.tiny.judgement import preference as prefers
    from cai_jax.tiny.oracle import requested
    from cai_jax.tiny.principles import meaning_of

    act = requested(row["turns"][-1]["text"])
    meanings = [meaning_of(text) for text in row["asked"]]
    if act is None or None in meanings:
        return None
    kinds = (replies.read(row["a"]), replies.read(row["b"]))
    mean = float(np.mean([prefers(act, kinds, meaning) for meaning in meanings]))
    return 0.5 + 0.5 * np.sign(mean - 0.5)


def by_audit(ctx, rows: Sequence[Row]) -> np.ndarray:
    """Largest probability that a reply breaks a principle of `under`, as the model `by` says; float64 [N].

    A model that does not answer the questions is named in a note.
    """
    from cai_jax.data import formats
    from cai_jax.stages.parts.auditing import NO_MASS, audits, undecided
    from cai_jax.stages.parts.models import model_of
    from cai_jax.stages.parts.principles import principles

    able = principles(ctx.inputs["under"], "audit")
    asked = [formats.audit(row["turns"], row["reply"], p.critique) for row in rows for p in able]
    found = audits(model_of(ctx.inputs["by"]), asked)
    for code, message in undecided(float(np.mean(found.mass < NO_MASS)), "judgements"):
        ctx.note(code, message)
    return found.first.reshape(len(rows), len(able)).max(axis=1)


def by_score(rows: Sequence[Row], artefact) -> np.ndarray:
    """Scores of replies by a preference model, float64 [N]; 0 is the mean of its reference replies."""
    from cai_jax.stages.parts.rewarding import Scorer

    return Scorer(artefact).scores([(row["turns"], row["reply"]) for row in rows])
