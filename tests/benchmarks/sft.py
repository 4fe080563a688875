"""One supervised step with AdamW."""

from __future__ import annotations

from collections.abc import Iterator

from tests.benchmarks import bounds, works
from tests.benchmarks.arena import Arena, against, arena, ours_of
from tests.benchmarks.figures import Figure


def figures() -> Iterator[Figure]:
    with arena() as sides:
        yield from compare(sides, works.Sft())


def compare(sides: Arena, work: works.Sft) -> Iterator[Figure]:
    title = f"SFT step, {work.rows} × {work.length} tokens, AdamW"
    ours, theirs = sides.compare((sides.ours, "sft", work, {}), (sides.theirs, "sft", work, {}))
    yield from against(title, "transformers on torch, eager", theirs, ours, ">= 1")
    yield from ours_of(title, ours, bounds.train(sides.costs, sides.ceilings, work.rows, work.length))
