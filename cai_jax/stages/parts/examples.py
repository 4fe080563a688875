"""Training examples out of replies and documents: tokenised, packed into rows, shard by shard."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from cai_jax.data import documents
from cai_jax.data.formats import Format
from cai_jax.data.packing import Packed, pack
from cai_jax.data.render import Segment
from cai_jax.errors import UserError
from cai_jax.stages.parts.draws import Draw, draw_of
from cai_jax.stages.parts.fitting import Fitting
from cai_jax.stages.parts.models import format_of

if TYPE_CHECKING:
    from cai_jax.models.checkpoint import Model

SHARD = 2048  # examples packed together


@dataclass(frozen=True)
class Example:
    """Token ids, and the weight of the loss on each."""

    ids: list[int]
    weights: list[float]


class Corpus(Protocol):
    """Examples in shards of rows.

    Attributes:
      length: tokens of a row.
      shards: how many.
      fitter: counts the examples read so far that were left out or cut.
    """

    length: int
    shards: int
    fitter: Fitting

    def shard(self, number: int, epoch: int) -> Packed:
        """Rows of one shard; each epoch deals out anew examples that are few enough to be shuffled whole."""
        ...


def corpus(ctx, model: Model) -> Corpus:
    """The training data of a `finetune` node."""
    if ctx.inputs["data"].type.kind == "Documents":
        return _Documents(ctx, model)
    return _Dialogs(ctx, model, format_of(ctx.inputs["model"]))


def dialog(fitter: Fitting, format: Format, row: dict[str, Any]) -> Example | None:
    """A reply after its prompt, the loss on the reply and, where it ended by itself, its end (CAI §3.1)."""
    end = [format.end] if row.get("ended", True) else []
    segments = [*format.ask(row["turns"]), format.reply(row["reply"], trained=True), *end]
    return example(fitter, segments, row.get("weight", 1.0))


def example(fitter: Fitting, segments: Sequence[Segment], weight: float = 1.0) -> Example | None:
    """Segments as token ids, with `weight` on every trained token; None for one to leave out."""
    found = fitter.fit(segments)
    return Example(found[0].ids, [weight * on for on in found[0].trained]) if found else None


def _packed(examples: Sequence[Example], length: int, pad: int) -> Packed:
    # Longest first: rows fill up with the short ones.
    order = sorted(range(len(examples)), key=lambda index: -len(examples[index].ids))
    chosen = [examples[index] for index in order]
    return pack([e.ids for e in chosen], length, weights=[e.weights for e in chosen], pad=pad)


class _Dialogs:
    def __init__(self, ctx, model: Model, format: Format) -> None:
        limit = ctx.params["length"] or model.config.max_position
        self.fitter = Fitting(model.tokenizer, limit, ctx.params["overlong"], "examples")
        found = [dialog(self.fitter, format, row) for row in ctx.inputs["data"].rows()]
        self.fitter.note(ctx)
        self.examples = [each for each in found if each is not None]
        self.length = ctx.params["length"] or row_length(max(len(e.ids) for e in self.examples), limit)
        self.shards = -(-len(self.examples) // SHARD)
        self.pad = model.tokenizer.pad_id or 0
        draw, count = draw_of(ctx), len(self.examples)
        self.order = functools.lru_cache(maxsize=1)(lambda epoch: draw.permutation("examples", count, epoch))

    def shard(self, number: int, epoch: int) -> Packed:
        # All shards of an epoch deal out one shuffle, so that each is a fair sample of the whole.
        members = self.order(epoch)[number * SHARD : (number + 1) * SHARD]
        return _packed([self.examples[index] for index in members], self.length, self.pad)


class _Documents:
    def __init__(self, ctx, model: Model) -> None:
        source = ctx.inputs["data"].result
        self.sources = source.get("sources", [source])
        self.length = ctx.params["length"] or model.config.max_position
        self.fitter = Fitting(model.tokenizer, self.length, ctx.params["overlong"], "documents")
        self.counts = [-(-each["rows"] // SHARD) for each in self.sources]
        self.shards = sum(self.counts)
        self.pad = model.tokenizer.pad_id or 0
        begin = model.tokenizer.begin
        self.begin = [Segment(begin, special=True)] if begin else []

    def shard(self, number: int, epoch: int) -> Packed:
        place = 0
        while number >= self.counts[place]:
            number, place = number - self.counts[place], place + 1
        source = self.sources[place]
        stop = min(source["rows"], (number + 1) * SHARD)
        read = documents.read(source, number * SHARD, stop)
        found = [example(self.fitter, [*self.begin, *segments]) for segments in read]
        kept = [each for each in found if each is not None]
        return _packed(kept, self.length, self.pad)


class Rows:
    """Packed rows in batches: a fixed sequence, of which any part can be read.

    Args:
      data: packs shards of examples into rows.
      batch: rows of a step.
      epochs: passes over the data.
      draw: of the order of rows within a shard, another in every epoch.
    """

    def __init__(self, data: Corpus, batch: int, epochs: float, draw: Draw) -> None:
        self.data, self.batch, self.epochs, self.draw = data, batch, epochs, draw
        # Data of one shard is packed once: what was counted is what is trained on first.
        self._shard = functools.lru_cache(maxsize=1)(data.shard)

    def count(self) -> int:
        """Steps that come nearest to all epochs, at least one; a batch may reach over into the next epoch."""
        rows = sum(len(self._shard(shard, 0).tokens) for shard in range(self.data.shards))
        return max(1, round(self.epochs * rows / self.batch))

    def batches(self, start: int) -> Iterator[dict[str, np.ndarray]]:
        """Batches [batch, T] from number `start` on, without end; every epoch draws another order."""
        skip, held = start * self.batch, None
        for packed in self._shards():
            if skip >= len(packed["tokens"]):
                skip -= len(packed["tokens"])
                continue
            packed, skip = {name: x[skip:] for name, x in packed.items()}, 0
            held = packed if held is None else {n: np.concatenate([held[n], x]) for n, x in packed.items()}
            whole = len(held["tokens"]) // self.batch
            for number in range(whole):
                cut = slice(number * self.batch, (number + 1) * self.batch)
                yield {name: x[cut] for name, x in held.items()}
            held = {name: x[whole * self.batch :] for name, x in held.items()}

    def _shards(self) -> Iterator[dict[str, np.ndarray]]:
        for epoch in itertools.count():
            rows = 0
            for shard in range(self.data.shards):
                packed = self._shard(shard, epoch)._asdict()
                rows += len(packed["tokens"])
                order = self.draw.permutation("rows", len(packed["tokens"]), epoch, shard)
                yield {name: x[order] for name, x in packed.items()}
            if not rows:
                raise UserError("no document is short enough to train on", "raise length=")


def row_length(longest: int, limit: int) -> int:
    """The length of packed rows: the smallest multiple of 32 that holds `longest` tokens, at most `limit`."""
    return min(-(-longest // 32) * 32, limit)
