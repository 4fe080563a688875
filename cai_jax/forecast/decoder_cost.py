"""What passes through a decoder take of one device, worked out from its shape. Imports no JAX.

- FLOPs are those of products, 2·m·n·k each, and exact: on a matrix unit nothing else takes noticeable time.
- Bytes are what main memory must move at least: weights once a pass, keys and values, gradients and optimiser state.
  What a compiler writes and reads in between is left out; `cai-jax compile` gives the compiler's own numbers.
- Memory is what must be held at least: weights, cache, optimiser state, gradients, what a gradient needs of the
  forward pass, and the largest value that is made at one time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from cai_jax.models import attention_blocks
from cai_jax.models.config import Config, parameters

WIDE = 4  # bytes of what is trained, of its gradient and moments, of attention scores and logits


class Work(NamedTuple):
    """FLOPs and bytes."""

    flops: float
    bytes: float

    def plus(self, other: Work) -> Work:
        return Work(self.flops + other.flops, self.bytes + other.bytes)

    def times(self, count: float) -> Work:
        return Work(self.flops * count, self.bytes * count)


@dataclass(frozen=True)
class DecoderCost:
    """A decoder as one device computes it.

    Attributes:
      config: its shape.
      size: bytes of a number. stored: of a weight as it is kept, which is more in training.
      platform: "cpu", "gpu" or "tpu".
      rank: columns of its adapters, those of all together; 0 without any.
      split: over how many devices its heads and feed-forward units are split, of which each takes its part.
      weights: the arrays that it is made of, by name, each with its bytes on a device; models that share a base name
        the same.
    """

    config: Config
    size: int
    stored: int
    platform: str
    rank: int = 0
    split: int = 1
    weights: frozenset[tuple[str, float]] = frozenset()

    # -- weights

    @property
    def heads(self) -> tuple[int, int]:
        """Numbers of a token's queries, and of its keys."""
        return self.config.heads * self.config.head_dim, self.config.kv_heads * self.config.head_dim

    @property
    def inputs(self) -> int:
        """Weights that make a layer's queries, keys and values."""
        q, kv = self.heads
        return self.config.hidden_size * (q + 2 * kv)

    @property
    def layer(self) -> int:
        """Weights of a layer's matrices."""
        c = self.config
        return self.inputs + self.heads[0] * c.hidden_size + (2 + c.gated) * c.hidden_size * c.intermediate_size

    @property
    def vocabulary(self) -> int:
        """Weights of the unembedding."""
        return self.config.vocab_size * self.config.hidden_size

    @property
    def adapter(self) -> int:
        """Numbers of a layer's adapters as they are multiplied with: those of queries, keys and values as one."""
        (q, kv), d, f = self.heads, self.config.hidden_size, self.config.intermediate_size
        return self.rank * (3 * (d + q + 2 * kv) + (q + d) + (2 + self.config.gated) * (d + f))

    def trained(self, frozen: bool, headed: bool) -> int:
        """How many weights are trained; `headed`: with an unembedding of its own, if the decoder has one."""
        if frozen:
            (q, kv), d, f = self.heads, self.config.hidden_size, self.config.intermediate_size
            own = (d + q) + 2 * (d + kv) + (q + d) + (2 + self.config.gated) * (d + f)
            return self.rank * self.config.layers * own
        return parameters(self.config) - (not headed and not self.config.tie_embeddings) * self.vocabulary

    # -- work of a pass

    def read(self, rows: int, width: int, shared: int = 0, kernel: bool = True, kept: bool = False) -> Work:
        """Reading rows of `width` tokens.

        Args:
          shared: keys of a text that stands before all rows.
          kernel: whether attention may use the TPU's kernel.
          kept: whether keys and values alone are wanted, for which the last layer makes nothing else, and which are
            written to memory.
        """
        tokens, layers = rows * width, self.config.layers - kept
        last = self.inputs if self.split == 1 else self.config.hidden_size * 2 * self.heads[1]
        products = layers * (self.layer + self.adapter) + kept * last
        flops = self._products(tokens, products) + self._attention(rows, width, layers, shared, kernel)
        moved = self._read(layers * self.layer + kept * last) + tokens * self.config.hidden_size * self.stored
        return Work(flops, moved + self.cache(tokens * kept + shared))

    def decode(self, rows: int, positions: int, steps: int, shared: int = 0) -> Work:
        """Reading so many more tokens of every row, behind a cache of so many positions, and drawing after each."""
        layers, keys = self.config.layers, positions + shared
        flops = self._products(rows, layers * (self.layer + self.adapter))
        flops += 4.0 * self.heads[0] * layers * rows * keys / self.split
        # A TPU multiplies in bfloat16, and keeps weights so while it decodes.
        weights = (layers * self.layer + self.vocabulary) * (2 if self.platform == "tpu" else self.stored) / self.split
        moved = weights + self.cache(rows * positions + shared)
        return Work(flops + self._products(rows, self.vocabulary), moved).times(steps)

    def unembed(self, positions: int) -> Work:
        """Logits of so many positions."""
        return Work(self._products(positions, self.vocabulary), self._read(self.vocabulary))

    def train(self, rows: int, width: int, frozen: bool = False, remat: bool = False) -> Work:
        """Forward and backward of rows of `width` tokens, without logits; `frozen`: of the adapters alone.

        With `remat` every layer is computed again in between.
        """
        tokens, layers = rows * width, self.config.layers
        matrices, adapters = layers * self.layer, layers * self.adapter
        attention = self._attention(rows, width, layers)
        # A product has two in its gradient: by the weights, and by what goes in, which below an adapter are not wanted
        # of any and of the first.
        flops = self._products(tokens, 2 * matrices - self.inputs if frozen else 3 * matrices)
        # Of the two products of attention the kernel's gradient takes three and four.
        flops += self._products(tokens, 3 * adapters) + attention * (4.5 if self._on_kernel(width) else 3)
        moved = self._read(2 * matrices) + (0 if frozen else WIDE * matrices / self.split)
        if remat:
            down = layers * self.config.hidden_size * self.config.intermediate_size  # whose output no gradient needs
            flops += self._products(tokens, matrices + adapters - down) + attention
            moved += self._read(matrices)
        return Work(flops, moved)

    def learn(self, positions: int, times: int, frozen: bool = False) -> Work:
        """Logits of so many positions, and their gradients, so many times."""
        # In several blocks the gradients compute logits again; those of a single one they share.
        flops = self._products(positions, self.vocabulary) * ((4 if times > 1 else 3) - frozen)
        gradient = 0 if frozen else WIDE * self.vocabulary / self.split
        return Work(flops, self._read(2 * self.vocabulary) + gradient).times(times)

    def orthogonalised(self) -> Work:
        """Muon's five steps of Newton and Schulz on every matrix of the layers, each X of [m, n], m at most n, whole.

        A step makes A = X Xᵀ, B = b A + c A A and a X + B X (optax.contrib.muon), and reads and writes X.
        """
        (q, kv), d, f = self.heads, self.config.hidden_size, self.config.intermediate_size
        matrices = [(d, q), (d, kv), (d, kv), (d, q), *[(d, f)] * (2 + self.config.gated)]
        flops = sum(5 * (4.0 * m * m * n + 2.0 * m**3) for m, n in map(sorted, matrices))
        moved = sum(5 * 2.0 * WIDE * m * n for m, n in matrices)
        return Work(flops, moved).times(self.config.layers)

    def update(self, weights: float, shards: int = 1) -> float:
        """Bytes of an AdamW update: it reads gradient, weights and two moments and writes all but the gradient.

        Args:
          shards: over how many devices what is trained is split.
        """
        return 7.0 * WIDE * weights / self.split / shards

    # -- memory

    def cache(self, tokens: float) -> float:
        """Bytes of the keys and values of so many tokens."""
        return 2.0 * self.heads[1] * self.size * self.config.layers * tokens / self.split

    def logits(self, positions: float) -> float:
        """Bytes of the logits of so many positions."""
        return WIDE * positions * self.config.vocab_size / self.split

    def layer_values(self, rows: int, width: int, kernel: bool = True) -> float:
        """Bytes of what a layer holds at one time while it reads rows: the residual stream, and attention or MLP."""
        (q, kv), c, tokens = self.heads, self.config, rows * width
        attending = self.size * tokens * (2 * q + 2 * kv) + self._scores(rows, width, kernel)
        feeding = self.size * tokens * (1 + c.gated) * c.intermediate_size
        return self.size * tokens * c.hidden_size + max(attending, feeding) / self.split

    def saved(self, rows: int, width: int, remat: bool = False) -> float:
        """Bytes of what a gradient needs of the forward pass; with `remat` of every layer its input alone."""
        one, layers = self._saved_layer(rows, width), self.config.layers
        return self.size * rows * width * self.config.hidden_size * layers + one if remat else layers * one

    def _saved_layer(self, rows: int, width: int) -> float:
        """Of one layer: what goes into its norms and products, and the weights of attention."""
        (q, kv), c = self.heads, self.config
        numbers = 2 * c.hidden_size + (2 * q + 2 * kv + (1 + c.gated) * c.intermediate_size) / self.split
        pairs = 0 if self._on_kernel(width) or self.platform == "gpu" else self._pairs(width, 1)
        return self.size * rows * width * numbers + WIDE * rows * c.heads * pairs / self.split

    # -- what goes on within a layer

    def _products(self, rows: float, weights: float) -> float:
        """FLOPs of so many rows and matrices of so many weights."""
        return 2.0 * rows * weights / self.split

    def _read(self, weights: float) -> float:
        """Bytes of reading weights."""
        return weights * self.stored / self.split

    def _on_kernel(self, width: int, kernel: bool = True) -> bool:
        return kernel and self.platform == "tpu" and width % attention_blocks.LANES == 0

    def _pairs(self, width: int, layers: int, kernel: bool = True) -> int:
        """Pairs of a query and a key of a row that a head computes in the first layers."""
        windows = (self.config.window(each) if kernel else None for each in range(layers))
        return sum(attention_blocks.pairs(width, window, self._on_kernel(width, kernel)) for window in windows)

    def _attention(self, rows: int, width: int, layers: int, shared: int = 0, kernel: bool = True) -> float:
        """FLOPs of attention in the first layers; the kernel's heads are padded to its lanes."""
        own = self.config.head_dim
        if self._on_kernel(width, kernel):
            own = -(-own // attention_blocks.LANES) * attention_blocks.LANES
        scores = own * self._pairs(width, layers, kernel) + self.config.head_dim * layers * width * shared
        return 4.0 * self.config.heads * rows * scores / self.split

    def _scores(self, rows: int, width: int, kernel: bool) -> float:
        """Bytes of the scores of one block of queries."""
        if self._on_kernel(width, kernel) or self.platform == "gpu":
            return 0.0
        block = max(end - start for start, end, _ in attention_blocks.plain(width))
        return WIDE * rows * self.config.heads * block * width
