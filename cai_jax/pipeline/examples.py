"""Training examples out of replies and documents: tokenised, packed into rows, shard by shard."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from cai_jax.data.packing import Packed, pack
from cai_jax.data.row_columns import Row
from cai_jax.data.rows import legible
from cai_jax.errors import UserError
from cai_jax.pipeline import documents
from cai_jax.pipeline.context import Context
from cai_jax.pipeline.context_length import Fitting
from cai_jax.pipeline.model_store import format_of
from cai_jax.pipeline.rng import Draw, draw_of
from cai_jax.pipeline.training import Batch, filled, mean_weight, passes
from cai_jax.prompting.paper_format import Format
from cai_jax.prompting.render import Segment

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
      shards: their number.
      dealt: True if every epoch distributes the examples over other rows.
      fitter: counts the examples read so far that were left out or cut.
    """

    length: int
    shards: int
    dealt: bool
    fitter: Fitting

    def shard(self, number: int, epoch: int) -> Packed:
        """Rows of one shard; each epoch distributes examples anew that are few enough to be shuffled as a whole."""
        ...


def corpus(ctx: Context, model: Model) -> Corpus:
    """The training data of a `finetune` node."""
    if ctx.inputs["data"].type.kind == "Documents":
        return _Documents(ctx, model)
    return _Dialogs(ctx, model, format_of(ctx.inputs["model"]))


