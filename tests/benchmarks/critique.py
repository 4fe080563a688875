"""Critique and revision behind few-shots that all prompts share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tests.benchmarks import bounds, works
from tests.benchmarks.arena import CACHES, Arena, against, arena, batches, named, ours_of
from tests.benchmarks.bounds import Texts
from tests.benchmarks.figures import Figure

TAKEN = 16  # rows on which transformers is measured, or one batch if that is larger


def figures() -> Iterator[Figure]:
    with arena() as sides:
        yield from compare(sides, works.Critique())


def compare(sides: Arena, work: works.Critique) -> Iterator[Figure]:
    title = (
        f"critique + revision, {work.shots} tokens of few-shots, {work.new} new tokens, "
        f"{work.rounds} rounds, {work.rows} prompts"
    )

    def trial(batch: int) -> works.Critique:
        return replace(work, rows=batch, new=max(work.new // 8, 2), rounds=1)

    options = sides.best("critique", trial, batches(work.rows), CACHES, take=work.rows)
    taken = min(work.rows, max(TAKEN, options["batch"]))
    ours, theirs = sides.compare(
        (sides.ours, "critique", work, {}), (sides.theirs, "critique", work, {**options, "take": taken})
    )
    yield from against(title, named(options), theirs, ours, ">= 4", taken / work.rows)
    yield from ours_of(title, ours, bound(sides, work))


def bound(sides: Arena, work: works.Critique) -> float:
    """Few-shots and prompts are read once; what a row has read or written stays until its text branches off."""
    model, seconds = (sides.costs, sides.ceilings), 0.0
    shots, written = work.few_shots(), work.texts([work.new] * work.rows, 5)
    prompts, replies = [shots + prompt for prompt in work.prompts()], work.replies()
    known = Texts(0, 0)
    for asks in work.requests():
        texts = [prompt + reply for prompt, reply in zip(prompts, replies, strict=True)]
        for ask in asks:
            texts = [text + ask for text in texts]
            seconds += bounds.read(*model, Texts.of(texts).minus(known), work.rows)
            seconds += bounds.decode(*model, [*map(len, texts)], [work.new] * work.rows, work.shots)
            texts = [text + new for text, new in zip(texts, written, strict=True)]
            known = Texts.of(text[:-1] for text in texts)  # the last token was drawn, but not read
        # The next round's reply stands where this round's stood, behind the prompt.
        known, replies = Texts.of(prompts), written
    return seconds
