"""The least time in which this machine could do a work: arithmetic and memory traffic over measured ceilings.

What counts is what must be done by any method that computes every token once:

- A token of a text costs 2 FLOPs for each weight of the layers, and 4·layers·heads·head_dim for each key that
  it attends to (2 for q·k, 2 for p·v). Beginnings that texts share are computed once (`Texts`).
- A position whose logits are needed costs 2·D·V.
- A pass over some rows reads the weights once, however many rows there are; a decode step reads all rows'
  keys and values besides.
- A training step costs three forwards (the gradients of activations and of weights), logits everywhere; AdamW
  reads weights, gradients and two moments and writes all but the gradients.

A phase takes the longer of FLOPs over the ceiling of a product of that many rows, and bytes over bandwidth.
Softmax, norms, sampling and the host cost nothing here, so that no program reaches the bound.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cai_jax.models.config import Config, parameters


@dataclass(frozen=True)
class Ceilings:
    """FLOP/s of a product by its number of rows, and bytes a second."""

    gemm: dict[int, float]
    bandwidth: float

    def seconds(self, flops: float, nbytes: float, rows: float) -> float:
        return max(flops / self.flops(rows), nbytes / self.bandwidth)

    def flops(self, rows: float) -> float:
        """Between the measured numbers of rows, log-linear; beyond them, as at the nearest."""
        known = sorted(self.gemm)
        rows = min(max(rows, known[0]), known[-1])
        right = next(number for number in known if number >= rows)
        left = max((number for number in known if number <= rows), default=right)
        if left == right:
            return self.gemm[left]
        share = math.log(rows / left) / math.log(right / left)
        return self.gemm[left] * (1 - share) + self.gemm[right] * share


@dataclass(frozen=True)
class Costs:
    """FLOPs and bytes of a model."""

    layer_weights: int  # of all layers together
    unembed_weights: int
    attention: int  # FLOPs for each pair of a query and a key
    key_bytes: int  # of one token's keys and values in all layers
    number_bytes: int
    all_weights: int

    @classmethod
    def of(cls, config: Config, number_bytes: int = 4) -> Costs:
        whole = parameters(config)
        table = config.vocab_size * config.hidden_size
        layers = whole - table * (1 if config.tie_embeddings else 2)
        pair = 4 * config.layers * config.heads * config.head_dim
        kept = 2 * config.layers * config.kv_heads * config.head_dim * number_bytes
        return cls(layers, table, pair, kept, number_bytes, whole)

    def flops(self, tokens: float, pairs: float, logits: float) -> float:
        return 2 * self.layer_weights * tokens + self.attention * pairs + 2 * self.unembed_weights * logits

    @property
    def read(self) -> int:
        """Bytes of the weights that a pass reads; of the embedding only few rows."""
        return (self.layer_weights + self.unembed_weights) * self.number_bytes


@dataclass(frozen=True)
class Texts:
    """Tokens that must be computed, and their pairs with a key, where shared beginnings are computed once."""

    tokens: int
    pairs: int

    @classmethod
    def of(cls, rows: Iterable[Sequence[int]]) -> Texts:
        tokens, pairs, last = 0, 0, ()
        for row in sorted(rows):  # in this order a row shares most with the one before it
            shared = next((at for at, (a, b) in enumerate(zip(row, last)) if a != b), min(len(row), len(last)))  # noqa: B905 (their lengths differ)
            tokens += len(row) - shared
            pairs += (len(row) * (len(row) + 1) - shared * (shared + 1)) // 2
            last = row
        return cls(tokens, pairs)

    def minus(self, other: Texts) -> Texts:
        return Texts(self.tokens - other.tokens, self.pairs - other.pairs)


def read(costs: Costs, ceilings: Ceilings, texts: Texts, logits: int) -> float:
    """Seconds to read texts, all together, with the logits of some positions."""
    return ceilings.seconds(costs.flops(texts.tokens, texts.pairs, logits), costs.read, texts.tokens)


def decode(costs: Costs, ceilings: Ceilings, starts: Sequence[int], new: Sequence[int], shared: int = 0) -> float:
    """Seconds to continue rows of lengths `starts`, the logits at whose ends are known, to `new` tokens each.

    All rows go side by side. Their first `shared` tokens are the same, whose keys and values are read once.
    """
    seconds = 0.0
    for step in range(1, max(new)):
        keys = [start + step for start, count in zip(starts, new, strict=True) if count > step]
        rows, pairs = len(keys), sum(keys)
        nbytes = costs.read + costs.key_bytes * (pairs - (rows - 1) * shared)
        seconds += ceilings.seconds(costs.flops(rows, pairs, rows), nbytes, rows)
    return seconds


def train(costs: Costs, ceilings: Ceilings, rows: int, length: int) -> float:
    """Seconds of a training step on rows of `length` tokens."""
    tokens = rows * (length - 1)  # the last is only predicted
    flops = train_flops(costs, rows, length)
    return ceilings.seconds(flops, 0, tokens) + 7 * 4 * costs.all_weights / ceilings.bandwidth


def train_flops(costs: Costs, rows: int, length: int) -> float:
    return 3 * costs.flops(rows * (length - 1), rows * (length - 1) * length / 2, rows * (length - 1))
