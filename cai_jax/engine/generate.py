"""Generation: the host loop that fills slots with prompts and decodes them."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import jax
import numpy as np

from cai_jax.engine import batch_shapes, buckets, decode_steps, long_rope, stop_texts
from cai_jax.engine.generation_config import GenerationConfig
from cai_jax.engine.prefix_cache import length_of
from cai_jax.engine.stop_texts import Decode
from cai_jax.models import decoder
from cai_jax.models.attention import Prefix
from cai_jax.models.config import Config
from cai_jax.parallel.placement import on_mesh_of


@dataclass(frozen=True, eq=False)
class Request:
    """A prompt to be continued.

    ids are its tokens, at least one; key, uint32 `[2]`, is of its draws (engine/rng.py). Where it continues a reply
    begun before, logprobs are those of the tokens drawn then, which are the last of ids.
    """

    ids: Sequence[int]
    key: np.ndarray
    logprobs: Sequence[float] = ()

    @property
    def drawn(self) -> list[int]:
        """The tokens drawn before."""
        return list(self.ids[len(self.ids) - len(self.logprobs) :])


@dataclass(frozen=True)
class Reply:
    """The text generated for the request at `index`.

    Attributes:
      ids: the tokens drawn up to the stop id that ended it, that one included, or up to the last that contributes to
        the text before a stop text: a token in which a stop text begins after other characters is among them.
      logprobs: of the distribution sampled from (nats), temperature and top-p applied; at temperature 0, of the model's
        own.
      ended: False where max_new cut the reply off.
      text: of ids, without anything of a stop text ("" without decode).
    """

    index: int
    ids: list[int]
    logprobs: list[float]
    ended: bool
    text: str


def generate(
    params: decoder.Params,
    config: Config,
    rows: Sequence[Request],
    settings: GenerationConfig,
    *,
    prefix: Prefix | None = None,
    decode: Decode | None = None,
) -> Iterator[Reply]:
    """Sample a reply to every row; replies are yielded as they finish, in an order that the arguments determine.

    A row's reply depends on its ids, its key, the prefix and the settings only: slot count and padding are fixed, so
    that the other rows of the call do not matter; equal neighbouring rows are read once, which may change last bits.
    Computes in the dtype of the parameters.

    Args:
      params, config: of the decoder.
      rows: the requests.
      settings: lengths, sampling and stops.
      prefix: text that precedes all rows (`prefix_cache.make_prefix`).
      decode: turns ids into text; stop_texts need it.

    Raises:
      ValueError: a row is empty, longer than `longest`, or too long for the model's context; or stop_texts come without
        decode.
    """
    if settings.stop_texts and decode is None:
        raise ValueError("stop_texts need decode, the function that turns ids into text")
    _check_rows(config, rows, settings, prefix)
    return _by_length(params, config, rows, settings, prefix, decode)


def _by_length(
    params: decoder.Params,
    config: Config,
    rows: Sequence[Request],
    settings: GenerationConfig,
    prefix: Prefix | None,
    decode: Decode | None,
) -> Iterator[Reply]:
    """Yield replies to texts that are read as short ones, then to those read as long ones (engine/long_rope.py).

    A reply that reaches the border between the two is begun among the former; the text so far is then read again.
    """
    most, shared = long_rope.original_context(config), length_of(prefix)
    if most is None:
        yield from _Slots(params, config, settings, prefix, decode).run(rows)
        return
    (short, near), (long, far) = long_rope.split_by_length(config, [shared + len(row.ids) for row in rows])
    going = {number: rows[number] for number in far}
    # The last token of the short kind is drawn after a text that reaches the border.
    caps = [most + 1 - shared - len(rows[number].ids) for number in near]
    slots = _Slots(params, short, settings, long_rope.seen_prefix(prefix, False), decode, caps)
    for reply in slots.run([rows[number] for number in near]):
        number = near[reply.index]
        if reply.ended or len(reply.ids) == settings.max_new:
            yield replace(reply, index=number)
        else:
            ids = [*rows[number].ids, *reply.ids]
            going[number] = replace(rows[number], ids=ids, logprobs=reply.logprobs)
    numbers = sorted(going)
    if settings.longest is not None:
        settings = replace(settings, longest=max(settings.longest, most + 1 - shared))
    slots = _Slots(params, long, settings, long_rope.seen_prefix(prefix, True), decode)
    for reply in slots.run([going[number] for number in numbers]):
        yield replace(reply, index=numbers[reply.index])


def _check_rows(config: Config, rows: Sequence[Request], settings: GenerationConfig, prefix: Prefix | None) -> None:
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
    """The device's state, and the request in each slot."""

    def __init__(
        self,
        params: decoder.Params,
        config: Config,
        settings: GenerationConfig,
        prefix: Prefix | None,
        decode: Decode | None,
        caps: Sequence[int] | None = None,
    ) -> None:
        self.model = (params, config)
        self.settings = settings
        self.prefix = prefix
        self.decode = decode
        self.caps = caps  # most tokens to draw for each request; None: as the settings say
        self.knobs = settings.knobs()
        self.held: dict[int, int] = {}  # slot -> index of its request
        self.looked = np.zeros(settings.slots, int)  # tokens of a slot that were searched for stop texts

    def run(self, rows: Sequence[Request]) -> Iterator[Reply]:
        if not rows:
            return
        params, config = self.model
        settings = self.settings
        longest = settings.longest or max(len(row.ids) for row in rows)
        with on_mesh_of(params):
            dtype = str(params["embed"].dtype)
            state = decode_steps.empty(config, settings.slots, settings.positions(longest), settings.new, dtype)
        narrowest = min(longest, math.ceil(batch_shapes.least_tokens(config) / self.settings.batch))
        waiting = deque(buckets.batches([len(row.ids) for row in rows], self.settings.batch, least=narrowest))
        while waiting or self.held:
            state = self._refill(state, rows, waiting)
            cancelled = np.array([slot not in self.held for slot in range(settings.slots)])
            # So that slots stay idle no longer than until the next batch finds room.
            least = np.int32(settings.slots - len(waiting[0][1]) if waiting else 0)
            with on_mesh_of(params):
                state, seen = decode_steps.decode(
                    *self.model, settings.chunk, state, cancelled, least, self.knobs, self.prefix
                )
            tokens, logprobs, counts, active = jax.device_get(seen)
            for slot, index in list(self.held.items()):
                fresh, begun = slice(len(rows[index].logprobs), int(counts[slot])), rows[index]
                ids = [*begun.drawn, *tokens[slot, fresh].tolist()]
                told = [*begun.logprobs, *logprobs[slot, fresh].tolist()]
                reply = self._reply(slot, index, ids, told, active[slot])
                if reply is not None:
                    del self.held[slot]
                    yield reply

    def _refill(
        self, state: decode_steps.State, rows: Sequence[Request], waiting: deque[tuple[int, list[int]]]
    ) -> decode_steps.State:
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
                state = decode_steps.fill(*self.model, state, texts, self.prefix)
        return state

    def _texts(self, chosen: Sequence[Request], slots: Sequence[int], width: int) -> decode_steps.Texts[np.ndarray]:
        """Requests as arrays; several samples of one prompt share its row."""
        places = {ids: place for place, ids in enumerate(dict.fromkeys(tuple(row.ids) for row in chosen))}
        height = min(self.settings.batch, 1 << (len(places) - 1).bit_length())
        if len(places) == len(chosen) or height * width < batch_shapes.least_tokens(self.model[1]):
            height = self.settings.batch
        lengths = np.ones(height, np.int32)
        lengths[: len(places)] = [len(ids) for ids in places]
        keys = np.zeros((self.settings.batch, 2), np.uint32)
        keys[: len(chosen)] = [row.key for row in chosen]
        into = np.full(self.settings.batch, self.settings.slots, np.int32)
        into[: len(chosen)] = slots
        counts = np.zeros(self.settings.batch, np.int32)
        counts[: len(chosen)] = [len(row.logprobs) for row in chosen]
        sources = np.zeros(self.settings.batch, np.int32)
        sources[: len(chosen)] = [places[tuple(row.ids)] for row in chosen]
        return decode_steps.Texts(buckets.pad(list(places), height, width), lengths, sources, keys, counts, into)

    def _reply(self, slot: int, index: int, ids: list[int], logprobs: list[float], active: bool) -> Reply | None:
        """The reply in a slot if it is complete, or as long as it may become; else None."""
        most, stops = self.settings.max_new if self.caps is None else self.caps[index], self.settings.stop_texts
        drawn = ids[:most]
        found = None
        if self.decode is not None and self._may_stop(slot, drawn, self.decode):
            found = stop_texts.first_stop(drawn, stops, self.decode)
        if found is None and active and len(drawn) < most:
            return None
        ended = found is not None or drawn[-1] in self.settings.stop_ids
        kept, text = found or (len(drawn), self.decode(drawn) if self.decode else "")
        return Reply(index, drawn[:kept], logprobs[:kept], ended, text)

    def _may_stop(self, slot: int, ids: list[int], decode: Decode) -> bool:
        """True if a stop text may have appeared since the last call; most of the text is not decoded again."""
        stops = self.settings.stop_texts
        if not stops:
            return False
        seen, self.looked[slot] = self.looked[slot], len(ids)
        text = stop_texts.unread_text(ids, seen, max(map(len, stops)), decode)
        return any(stop in text for stop in stops)
