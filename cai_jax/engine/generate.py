"""The host loop that keeps the slots busy."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import jax
import numpy as np

from cai_jax.engine import buckets, steps, worth
from cai_jax.engine.prefix import length_of
from cai_jax.engine.settings import Sampling
from cai_jax.models import decoder
from cai_jax.models.attention import Prefix
from cai_jax.models.config import Config
from cai_jax.parallel.placing import on_mesh_of

Decode = Callable[[Sequence[int]], str]


@dataclass(frozen=True, eq=False)
class Request:
    """A prompt's token ids (at least one) and the key of its draws, uint32 `[2]` (engine/random.py)."""

    ids: Sequence[int]
    key: np.ndarray


@dataclass(frozen=True)
class Reply:
    """What was generated for the request at `index`.

    ids includes the stop id that ended it, but nothing of a stop text. logprobs are those of the distribution
    sampled from, temperature and top-p applied (at temperature 0, of the model's own). ended is
    False where max_new cut the reply off.
    """

    index: int
    ids: list[int]
    logprobs: list[float]
    ended: bool


def generate(
    params: decoder.Params,
    config: Config,
    rows: Sequence[Request],
    settings: Sampling,
    *,
    prefix: Prefix | None = None,
    decode: Decode | None = None,
) -> Iterator[Reply]:
    """Sample a reply to every row; replies come as they finish, in an order that the arguments determine.

    A row's reply depends on its ids, its key, the prefix and the settings only: slot count and padding are
    fixed, so that it does not matter which other rows are asked for together; equal ones that stand beside each
    other are read once, which may change last bits. decode turns ids into text; stop_texts need it. Computes in the
    dtype of the parameters. Raises ValueError for a row that is empty, longer than `longest`, or too long for the
    model's context.
    """
    if settings.stop_texts and decode is None:
        raise ValueError("stop_texts need decode, the function that turns ids into text")
    _check_rows(config, rows, settings, prefix)
    return _Slots(params, config, settings, prefix, decode).run(rows) if rows else iter(())


def _check_rows(config: Config, rows: Sequence[Request], settings: Sampling, prefix: Prefix | None) -> None:
    shared = length_of(prefix)
    room = config.max_position - shared - settings.max_new
    for index, row in enumerate(rows):
        length = len(row.ids)
        if length == 0:
            raise ValueError(f"row {index} is empty; a prompt needs at least one token")
        if length > room:
            raise ValueError(
                f"row {index} has {length} tokens, but the model's context of {config.max_position} leaves "
                f"{room} beside {shared} of the prefix and {settings.max_new} new ones"
            )
        if settings.longest is not None and length > settings.longest:
            raise ValueError(f"row {index} has {length} tokens, more than longest={settings.longest}")


