"""Sampling: fixed lengths, and mixed ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from tests.benchmarks import bounds, works
from tests.benchmarks.arena import CACHES, Arena, against, arena, batches, named, ours_of
from tests.benchmarks.figures import Figure


def figures() -> Iterator[Figure]:
    with arena() as sides:
        yield from fixed(sides, works.Sampling())
        yield from mixed(sides, works.Mixed())


def fixed(sides: Arena, work: works.Sampling) -> Iterator[Figure]:
    """Every reply has the same length; nothing ends it."""
    title = f"sampling, {work.rows} × ({work.prompt} + {work.new}) tokens"
    shorter = replace(work, new=max(work.new // 4, 2))
    options = sides.best("sampling", lambda _: shorter, batches(work.rows), CACHES)
    calls = [(sides.ours, "sampling", work, {}), (sides.theirs, "sampling", work, options)]
    calls += [(sides.tunix, "sampling", work, {})] if sides.tunix else []
    ours, theirs, *tunix = sides.compare(*calls)
    yield from against(title, named(options), theirs, ours, ">= 1.2")
    if tunix:
        yield from against(title, "google-tunix", *tunix, ours, ">= 1.5")
    else:
        yield Figure(title, "speed beside google-tunix: not installed (TUNIX_PYTHON names a Python that has it)", ())
    texts, model = bounds.Texts.of(work.prompts()), (sides.costs, sides.ceilings)
    rows = [work.prompt] * work.rows, [work.new] * work.rows
    yield from ours_of(title, ours, bounds.read(*model, texts, work.rows) + bounds.decode(*model, *rows))


def mixed(sides: Arena, work: works.Mixed, batch: int = 32) -> Iterator[Figure]:
    """Stop ids end our replies; each of theirs ends at the length that ours has, by a criterion of transformers.

    A row's reply follows from its key, so that keys can be chosen whose replies end where `work` wants them.
    """
    _, drafts = sides.ours.measure("drafts", work)
    work = replace(work, draws=tuple(_nearest(drafts, work)))
    _, lengths = sides.ours.measure("mixed", work)
    work = replace(work, lengths=tuple(lengths))
    options = sides.best("mixed", lambda batch: _first(work, batch), [batch], CACHES)
    ours, theirs = sides.compare((sides.ours, "mixed", work, {}), (sides.theirs, "mixed", work, options))
    title = (
        f"sampling, {work.rows} prompts of {work.shortest} to {work.longest} tokens, replies of "
        f"{min(lengths)} to {max(lengths)} (mean {np.mean(lengths):.0f})"
    )
    yield from against(title, named(options), theirs, ours, ">= 3")
    yield Figure(title, "tokens a second", tuple(sum(lengths) / seconds for seconds in ours))
    prompts, model = work.prompts(), (sides.costs, sides.ceilings)
    texts = bounds.Texts.of(prompts)
    reading, writing = bounds.read(*model, texts, work.rows), bounds.decode(*model, [*map(len, prompts)], lengths)
    yield from ours_of(title, ours, reading + writing)


def _nearest(drafts: list[list[int]], work: works.Mixed) -> list[int]:
    """Of each row's drafts the one whose length is nearest to what the row is to have."""
    distance = np.abs(np.array(drafts) - work.wanted()[:, None]) + work.most * (np.array(drafts) < work.least)
    return distance.argmin(1).tolist()


def _first(work: works.Mixed, rows: int) -> works.Mixed:
    """As many rows, with the lengths of the first; their prompts are others."""
    return replace(work, rows=rows, draws=work.draws[:rows], lengths=work.lengths[:rows])
