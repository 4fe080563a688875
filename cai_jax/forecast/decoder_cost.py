"""What passes through a decoder take of one device, worked out from its shape. Imports no JAX.

FLOPs are those of products, 2·m·n·k: on a matrix unit nothing else takes noticeable time.

Bytes go to or from the device's main memory. Every pass reads its weights, and decoding its cache. Beyond that,

- on a TPU, what a layer attends with, and what it feeds forward, stays on the chip where it fits, and is written and
  read where it does not; what a gradient needs again is, always;
- on a CPU, every value that products and the passes between them hand over goes through memory (`_Handed`), as XLA's
  text has it: what a processor's caches hold, no program says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from cai_jax.forecast.onchip_memory import Value, spilled, together
from cai_jax.models import attention_blocks
from cai_jax.models.config import Config, parameters

# Bytes that a chip fetches ahead even where what products make finds no room (v5p).
FETCHED = 64 * 2**20
WIDE = 4  # bytes of what is trained, of its gradient and moments, of scores and logits


class Work(NamedTuple):
    """FLOPs and bytes."""

    flops: float
    bytes: float

    def plus(self, other: Work) -> Work:
        return Work(self.flops + other.flops, self.bytes + other.bytes)

    def times(self, count: float) -> Work:
        return Work(self.flops * count, self.bytes * count)


class _Handed(NamedTuple):
    """How often values go to or from a CPU's memory in a layer, by their width.

    Attributes:
      hidden: D numbers a token. queries, keys: N·H and K·H. inner: F.
      scores: a number for every head, query and key.
      seen: K·H numbers for every key at which a block of queries looks.
      cut: N·H numbers for every query of a row that is cut into blocks.
      split: D numbers a token, more than else, where heads are split over devices: their products read what goes in
        and sum what comes out one by one.
    """

    hidden: int
    queries: int
    keys: int
    inner: int
    scores: int
    seen: int = 0
    cut: int = 0
    split: int = 0


# Counted in XLA's text (jax 0.10.2). A product reads its input and writes its output; a norm reads twice and writes
# once; turning, moving heads to the front and back, masking, the activation and a sum read and write theirs.
_READ = _Handed(hidden=17, queries=8, keys=4, inner=6, scores=4, seen=6, cut=2, split=6)
# One query a row: its softmax is no part of a product.
_DECODED = _Handed(hidden=17, queries=8, keys=10, inner=6, scores=7, split=6)
# Keys that all rows share: a softmax of its own, whose result is put together with that over the row.
_SHARED = _Handed(hidden=0, queries=7, keys=0, inner=0, scores=8)
# Norms, softmax and activation keep what their gradients need, in passes of their own.
_FORWARD = _Handed(hidden=21, queries=10, keys=4, inner=11, scores=7, seen=6, split=6)
_BACKWARD = _Handed(hidden=35, queries=20, keys=10, inner=14, scores=7, seen=6, split=18)
# An adapter reads what goes in, and what it adds is written and read.
_ADAPTED = _Handed(hidden=7, queries=3, keys=4, inner=5, scores=0)
# A last layer whose keys and values alone are wanted.
_KEPT = _Handed(hidden=4, queries=1, keys=6, inner=0, scores=0)

# The same of logits: drawing from them counts with the nucleus's sort, the dearer branch.
_DRAWN, _ASKED, _LEARNT = 24, 4, 8
# The same of the weights of queries, keys and values on their way side by side; a TPU makes two passes.
_BESIDE = {"cpu": 2, "tpu": 4}
# The same of a gradient's weights, on their way through norm, clip, two moments and the update: on a TPU the gradient
# is read twice, and weights and moments are read and written.
_UPDATED = {"cpu": 20, "tpu": 8}
# The same of the unembedding's gradient, to which every block of positions adds.
_ADDED = {"cpu": 6, "tpu": 2}
# The same of a matrix and of its square in a step of Muon's; on a CPU a step adds up what those before have made.
_TURNED = {"cpu": (15, 10), "tpu": (6, 7)}
# The same of keys and values on their way into the cache, for which chips gather and sum those of all rows.
_COPIED = {"cpu": 5, "tpu": 2}
_GATHERED = 5

# The moments of a layer, between which a TPU hands values on; behind the last comes the next layer's first.
MAKE, TURN, ATTEND, OUT, SUM, GATE, UP, DOWN, SUMMED = range(9)
MOMENTS = 9


@dataclass(frozen=True)
class DecoderCost:
    """A decoder as a device computes it.

    Attributes:
      config: its shape.
      size: bytes of a number. stored: of a weight as it is kept, which is more in training.
      platform: "cpu" or "tpu".
      rank: columns of its adapters, those of all together; 0 without any.
      room: bytes of memory on a TPU's chip for what it makes.
      split: over how many devices its heads and feed-forward units are split, of which each takes its part.
    """

    config: Config
    size: int
    stored: int
    platform: str
    rank: int = 0
    split: int = 1
    room: float = 0.0

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

    # -- passes

    def read(
        self, rows: int, width: int, shared: int = 0, kernel: bool = True, kept: bool = False, parts: int = 1
    ) -> Work:
        """Reading rows of `width` tokens.

        Args:
          shared: keys of a text that stands before all rows.
          kernel: whether attention may use the TPU's kernel.
          kept: whether keys and values alone are wanted, for which the last layer makes nothing else.
          parts: in how many parts weights lie on other devices, from which they are gathered.
        """
        tokens, layers = rows * width, self.config.layers - kept
        last = self.inputs if self.split == 1 else self.config.hidden_size * 2 * self.heads[1]
        weights = layers * (self.layer + self.adapter) + kept * last
        flops = self._products(tokens, weights) + self._attention(rows, width, layers, shared, kernel)
        moved = self._weights(layers * self.layer + kept * last) + self._looked_up(tokens)
        if self.platform == "cpu":
            moved += self._beside(self.config.layers)
            moved += self._rows(rows, width, layers, _READ, kernel) + self._values(tokens * kept, _KEPT)
            moved += self._values(tokens * layers, _SHARED, tokens * layers * shared) if shared else 0
            moved += self._values(tokens * self.config.layers, _ADAPTED) if self.rank else 0
        else:
            moved += layers * (self._spilled(rows, width, shared, kernel, parts) + self._gathered(parts))
        return Work(flops, moved)

    def decode(self, rows: int, positions: int, steps: int, shared: int = 0) -> Work:
        """Reading so many more tokens of every row, behind a cache of so many positions, and drawing after each."""
        (q, kv), layers, keys = self.heads, self.config.layers, positions + shared
        flops = self._products(rows, layers * (self.layer + self.adapter)) + 4.0 * q * layers * rows * keys / self.split
        weights = self._weights(layers * self.layer)
        once = self._beside(layers)
        if self.platform == "tpu" and self.stored == WIDE:  # products are of bfloat16
            weights, once = weights / 2, once + 1.5 * weights
        moved = weights + 2.0 * kv * self.size * layers * (rows * positions + shared) / self.split
        if self.platform == "cpu":
            tokens = rows * layers
            moved += self._values(tokens, _DECODED, tokens * positions)
            moved += self._values(tokens, _SHARED, tokens * shared) if shared else 0
            moved += self._values(tokens, _ADAPTED) if self.rank else 0
        else:
            moved += layers * self._spilled(rows, 1, keys, kernel=False)
        return Work(flops, moved).plus(self.unembed(rows, _DRAWN)).times(steps).plus(Work(0.0, once))

    def unembed(self, positions: int, passes: int = _ASKED) -> Work:
        """Logits of so many positions, which so many passes read or write."""
        moved = self.vocabulary * self.stored / self.split + self._logits(positions, passes)
        return Work(self._products(positions, self.vocabulary), moved)

    def train(self, rows: int, width: int, frozen: bool = False, remat: bool = False, parts: int = 1) -> Work:
        """Forward and backward of rows of `width` tokens, without logits; `frozen`: of the adapters alone.

        With `remat` every layer is computed again in between. `parts` as for `read`.
        """
        tokens, layers = rows * width, self.config.layers
        matrices, adapters = layers * self.layer, layers * self.adapter
        attention = self._attention(rows, width, layers)
        # A product has two in its gradient: by the weights, and by what goes in, which below an adapter are not wanted
        # of any and of the first.
        flops = self._products(tokens, 2 * matrices - self.inputs if frozen else 3 * matrices)
        # Of the two products of attention the kernel's gradient takes three and four.
        flops += self._products(tokens, 3 * adapters) + attention * (4.5 if self._on_kernel(width) else 3)
        gradients = 0 if frozen else WIDE * matrices / self.split
        stored = self.stored if self.platform == "cpu" or self.split == 1 else self.size  # weights as they are gathered
        moved = 2.0 * stored * matrices / self.split + self._beside(layers) + gradients + self._looked_up(tokens)
        if self.platform == "cpu":
            moved += self._rows(rows, width, layers, _FORWARD) + self._rows(rows, width, layers, _BACKWARD)
            moved += 3 * self._values(tokens * layers, _ADAPTED) if self.rank else 0
        else:
            moved += layers * (self._saved(rows, width) if self.split == 1 else self._learnt(rows, width, parts, remat))
            moved += 2 * self._values(tokens * layers, _ADAPTED) if self.rank else 0
        if remat:
            down = layers * self.config.hidden_size * self.config.intermediate_size  # whose output no gradient needs
            flops += self._products(tokens, matrices + adapters - down) + attention
            moved += self.read(rows, width).bytes
        return Work(flops, moved)

    def learn(self, positions: int, times: int, frozen: bool = False) -> Work:
        """Logits of so many positions, and their gradients, so many times."""
        # In several blocks the gradients compute logits again; those of a single one they share.
        flops = self._products(positions, self.vocabulary) * ((4 if times > 1 else 3) - frozen)
        added = 0 if frozen else _ADDED[self.platform] * WIDE
        moved = self.vocabulary * (3 * self.stored + added) / self.split + self._logits(positions, _LEARNT)
        return Work(flops, moved).times(times)

    def copied(self, rows: int, width: int, parts: int = 1) -> float:
        """Bytes of putting the keys and values of rows, split into so many parts, into a cache."""
        size = 2.0 * self.heads[1] * self.size * self.config.layers * rows * width / self.split
        gathered = spilled([Value(size, _GATHERED, 0, 0)], [self.room])
        return size * _COPIED[self.platform] + gathered * (self.platform == "tpu" and parts > 1)

    def trained(self, frozen: bool, headed: bool) -> int:
        """How many weights are trained; `headed`: with an unembedding of its own, if the decoder has one."""
        if frozen:
            return self.config.layers * self.adapter
        return parameters(self.config) - (not headed and not self.config.tie_embeddings) * self.vocabulary

    def orthogonalised(self) -> Work:
        """Muon's five steps of Newton and Schulz on every matrix of the layers, each X of [m, n], m at most n, whole.

        A step makes A = X Xᵀ, B = b A + c A A and a X + B X (optax.contrib.muon).
        """
        (q, kv), d, f = self.heads, self.config.hidden_size, self.config.intermediate_size
        matrices = [(d, q), (d, kv), (d, kv), (d, q), *[(d, f)] * (2 + self.config.gated)]
        flops, moved, (wide, square) = 0.0, 0.0, _TURNED[self.platform]
        for m, n in map(sorted, matrices):
            flops += 5 * (4.0 * m * m * n + 2.0 * m**3)
            moved += 5 * WIDE * (wide * m * n + square * m * m)
        return Work(flops, moved).times(self.config.layers)

    def update(self, weights: float, summed: bool, shards: int = 1) -> float:
        """Bytes of an update of trained weights by AdamW.

        Args:
          summed: gradients are summed over several devices.
          shards: over how many devices what is trained is split, from which forward and backward gather it.
        """
        gathered = 3 + 3 / shards if shards > 1 else 2 * summed
        return WIDE * weights / self.split * (_UPDATED[self.platform] / shards + gathered)

    def _looked_up(self, tokens: int) -> float:
        """Bytes of the embeddings of tokens: of their rows, or of the table where a chip has room for it."""
        row = self.config.hidden_size * self.stored
        table = self.config.vocab_size * row / self.split
        return table if self.platform == "tpu" and table < self.room else 2.0 * tokens * row

    # -- what goes on within a layer

    def _products(self, rows: float, weights: float) -> float:
        """FLOPs of so many rows and matrices of so many weights."""
        return 2.0 * rows * weights / self.split

    def _weights(self, weights: float) -> float:
        """Bytes of reading weights."""
        return weights * self.stored / self.split

    def _beside(self, layers: int) -> float:
        """Bytes of laying those of queries, keys and values side by side, as is done where heads are not split."""
        return layers * self.inputs * self.stored * _BESIDE[self.platform] if self.split == 1 else 0.0

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

    def _logits(self, positions: int, passes: int) -> float:
        """Bytes of so many passes over logits; a TPU makes half as many, and none over what its chip has room for."""
        size = positions * self.config.vocab_size * WIDE / self.split
        if self.platform == "cpu":
            return size * passes
        return spilled([Value(size, passes / 2, 0, 0)], [self.room - self.vocabulary * self.stored / self.split])

    def _rows(self, rows: int, width: int, layers: int, handed: _Handed, kernel: bool = True) -> float:
        """Bytes of what so many layers hand over while rows attend to themselves."""
        cut = [
            list(attention_blocks.plain(width, self.config.window(each) if kernel else None)) for each in range(layers)
        ]
        seen = rows * sum(end - first for layer in cut for _, end, first in layer)
        pieces = rows * width * sum(len(layer) > 1 for layer in cut)
        return self._values(rows * width * layers, handed, rows * self._pairs(width, layers, kernel), seen, pieces)

    def _values(self, tokens: float, handed: _Handed, scores: float = 0, seen: float = 0, cut: float = 0) -> float:
        """Bytes of what is handed over for so many tokens, pairs of a query and a key, keys seen, and queries cut."""
        (q, kv), c = self.heads, self.config
        split = tokens * (handed.queries * q + handed.keys * kv + handed.inner * c.intermediate_size)
        split += seen * handed.seen * kv + cut * handed.cut * q
        hidden = handed.hidden + (handed.split if self.split > 1 else 0)
        numbers = tokens * hidden * c.hidden_size + split / self.split
        return numbers * self.size + scores * c.heads / self.split * handed.scores * WIDE

    def _spilled(
        self, rows: int, width: int, shared: int = 0, kernel: bool = True, parts: int = 1, free: float = 1.0
    ) -> float:
        """Bytes that a layer moves on a TPU since its chip has no room for them while it reads rows.

        Args:
          free: the share of its room that it has.
        """
        (q, kv), c = self.heads, self.config
        token = self.size * rows * width
        hidden, inner, heads = token * c.hidden_size, token * c.intermediate_size / self.split, token / self.split
        # A product with a matrix that is gathered meanwhile adds to what it makes, two parts at a time, and reads what
        # goes in as often if that is not fetched as a whole.
        times = 2 + (parts if parts > 1 else 0)
        again = parts / 2 if parts > 1 and hidden > max(self.room, FETCHED) else 1
        block = max(end - start for start, end, _ in attention_blocks.plain(width))
        score = WIDE * rows * c.heads / self.split  # of a query and a key
        attending = [
            Value(heads * (q + 2 * kv), times, MAKE, TURN),
            Value(heads * (q + 2 * kv), 4, TURN, ATTEND),
            Value(heads * q, 3, ATTEND, OUT),
        ]
        if not self._on_kernel(width, kernel):  # a block of queries at a time
            pairs = self._pairs(width, c.layers, kernel) / c.layers
            attending.append(Value(score * block * width, 3 * pairs / (block * width), ATTEND, ATTEND))
        if shared:
            once = width if self._on_kernel(width, kernel) else block
            attending.append(Value(score * once * shared, 3 * width / once, ATTEND, ATTEND))
            attending.append(Value(2 * heads * q, 3, ATTEND, OUT))
        feeding = [Value(inner, times, UP, DOWN), *([Value(inner, times, GATE, UP)] if c.gated else [])]
        if self.split == 1:  # what products make is added to as it is made; of either half all stays, or nothing
            attending += [Value(hidden, 3, MAKE, OUT), Value(self.inputs * self.stored, _BESIDE["tpu"], MAKE, MAKE)]
            values = [together(attending), together([*feeding, Value(hidden, 4, GATE, DOWN)])]
            passed = 0.0
        else:  # queries, keys and values are made one by one; a part of a sum, and the sum, are added in another pass
            values = [*attending, *feeding]
            values += [Value(hidden, 2 + 3 * again, MAKE, GATE), Value(hidden, 2 + 2 * again, GATE, MAKE)]
            values += [Value(hidden, 2, OUT, SUM), Value(hidden, 2, SUM, GATE), Value(hidden, 2, DOWN, SUMMED)]
            passed = 2.0 * hidden  # the sum with which the next layer begins goes through memory
        # Beside them lies the matrix that is multiplied with, and the next one, which is fetched meanwhile.
        matrix = self.size * c.hidden_size / self.split
        matrices = {MAKE: matrix * (q + 2 * kv), OUT: matrix * q}
        matrices |= dict.fromkeys((GATE, UP, DOWN), matrix * c.intermediate_size)
        room, fetched = [self.room * free] * MOMENTS, matrices[MAKE]
        for moment in reversed(range(MOMENTS)):
            room[moment] -= fetched + matrices.get(moment, 0.0)
            fetched = matrices.get(moment, fetched)
        return spilled(values, room) + passed

    def _gathered(self, parts: int) -> float:
        """Bytes that a layer's weights move on a TPU on their way from other chips, before they are multiplied with."""
        if self.split == 1 or parts == 1:
            return 0.0
        part = self.size * self.layer / self.split / parts
        return spilled([Value(part, 4 * parts, 0, 0)], [self.room])

    def _learnt(self, rows: int, width: int, parts: int, remat: bool) -> float:
        """Bytes that a layer of split heads moves on a TPU since its chip has no room for them while it learns.

        Backwards every product is made twice, while what it is a gradient of takes half of the room.
        """
        ways = self._spilled(rows, width, parts=parts) + 2 * self._spilled(rows, width, parts=parts, free=0.5)
        kept = 3.0 * self.size * rows * width * self.config.hidden_size if remat else self._saved(rows, width)
        return ways + kept + 3 * self._gathered(parts)

    def _saved(self, rows: int, width: int) -> float:
        """Bytes of what a layer keeps on a TPU for its gradient, written and read once."""
        (q, kv), c = self.heads, self.config
        numbers = 2 * c.hidden_size + (2 * q + 2 * kv + (1 + c.gated) * c.intermediate_size) / self.split
        return 2.0 * self.size * rows * width * numbers
