"""Screening: every principle asked of every reply; the one that it breaks the most flags it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cai_jax.data.render import Segment
from cai_jax.stages.parts.auditing import NO_MASS, audit_fitter, audits
from cai_jax.stages.parts.models import choices, load, read_format

if TYPE_CHECKING:
    from cai_jax.data.formats import Format
    from cai_jax.models.checkpoint import Model

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Screener:
    """Asks a model about every principle of a constitution.

    Attributes:
      model: who answers; None where its questions are only to be shown.
      format: in which it reads.
      requests: name and critique request of every principle.
      limit: a reply is flagged from this probability of breaking one of them on.
    """

    model: Model | None
    format: Format
    requests: Sequence[Sequence[str]]
    limit: float

    def asked(self, row: Row) -> list[list[Segment]]:
        """The question about each principle."""
        return [self.format.audit(row["turns"], row["reply"], request) for _, request in self.requests]

    def fitting(self, ctx, rows: Sequence[dict], overlong: str) -> list[dict]:
        """The rows about which every question fits; what became of the others is told in a note."""
        fitter = audit_fitter(self.model, overlong)
        longest = max(range(len(self.requests)), key=lambda i: len(self.model.tokenizer.encode(self.requests[i][1])))
        kept = [row for row in rows if fitter.fit(self.asked(row)[longest]) is not None]
        fitter.note(ctx)
        return kept

    def breaks(self, rows: Sequence[Row]) -> tuple[np.ndarray, np.ndarray]:
        """P(reply n breaks principle k), and the mass on both answers: two float64 [N, K]."""
        scored = audits(self.model, [question for row in rows for question in self.asked(row)])
        shape = (len(rows), len(self.requests))
        return scored.first.reshape(shape), scored.mass.reshape(shape)

    def flags(self, rows: Sequence[Row]) -> list[tuple[dict[str, Any] | None, int]]:
        """Of every reply the flag of the principle that it breaks the most, or None, and the questions not answered.

        A reply that leaves no room for the questions keeps the flag that it has.
        """
        out = []
        for row, p, mass in zip(rows, *self.breaks(rows), strict=True):
            if np.isnan(p).any():
                out.append((row.get("flag"), len(p)))
                continue
            worst = int(p.argmax())
            name, request = self.requests[worst]
            flag = {"principle": name, "request": request, "p": float(p[worst]), "limit": self.limit}
            out.append((flag if p[worst] >= self.limit else None, int((mass < NO_MASS).sum())))
        return out


def told(model, requests: Sequence[Sequence[str]], limit: float) -> dict[str, Any]:
    """What a stage's result says of a screening, so that revised replies can be screened again in the same way."""
    screening = {
        "path": str(model.path),
        **choices(model),
        "requests": [list(each) for each in requests],
        "limit": limit,
    }
    return {"screening": screening}


def passed_on(replies) -> dict[str, Any]:
    """The same, for the result of a stage behind: what is said of replies that were screened, else nothing."""
    return {name: replies.result[name] for name in ("screening",) if name in replies.result}


def screener_of(ctx, replies) -> Screener | None:
    """Who screened these replies; None if nobody has."""
    found = replies.result.get("screening")
    if found is None:
        return None
    path, limit = found["path"], found["limit"]
    model, form = load(ctx, path, found["dtype"]), read_format(path, found["format"])
    return Screener(model, form, found["requests"], limit)