class _Slots:
    """The device's state, and which request sits in which slot."""

    def __init__(
        self,
        params: decoder.Params,
        config: Config,
        settings: Sampling,
        prefix: Prefix | None,
        decode: Decode | None,
    ) -> None:
        self.model = (params, config)
        self.settings = settings
        self.prefix = prefix
        self.decode = decode
        self.knobs = settings.knobs()
        self.held: dict[int, int] = {}  # slot -> index of its request
        self.looked = np.zeros(settings.slots, int)  # tokens of a slot that were searched for stop texts

    def run(self, rows: Sequence[Request]) -> Iterator[Reply]:
        params, config = self.model
        settings = self.settings
        longest = settings.longest or max(len(row.ids) for row in rows)
        with on_mesh_of(params):
            dtype = str(params["embed"].dtype)
            state = steps.empty(config, settings.slots, settings.positions(longest), settings.new, dtype)
        least = min(longest, math.ceil(worth.least_tokens(config) / self.settings.batch))
        waiting = deque(buckets.batches([len(row.ids) for row in rows], self.settings.batch, least=least))
        while waiting or self.held:
            state = self._refill(state, rows, waiting)
            cancelled = np.array([slot not in self.held for slot in range(settings.slots)])
            # So that slots stay idle no longer than until the next batch finds room.
            least = np.int32(settings.slots - len(waiting[0][1]) if waiting else 0)
            with on_mesh_of(params):
                state, seen = steps.decode(
                    *self.model, settings.chunk, state, cancelled, least, self.knobs, self.prefix
                )
            tokens, logprobs, counts, active = jax.device_get(seen)
            for slot, index in list(self.held.items()):
                count = int(counts[slot])
                reply = self._reply(slot, index, tokens[slot, :count], logprobs[slot, :count], active[slot])
                if reply is not None:
                    del self.held[slot]
                    yield reply

    def _refill(
        self, state: steps.State, rows: Sequence[Request], waiting: deque[tuple[int, list[int]]]
    ) -> steps.State:
        """Read waiting batches while all rows of the next one find a slot."""
        total = self.settings.slots
        while waiting and len(waiting[0][1]) <= total - len(self.held):
            width, indices = waiting.popleft()
            free = (slot for slot in range(total) if slot not in self.held)
            taken = dict(zip(free, indices, strict=False))
            self.held |= taken
            self.looked[list(taken)] = 0
            texts = self._texts([rows[index] for index in indices], list(taken), width)
            with on_mesh_of(self.model[0]):
                state = steps.fill(*self.model, state, texts, self.prefix)
        return state

    def _texts(self, chosen: Sequence[Request], slots: Sequence[int], width: int) -> steps.Texts:
        """Requests as arrays; several samples of one prompt share its row."""
        places = {ids: place for place, ids in enumerate(dict.fromkeys(tuple(row.ids) for row in chosen))}
        height = min(self.settings.batch, 1 << (len(places) - 1).bit_length())
        if len(places) == len(chosen) or height * width < worth.least_tokens(self.model[1]):
            height = self.settings.batch
        lengths = np.ones(height, np.int32)
        lengths[: len(places)] = [len(ids) for ids in places]
        keys = np.zeros((self.settings.batch, 2), np.uint32)
        keys[: len(chosen)] = [row.key for row in chosen]
        into = np.full(self.settings.batch, self.settings.slots, np.int32)
        into[: len(chosen)] = slots
        sources = np.zeros(self.settings.batch, np.int32)
        sources[: len(chosen)] = [places[tuple(row.ids)] for row in chosen]
        return steps.Texts(buckets.pad(list(places), height, width), lengths, sources, keys, into)

    def _reply(self, slot: int, index: int, ids: np.ndarray, logprobs: np.ndarray, active: bool) -> Reply | None:
        """The reply in a slot if it is complete."""
        found = ids.tolist()
        kept = _before_stop(found, self.settings.stop_texts, self.decode) if self._may_stop(slot, found) else None
        if kept is None and active:
            return None
        ended = kept is not None or found[-1] in self.settings.stop_ids
        kept = len(found) if kept is None else kept
        return Reply(index, found[:kept], logprobs[:kept].tolist(), ended)

    def _may_stop(self, slot: int, ids: list[int]) -> bool:
        """Whether a stop text may have come since the last look; what was read then is not decoded again."""
        stops = self.settings.stop_texts
        if not stops:
            return False
        # One that began before reaches back by no more tokens than it has characters.
        fresh = ids[max(0, self.looked[slot] - max(map(len, stops))) :]
        self.looked[slot] = len(ids)
        text = self.decode(fresh)
        return any(stop in text for stop in stops)


def _before_stop(ids: list[int], stops: Sequence[str], decode: Decode) -> int | None:
    """How many of `ids` stand wholly before the first stop text; None if there is none."""
    text = decode(ids)
    found = [at for at in (text.find(stop) for stop in stops) if at >= 0]
    if not found:
        return None
    return next(kept for kept in range(len(ids), -1, -1) if len(decode(ids[:kept])) <= min(found))
