"""Log-probabilities of given replies, as PPO takes them of its policy and its reference."""

from __future__ import annotations

from collections.abc import Iterator

from tests.benchmarks import bounds, works
from tests.benchmarks.arena import Arena, against, arena, batches, named, ours_of
from tests.benchmarks.figures import Figure


def figures() -> Iterator[Figure]:
    with arena() as sides:
        yield from compare(sides, works.Logprobs())


def compare(sides: Arena, work: works.Logprobs) -> Iterator[Figure]:
    title = f"log-probs of given replies, {work.rows} × ({work.prompt} + {work.new}) tokens"
    own, options = (
        sides.best("logprobs", lambda _: work, batches(work.rows), side=side) for side in (sides.ours, sides.theirs)
    )
    ours, theirs = sides.compare((sides.ours, "logprobs", work, own), (sides.theirs, "logprobs", work, options))
    yield from against(title, named(options), theirs, ours, ">= 1")
    texts = bounds.Texts.of(text[:-1] for text in work.texts_with_replies())
    yield from ours_of(title, ours, bounds.read(sides.costs, sides.ceilings, texts, work.rows * work.new))