def dialog(fitter: Fitting, format: Format, row: Row) -> Example | None:
    """A reply after its prompt, the loss on the reply and, if it ended by itself, on its end token.

    Source: arXiv 2212.08073 §3.1.
    """
    if format.ambiguous(row["reply"]):
        fitter.ambiguous += 1
        return None
    segments = format.replied(row["turns"], row["reply"], trained=True, ended=row.get("ended", True))
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
    def __init__(self, ctx: Context, model: Model, format: Format) -> None:
        limit = ctx.params["length"] or model.config.max_position
        self.fitter = Fitting(model.tokenizer, limit, ctx.params["overlong"], "examples")
        found = [dialog(self.fitter, format, row) for row in _answered(ctx, ctx.inputs["data"].rows())]
        self.fitter.note(ctx)
        self.examples = relative([each for each in found if each is not None])
        self.length = ctx.params["length"] or row_length(max(len(e.ids) for e in self.examples), limit)
        self.shards = -(-len(self.examples) // SHARD)
        self.dealt = self.shards > 1
        self.pad = model.tokenizer.pad_id or 0
        draw, count = draw_of(ctx), len(self.examples)
        self.order = functools.lru_cache(maxsize=1)(lambda epoch: draw.permutation("examples", count, epoch))

    def shard(self, number: int, epoch: int) -> Packed:
        # All shards of an epoch deal out one shuffle, so that each is a fair sample of the whole.
        members = self.order(epoch)[number * SHARD : (number + 1) * SHARD]
        return _packed([self.examples[index] for index in members], self.length, self.pad)


def _answered(ctx: Context, rows: Sequence[Row]) -> list[Row]:
    """The rows whose reply says something; the others are counted in a note.

    Raises:
      UserError: there is none.
    """
    kept = [row for row in rows if legible(row["reply"])]
    if not kept:
        raise UserError("every reply is empty, so there is nothing to train on", "look at what was sampled")
    if len(kept) < len(rows):
        ctx.note("empty", f"{len(rows) - len(kept)} of {len(rows)} replies are empty and were left out")
    return kept


def relative(examples: Sequence[Example]) -> list[Example]:
    """Examples with their weights divided by the mean over all trained tokens, so that only their ratios count."""
    mean = mean_weight([weight for each in examples for weight in each.weights if weight])
    return [Example(each.ids, [weight / mean for weight in each.weights]) for each in examples]


class _Documents:
    """Every shard holds of each source the same share, so that joined sources are trained on together."""

    dealt = False

    def __init__(self, ctx: Context, model: Model) -> None:
        data = ctx.inputs["data"]
        self.sources = [documents.source_of(data.made_from(key)) for key in data.result.get("sources", [data.key])]
        self.length = ctx.params["length"] or model.config.max_position
        self.fitter = Fitting(model.tokenizer, self.length, ctx.params["overlong"], "documents")
        self.shards = -(-sum(each["rows"] for each in self.sources) // SHARD)
        self.pad = model.tokenizer.pad_id or 0
        begin = model.tokenizer.begin
        self.begin = [Segment(begin, begin=True)] if begin else []
        self._open: dict[int, tuple[int, Iterator[list[Segment]]]] = {}

    def shard(self, number: int, epoch: int) -> Packed:
        found = [
            example(self.fitter, [*self.begin, *segments])
            for place, source in enumerate(self.sources)
            for segments in self._read(place, *(source["rows"] * n // self.shards for n in (number, number + 1)))
        ]
        kept = [each for each in found if each is not None]
        return _packed(kept, self.length, self.pad)

    def _read(self, place: int, start: int, stop: int) -> Iterator[list[Segment]]:
        """Documents of one source; consecutive shards are read without opening the file again."""
        source = self.sources[place]
        at, rest = self._open.get(place, (-1, iter(())))
        if at != start:
            rest = documents.read(source, start, source["rows"])
        self._open[place] = stop, rest
        return itertools.islice(rest, stop - start)


class Rows:
    """Packed rows in batches: a fixed sequence, of which any part can be read.

    Every pass goes over all rows, in another order. A batch may reach over into the next pass, and the last of all is
    filled up with rows of weight 0.

    Args:
      data: packs shards of examples into rows.
      batch: rows of a step.
      epochs: passes over the data.
      draw: of the order of rows within a shard, another in every epoch.
      steps: how many batches there are, all of them full; 0 takes those that hold the rows of all epochs.

    Attributes:
      seen: rows of all batches together; steps: batches.
    """

    def __init__(self, data: Corpus, batch: int, epochs: float, draw: Draw, steps: int = 0) -> None:
        self.data, self.batch, self.draw = data, batch, draw
        # Data of one shard is packed once: what was counted is what is trained on first.
        self._shard = functools.lru_cache(maxsize=1)(data.shard)
        self._rows = functools.cache(self._counted)
        self.seen = steps * batch or self._passes(epochs)
        self.steps = -(-self.seen // batch)

    @property
    def first(self) -> int:
        """Rows of the first epoch."""
        return self._rows(0)

    def _counted(self, epoch: int) -> int:
        """Rows of an epoch."""
        return sum(len(self._shard(shard, epoch).tokens) for shard in range(self.data.shards))

    def _passes(self, epochs: float) -> int:
        """Rows of all epochs."""
        if not self.data.dealt:
            return passes(epochs, self._rows(0))
        whole, rest = divmod(epochs, 1)
        found = sum(map(self._rows, range(int(whole))))
        return found + passes(rest, self._rows(int(whole))) if rest else found

    def batches(self, start: int) -> Iterator[Batch]:
        """Batches [batch, T] from number `start` on; every epoch has another order."""
        held: dict[str, np.ndarray] | None = None
        skip, number = start * self.batch, start
        for packed in self._shards():
            if skip >= len(packed["tokens"]):
                skip -= len(packed["tokens"])
                continue
            packed, skip = {name: x[skip:] for name, x in packed.items()}, 0
            held = packed if held is None else {n: np.concatenate([held[n], x]) for n, x in packed.items()}
            while number < self.steps and len(held["tokens"]) >= (size := self._size(number)):
                yield filled({name: x[:size] for name, x in held.items()}, self.batch)
                held, number = {name: x[size:] for name, x in held.items()}, number + 1
            if number == self.steps:
                return

    def _size(self, number: int) -> int:
        """Rows of a batch before it is filled up."""
        return min(self.batch, self.seen - number * self.batch)

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
