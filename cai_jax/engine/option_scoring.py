"""Log-probabilities of options after prompts. No decoding; a beginning that prompts share is read once.

Dimensions: R rows at once, T padded tokens, M options, E tokens after every row, Q questions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from cai_jax.engine import batch_shapes, buckets, long_rope
from cai_jax.engine.option_tail import Tail
from cai_jax.engine.prefix_cache import length_of, make_prefix, read_prefix
from cai_jax.engine.prefix_plan import PrefixPlan, plan_prefixes
from cai_jax.engine.prefix_tree import PrefixNode
from cai_jax.models import decoder
from cai_jax.models.attention import KV, Prefix
from cai_jax.models.config import Config
from cai_jax.parallel import target
from cai_jax.parallel.mesh import HEADS, ROWS
from cai_jax.parallel.placement import constrain, on_mesh_of, shards_of


def score_options(
    params: decoder.Params,
    config: Config,
    rows: Sequence[Sequence[int]],
    options: Sequence[Sequence[int]],
    *,
    prefix: Prefix | None = None,
    tokens: int | None = None,
) -> np.ndarray:
    """Compute log p(option | row), summed over the option's tokens: nats, float32 `[len(rows), len(options)]`.

    Rows are read as trees: a conversation, or a principle after it, is computed once for all the rows that continue it,
    where that is worth it (engine/prefix_plan.py). The options follow each row as branches that see the row but not
    each other. The same arguments give the same bits; together with other rows a row's sums may differ in their last
    bits.

    The multiple-choice probabilities of AI feedback (arXiv 2212.08073 §4.1) are the softmax of a row of the result.

    Args:
      params, config: of the decoder.
      rows: token ids of each prompt.
      options: token ids of each option.
      prefix: text that precedes all rows (`prefix_cache.make_prefix`).
      tokens: about how many tokens are read at once; by default a number that suits the machine.

    Raises:
      ValueError: an empty row or option, or a row beyond the model's context.
    """
    return _scores(params, config, rows, options, [options] * len(rows), prefix, tokens)


def score_own_options(
    params: decoder.Params,
    config: Config,
    rows: Sequence[Sequence[int]],
    options: Sequence[Sequence[Sequence[int]]],
    *,
    prefix: Prefix | None = None,
    tokens: int | None = None,
) -> np.ndarray:
    """As `score_options`, with options of its own for each row: float32 `[len(rows), M]`, -inf where it has fewer.

    Rows that are equal are read once, with the options of all of them.
    """
    own: dict[tuple[int, ...], dict[tuple[int, ...], int]] = {}
    for row, each in zip(rows, options, strict=True):
        places = own.setdefault(tuple(row), {})
        for option in each:
            places.setdefault(tuple(option), len(places))
    found = _scores(params, config, list(own), None, [list(places) for places in own.values()], prefix, tokens)
    scores = dict(zip(own, found, strict=True))
    result = np.full((len(rows), max(map(len, options), default=0)), -np.inf, np.float32)
    for number, (row, each) in enumerate(zip(rows, options, strict=True)):
        places = own[tuple(row)]
        result[number, : len(each)] = scores[tuple(row)][[places[tuple(option)] for option in each]]
    return result


def _scores(
    params: decoder.Params,
    config: Config,
    rows: Sequence[Sequence[int]],
    shared: Sequence[Sequence[int]] | None,
    options: Sequence[Sequence[Sequence[int]]],
    prefix: Prefix | None,
    tokens: int | None,
) -> np.ndarray:
    """Scores `[N, M]` of the options of every row; `shared` where these are the same for all."""
    if not all(each and all(each) for each in ([shared] if shared is not None else options)):
        raise ValueError("every option needs at least one token")
    most = max(map(len, options), default=0) if shared is None else len(shared)
    longest = [max(map(len, each)) for each in options]
    _check_rows(config, rows, prefix, longest)
    result = np.zeros((len(rows), most), np.float32)
    tails = [Tail.of(each) for each in options] if shared is None else [Tail.of(shared)] * len(rows)
    at_once = tokens or batch_shapes.tokens_at_once(target.platform()) * shards_of(params)
    # An option's last token is predicted, and not read.
    lengths = [length_of(prefix) + len(row) + size - 1 for row, size in zip(rows, longest, strict=True)]
    for long, (each, numbers) in enumerate(long_rope.split_by_length(config, lengths)):
        if not numbers:
            continue
        some, behind = [rows[number] for number in numbers], [tails[number] for number in numbers]
        plan = plan_prefixes(each, some, [tail.tokens.size for tail in behind])
        scorer = _Scorer(params, each, some, behind, None if shared is not None else most, at_once, plan)
        with on_mesh_of(params):
            for node, scores in scorer.run(long_rope.seen_prefix(prefix, bool(long))):
                result[[numbers[row] for row in node.rows]] = scores
    return result


@dataclass(frozen=True)
class _Level:
    """Nodes of one batch that were read: keys and values `[R, K, T, H]` per layer, and lengths int32 `[R]`."""

    layers: tuple[KV, ...]
    lengths: np.ndarray


# A node with, for every level above it, its ancestor's row there.
_Placed = tuple[PrefixNode, tuple[int, ...]]
# Of every level above: keys and values by layer, and lengths `[R]`.
_Levels = Sequence[tuple[tuple[KV, ...], Array | np.ndarray]]
# Nodes of one batch, their tokens `[R, T]`, lengths `[R]`, and the levels that precede them: arguments of `_chain`.
_Batch = tuple[list[_Placed], np.ndarray, np.ndarray, tuple[_Levels, np.ndarray, Prefix | None]]


@dataclass(frozen=True)
class _Scorer:
    """A depth-first walk over the trees, a batch of nodes at a time, so that few nodes' keys and values are held.

    Attributes:
      tails: of each row; one for all where `most` is None, else `most` is the number of options of the row with most.
    """

    params: decoder.Params
    config: Config
    rows: Sequence[Sequence[int]]
    tails: Sequence[Tail[np.ndarray]]
    most: int | None
    at_once: int
    plan: PrefixPlan

    def run(self, prefix: Prefix | None) -> Iterator[tuple[PrefixNode, np.ndarray]]:
        """Yield leaves with their scores `[M]`."""
        nodes, depth = self.plan.nodes, 0
        while len(nodes) == 1 and nodes[0].children:
            (root,) = nodes
            prefix = make_prefix(self.params, self.config, self._ids(root), prefix)
            nodes, depth = root.children, depth + 1
        yield from self._below([(node, ()) for node in nodes], (), prefix, depth)

    def _below(
        self, placed: list[_Placed], levels: tuple[_Level, ...], prefix: Prefix | None, depth: int
    ) -> Iterator[tuple[PrefixNode, np.ndarray]]:
        leaves = [each for each in placed if not each[0].children]
        for some, table, lengths, chain in self._batches(leaves, levels, prefix, depth):
            tail = self._tail([node for node, _ in some], len(table))
            scores = np.asarray(_score(self.params, self.config, table, lengths, tail, *chain))
            yield from ((node, scores[row]) for row, (node, _) in enumerate(some))
        inner = [each for each in placed if each[0].children]
        for some, table, lengths, chain in self._batches(inner, levels, prefix, depth):
            level = _Level(_read(self.params, self.config, table, *chain), lengths)
            children = [(child, (*path, row)) for row, (node, path) in enumerate(some) for child in node.children]
            yield from self._below(children, (*levels, level), prefix, depth + 1)

    def _batches(
        self, placed: list[_Placed], levels: tuple[_Level, ...], prefix: Prefix | None, depth: int
    ) -> Iterator[_Batch]:
        """Yield nodes in batches: the nodes, their tokens `[R, T]`, lengths `[R]`, and the levels that precede them."""
        by_width: dict[int, list[_Placed]] = {}
        for node, path in placed:
            width = self.plan.width(node, depth, node.size + (0 if node.children else self._tail_of(node).tokens.size))
            by_width.setdefault(width, []).append((node, path))
        for width, group in sorted(by_width.items()):
            start, asked = (
                0,
                max((self._tail_of(node).sources.size for node, _ in group if not node.children), default=0),
            )
            while start < len(group):
                height = self._height(len(group) - start, width, asked if self.most else 0)
                some = group[start : start + height]
                start += height
                table = buckets.pad([self._ids(node) for node, _ in some], height, width)
                # A row of padding counts as one token long, so that it has a last one.
                lengths = np.ones(height, np.int32)
                lengths[: len(some)] = [node.size for node, _ in some]
                paths = np.zeros((len(levels), height), np.int32)
                paths[:, : len(some)] = np.array([path for _, path in some], np.int32).reshape(len(some), -1).T
                yield some, table, lengths, (tuple((each.layers, each.lengths) for each in levels), paths, prefix)

    def _tail_of(self, node: PrefixNode) -> Tail[np.ndarray]:
        return self.tails[node.rows[0]]

    def _tail(self, leaves: Sequence[PrefixNode], height: int) -> Tail[np.ndarray]:
        """The tail of a batch of leaves: that of all rows, or one for each, padded to a size of few."""
        tails = [self._tail_of(node) for node in leaves]
        if self.most is None:
            return tails[0]
        read, asked = (buckets.next_power_of_two(max(each[n].size for each in tails)) for n in (0, 3))
        return Tail.stack(tails, height, (read, asked, self.most))

    def _height(self, left: int, width: int, asked: int) -> int:
        """Rows of the next batch, for every part of the mesh a power of two, where of each so many logits are `asked`.

        A quarter of that for the last few, unless it is not worth compiling.
        """
        parts = shards_of(self.params)
        full = batch_shapes.rows_at_once(parts, self.at_once, max(width, batch_shapes.ASKED * asked))
        quarter = parts * max(1, full // parts // 4)
        few = left <= 2 * quarter and quarter * width >= batch_shapes.least_tokens(self.config)
        return quarter if few else full

    def _ids(self, node: PrefixNode) -> Sequence[int]:
        return self.rows[node.rows[0]][node.start : node.stop]


def _chain(levels: _Levels, paths: Array, prefix: Prefix | None) -> Prefix | None:
    """Return the prefix of each row of a batch: its ancestors, after the prefix of all."""
    for (layers, lengths), path in zip(levels, paths, strict=True):
        chosen = jax.tree.map(lambda leaf, path=path: constrain(leaf[path], ROWS, HEADS), layers)
        prefix = Prefix(chosen, jnp.asarray(lengths)[path], prefix)
    return prefix


@partial(jax.jit, static_argnums=1)
def _read(
    params: decoder.Params, config: Config, table: Array, levels: _Levels, paths: Array, prefix: Prefix | None
) -> tuple[KV, ...]:
    return read_prefix(params, config, table, _chain(levels, paths, prefix))


@partial(jax.jit, static_argnums=1)
def _score(
    params: decoder.Params,
    config: Config,
    table: Array,
    lengths: Array,
    tail: Tail[Array],
    levels: _Levels,
    paths: Array,
    prefix: Prefix | None,
) -> Array:
    """Compute scores float32 `[R, M]` of all options after the rows of `lengths` `[R]` in table `[R, T]`.

    The tail is that of all rows, or has one of each.
    """

    def behind(row: Array, length: Array, values: Array) -> Array:
        return row.at[length + jnp.arange(values.size)].set(values)  # what is beyond the table is padding, and dropped

    own = tail.tokens.ndim == 2
    columns = jnp.broadcast_to(jnp.arange(table.shape[1]), table.shape)
    table = jax.vmap(behind, (0, 0, 0 if own else None))(table, lengths, tail.tokens)
    groups = jax.vmap(behind, (0, 0, 0 if own else None))(jnp.zeros_like(table), lengths, tail.groups)
    positions = jax.vmap(behind)(columns, lengths, lengths[:, None] + tail.offsets)
    hidden, _ = decoder.prefill(
        params,
        config,
        constrain(table, ROWS),
        positions=positions,
        branches=groups,
        prefix=_chain(levels, paths, prefix),
        dtype=params["embed"].dtype,
    )
    asked = jnp.take_along_axis(hidden, (lengths[:, None] + tail.sources)[..., None], axis=1)
    logits = decoder.unembed(params, config, asked)
    targets = tail.targets if own else tail.targets[None]
    logprobs = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0] - jax.nn.logsumexp(logits, axis=-1)
    return constrain(jnp.einsum("rq,rqm->rm", logprobs, tail.member) if own else logprobs @ tail.member)


def _check_rows(config: Config, rows: Sequence[Sequence[int]], prefix: Prefix | None, options: Sequence[int]) -> None:
    shared = length_of(prefix)
    for index, (row, extra) in enumerate(zip(rows, options, strict=True)):
        if not row:
            raise ValueError(f"row {index} is empty; it needs at least one token")
        if shared + len(row) + extra > config.max_position:
            raise ValueError(
                f"row {index} needs {shared + len(row) + extra} tokens (prefix {shared}, row {len(row)}, "
                f"option {extra}), but the model's context is {config.max_position}"
            )
