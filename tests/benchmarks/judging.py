"""Comparisons by a judge: one forward pass a question, most of which other questions share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from tests.benchmarks import bounds, works
from tests.benchmarks.arena import Arena, against, arena, batches, named, ours_of
from tests.benchmarks.figures import Figure

# Questions on which transformers is measured: whole, and with the few-shots' keys and values reused.
PLAIN, REUSED = 64, 256


def figures() -> Iterator[Figure]:
    with arena() as sides:
        yield from compare(sides, works.Judging())


def compare(sides: Arena, work: works.Judging, plain: int = PLAIN, reused: int = REUSED) -> Iterator[Figure]:
    questions = work.questions()
    count = len(questions)
    title = (
        f"judging {work.pairs} pairs, {work.shots} tokens of few-shots, {work.principles} principles, both orders: "
        f"{count} questions of {work.shots + len(questions[0])} tokens"
    )

    def trial(batch: int) -> works.Judging:
        """One batch of questions, two to a pair."""
        return replace(work, pairs=max(batch // 2, 1), principles=1)

    ways = [{"reuse": False, "take": min(plain, count)}, {"reuse": True, "take": min(reused, count)}]
    ways = [way | sides.best("judging", trial, batches(count), **way) for way in ways]
    ours, *theirs = sides.compare(
        (sides.ours, "judging", work, {}), *((sides.theirs, "judging", work, way) for way in ways)
    )
    for way, seconds, target in zip(ways, theirs, (">= 8", ">= 1.5"), strict=True):
        other = named(way) + (" with the few-shots' cache" if way["reuse"] else "")
        yield from against(title, other, seconds, ours, target, way["take"] / count)
    yield from ours_of(title, ours, bound(sides, work), ">= 0.75")
    labels = sides.ours.measure("judging", work)[1][: ways[0]["take"]]
    apart = np.abs(np.array(labels) - sides.theirs.measure("judging", work, **ways[0])[1]).max()
    yield Figure(title, "largest difference of a label from transformers", (float(apart),), target="<= 1e-4")


def bound(sides: Arena, work: works.Judging) -> float:
    """Every token that several questions share is read once."""
    shots, questions = work.few_shots(), work.questions()
    texts = bounds.Texts.of([shots + question for question in questions])
    return bounds.read(sides.costs, sides.ceilings, texts, len(questions))
