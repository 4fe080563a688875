"""AI labels compared with the oracle's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from cai_jax.data.row_columns import Row
from cai_jax.evals.figures import row_of
from cai_jax.lang.signature import Call, Kind, Param, Problem

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


def label_of(row: Row) -> float:
    """P(the first reply is better) as the judge said it, before it was rounded or clamped; the label itself else."""
    return row.get("soft", row["p"])


class Checked(NamedTuple):
    """Labels that a metric may count, and those that it may not.

    Attributes:
      rows: those that count.
      silent: metric rows of those that were not given, or could not be checked: they count against every claim.
      left_out: reason why the rest do not count -> number of rows.
    """

    rows: list[Row]
    silent: list[Row]
    left_out: dict[str, int]


def checked(rows: Sequence[Row], margin: float = 0.0) -> Checked:
    """The labels that say something: given, weighted, of two different replies, and `margin` or more from one half."""
    from cai_jax.pipeline.ai_feedback import equal, undecided_pair

    kept: list[Row] = []
    silent: list[Row] = []
    left_out: Counter[str] = Counter()
    for row in rows:
        if equal(row["a"], row["b"]):
            left_out["of equal replies"] += 1
        elif "judgements" in row and undecided_pair(row["judgements"]):
            silent.append(row_of(row, float("nan")))  # also where `undecided=drop` has left it no weight
        elif row.get("weight", 1.0) == 0:
            left_out["without weight"] += 1
        elif abs(label_of(row) - 0.5) < margin - 1e-9:  # 0.4 lies less than 0.1 from 0.5 in floats
            left_out["near one half"] += 1
        else:
            kept.append(row)
    return Checked(kept, silent, dict(left_out))


class Pairs(NamedTuple):
    """Labels with the oracle's.

    Attributes:
      pairs: labels with the oracle's own, 1.0 or 0.0.
      silent, left_out: as in `Checked`.
    """

    pairs: list[tuple[Row, float]]
    silent: list[Row]
    left_out: dict[str, int]


def judged_pairs(rows: Sequence[Row]) -> Pairs:
    """Labels with the oracle's own, where the principle that was asked distinguishes the two replies.

    A label of one half stays: it is a tie, which is right half of the time.
    """
    from cai_jax.evals.verdicts import preference

    ai = [row for row in rows if "judgements" in row]
    found = checked(ai, margin=0.0)
    pairs: list[tuple[Row, float]] = []
    silent, left_out = list(found.silent), Counter(found.left_out)
    left_out["not by a judge"] += len(rows) - len(ai)
    for row in found.rows:
        truth = preference(row)
        if truth is None:
            left_out["under principles that the oracle does not know"] += 1
        elif truth != truth:
            silent.append(row_of(row, truth))
        elif truth == 0.5:
            left_out["ties by the oracle"] += 1
        else:
            pairs.append((row, truth))
    return Pairs(pairs, silent, {why: count for why, count in left_out.items() if count})
