"""Training examples out of replies and documents: tokenised, packed into rows, shard by shard."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from cai_jax.data import documents, formats
from cai_jax.data.packing import Packed, pack
from cai_jax.data.render import END, Segment, data, encode
from cai_jax.errors import UserError
from cai_jax.stages.parts.training import row_length

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
    """

    length: int
    shards: int

    def shard(self, number: int, seed: tuple[int, ...]) -> Packed:
        """Rows of one shard; `seed` deals out the examples where they are few enough to be shuffled whole."""
        ...


def corpus(ctx, model: Model) -> Corpus:
    """The training data of a `finetune` node."""
    data_ = ctx.inputs["data"]
    if data_.type.kind == "Documents":
        return _Documents(ctx, model)
    return _Dialogs(ctx, model)


def dialog(model: Model, row: dict[str, Any]) -> Example:
    """A reply after its prompt, the loss on the reply and its end (CAI §3.1)."""
    segments = [*formats.ask(row["turns"]), data(row["reply"], trained=True), END]
    return example(model, segments, row.get("weight", 1.0))


def example(model: Model, segments: Sequence[Segment], weight: float = 1.0) -> Example:
    """Segments as token ids, with `weight` on every trained token."""
    ids, trained = encode(model.tokenizer, segments)
    return Example(ids, [weight * on for on in trained])


def _packed(examples: Sequence[Example], length: int, pad: int) -> Packed:
    # Longest first: rows fill up with the short ones.
    order = sorted(range(len(examples)), key=lambda index: -len(examples[index].ids))
    chosen = [examples[index] for index in order]
    return pack([e.ids for e in chosen], length, weights=[e.weights for e in chosen], pad=pad)


def _cut(found: Example, length: int, overlong: str) -> Example | None:
    """An example that fits a row; None for one to leave out."""
    if len(found.ids) <= length:
        return found
    if overlong == "error":
        raise UserError(
            f"an example of {len(found.ids)} tokens does not fit a row of {length}",
            "raise length=, leave such rows out with overlong=skip, or cut them with overlong=truncate_left",
        )
    return Example(found.ids[-length:], found.weights[-length:]) if overlong == "truncate_left" else None


class _Dialogs:
    def __init__(self, ctx, model: Model) -> None:
        whole = [dialog(model, row) for row in ctx.inputs["data"].rows()]
        limit = ctx.params["length"] or model.config.max_position
        kept = [cut for found in whole if (cut := _cut(found, limit, ctx.params["overlong"]))]
        if len(kept) < len(whole):
            ctx.note("overlong", f"{len(whole) - len(kept)} of {len(whole)} examples were too long and left out")
        if not kept:
            raise UserError("no example is short enough to train on", "raise length=")
        self.examples = kept
        self.length = ctx.params["length"] or row_length(max(len(e.ids) for e in kept), limit)
        self.shards = -(-len(kept) // SHARD)
        self.pad = model.tokenizer.pad_id or 0

    def shard(self, number: int, seed: tuple[int, ...]) -> Packed:
        # All shards of an epoch deal out one shuffle, so that each is a fair sample of the whole.
        order = np.random.default_rng(seed[:-1]).permutation(len(self.examples))
        members = order[number * SHARD : (number + 1) * SHARD]
        return _packed([self.examples[index] for index in members], self.length, self.pad)


class _Documents:
    def __init__(self, ctx, model: Model) -> None:
        source = ctx.inputs["data"].result
        self.sources = source.get("sources", [source])
        self.model = model
        self.overlong = ctx.params["overlong"]
        self.length = ctx.params["length"] or model.config.max_position
        self.counts = [-(-each["rows"] // SHARD) for each in self.sources]
        self.shards = sum(self.counts)
        self.pad = model.tokenizer.pad_id or 0

    def shard(self, number: int, seed: tuple[int, ...]) -> Packed:
        place = 0
        while number >= self.counts[place]:
            number, place = number - self.counts[place], place + 1
        source = self.sources[place]
        stop = min(source["rows"], (number + 1) * SHARD)
        found = (example(self.model, segments) for segments in documents.read(source, number * SHARD, stop))
        kept = [cut for each in found if (cut := _cut(each, self.length, self.overlong))]
        return _packed(kept, self.length, self.pad)


class Rows:
    """Packed rows in batches: a fixed sequence, of which any part can be read.

    Args:
      data: packs shards of examples into rows.
      batch: rows of a step.
      epochs: passes over the data.
      seed: of the order of rows within a shard, and of examples in every epoch.
    """

    def __init__(self, data: Corpus, batch: int, epochs: float, seed: tuple[int, ...]) -> None:
        self.data, self.batch, self.epochs, self.seed = data, batch, epochs, seed

    def count(self) -> int:
        """Steps that come nearest to all epochs, at least one; a batch may reach over into the next epoch."""
        rows = sum(len(self.data.shard(shard, self._seed(0, shard)).tokens) for shard in range(self.data.shards))
        return max(1, round(self.epochs * rows / self.batch))

    def batches(self, start: int) -> Iterator[dict[str, np.ndarray]]:
        """Batches from number `start` on, without end; every epoch draws another order."""
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
                yield {name: x[None, cut] for name, x in held.items()}
            held = {name: x[whole * self.batch :] for name, x in held.items()}

    def _seed(self, epoch: int, shard: int) -> tuple[int, ...]:
        return (*self.seed, epoch, shard)

    def _shards(self) -> Iterator[dict[str, np.ndarray]]:
        for epoch in itertools.count():
            rows = 0
            for shard in range(self.data.shards):
                seed = self._seed(epoch, shard)
                packed = self.data.shard(shard, seed)._asdict()
                rows += len(packed["tokens"])
                order = np.random.default_rng(seed).permutation(len(packed["tokens"]))
                yield {name: x[order] for name, x in packed.items()}
            if not rows:
                raise UserError("no document is short enough to train on", "raise length=")
