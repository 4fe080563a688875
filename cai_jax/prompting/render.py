"""Rendered prompts: text in segments that remember whom it comes from.

A prompt is never one string. Template text is *trusted*; prompts, replies and critiques are data and *untrusted*.
Between two special tokens, text is tokenised as one, as a model has read it in training; special ids come from the
special tokens that a chat template writes and from nothing else, and what imitates a template's markers is escaped
(escaping.py). Where a marker could grow together over a border all the same, the two sides are tokenised apart.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple, Protocol

from cai_jax.errors import UserError


@dataclass(frozen=True)
class Segment:
    """A piece of a rendered prompt.

    Attributes:
      text: its content; "" for `end`.
      trusted: True if it comes from a template or a constitution, not from data.
      trained: True if a loss is taken on its tokens.
      end: True if it represents the end-of-text token of the model that reads it.
      truncatable: True if its beginning is cut first where the prompt is too long.
      special: True if it comes from a chat template, and special tokens in it are such; in all other text they are
        text.
      begin: True if it is the token that the tokenizer puts before every text.
      apart: True if it is tokenised separately from the text before it, if there is any in this prompt.
    """

    text: str
    trusted: bool = True
    trained: bool = False
    end: bool = False
    truncatable: bool = False
    special: bool = False
    begin: bool = False
    apart: bool = False


END = Segment("", trained=True, end=True)


class Special(NamedTuple):
    """A special token: its id, and if it absorbs the space before it and after it."""

    id: int
    lstrip: bool = False
    rstrip: bool = False


class Span(NamedTuple):
    """A token: its id, and where in the text its letters begin and end."""

    id: int
    begin: int
    end: int


class Encoder(Protocol):
    """The interface of a tokenizer that rendering needs."""

    @property
    def eos_id(self) -> int: ...

    @property
    def special_ids(self) -> frozenset[int]: ...

    def spans(self, text: str, place: str) -> list[Span]:
        """The tokens of plain text.

        `place` is "start" at the beginning of all text, "fresh" after a special token, "inner" after other text.
        """
        ...

    def parts(self, text: str) -> list[str]:
        """`text` cut at its special tokens: plain, special, plain, …"""
        ...

    def special(self, content: str) -> Special:
        """A special token."""
        ...


class Tokens(NamedTuple):
    """Token ids of each segment of a prompt, and whether adjacent segments were tokenised separately.

    An id that reaches over several segments belongs to the first that is trained; else to the first not truncatable.
    """

    of: list[list[int]]
    apart: bool


def read(tokenizer: Encoder, segments: Sequence[Segment]) -> Tokens:
    """The token ids of a rendered prompt, segment by segment."""
    found: list[list[int]] = [[] for _ in segments]
    apart = any(segment.apart for segment in segments[1:])
    for part in _parts(tokenizer, segments):
        if isinstance(part, _Run):
            owners, joined = _owned(tokenizer, part, segments)
            apart |= not joined
            for number, token in owners:
                found[number].append(token)
        else:
            found[part[0]].append(part[1])
    return Tokens(found, apart)


def encode(tokenizer: Encoder, segments: Sequence[Segment]) -> tuple[list[int], list[bool]]:
    """Token ids of a rendered prompt, and for each whether a loss is taken on it.

    Args:
      tokenizer: of the model that will read the prompt.
      segments: the prompt.

    Returns:
      `(ids, trained)`, two lists of one length; an id with any trained letter in it is trained.
    """
    found = read(tokenizer, segments).of
    trained = [segment.trained for segment, ids in zip(segments, found, strict=True) for _ in ids]
    return [number for ids in found for number in ids], trained


def text_of(segments: Sequence[Segment]) -> str:
    """The prompt as one string, for people and for provenance; without the last word of examples before it."""
    begins = bool(segments) and segments[0].apart and not segments[0].special
    return "".join(segment.text for segment in segments[begins:])


# What Unicode calls white space, as the tokenizers package does.
_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))


@dataclass
class _Run:
    """Text between two special tokens: its place, its pieces, and the number of each one's segment."""

    place: str
    texts: list[str] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)

    def strip(self, ends: slice) -> None:
        """Remove the space in front (`ends` forwards) or at the end (backwards)."""
        for at in range(len(self.texts))[ends]:
            text = self.texts[at]
            self.texts[at] = text.lstrip(_SPACE) if ends.step == 1 else text.rstrip(_SPACE)
            if self.texts[at]:
                break


def _parts(tokenizer: Encoder, segments: Sequence[Segment]) -> Iterator[_Run | tuple[int, int]]:
    """A prompt's runs of text, and between them its special tokens: number of the segment, and id."""
    run, eats = _Run("start"), False
    for number, segment in enumerate(segments):
        if segment.apart:
            yield from _ended(run, eats)
            run, eats = _Run("inner"), False
        texts = tokenizer.parts(segment.text) if segment.special or segment.begin else [segment.text]
        for place, text in enumerate([*texts, "", ""] if segment.end else texts):
            if place % 2 == 0:
                run.texts.append(text)
                run.numbers.append(number)
                continue
            token = Special(tokenizer.eos_id) if segment.end else tokenizer.special(text)
            if token.lstrip:
                run.strip(slice(None, None, -1))
            yield from _ended(run, eats)
            yield number, token.id
            run, eats = _Run("start" if segment.begin else "fresh"), token.rstrip
    yield from _ended(run, eats)


def _ended(run: _Run, eats: bool) -> Iterator[_Run]:
    if eats:
        run.strip(slice(None, None, 1))
    if any(run.texts):
        yield run


def _owned(tokenizer: Encoder, run: _Run, segments: Sequence[Segment]) -> tuple[list[tuple[int, int]], bool]:
    """The ids of a run, each with the number of its segment, and whether it was read as one.

    Some models of vocabulary find special tokens among their words; piece by piece, or letter by letter, they cannot.
    """
    spans = tokenizer.spans("".join(run.texts), run.place)
    if tokenizer.special_ids.isdisjoint(span.id for span in spans):
        begins = [0, *accumulate(map(len, run.texts))]
        return [(_owner(span, begins, run.numbers, segments), span.id) for span in spans], True
    alone = [
        _Run("inner" if at or piece else run.place, [text], [run.numbers[at]])
        for at, whole in enumerate(run.texts)
        for piece, text in enumerate([whole] if len(run.texts) > 1 else whole)
        if text
    ]
    if len(alone) < 2:
        text = "".join(run.texts)
        raise UserError(f"the tokenizer of this model has a special token alone for {text!r}", "leave such texts out")
    return [each for one in alone for each in _owned(tokenizer, one, segments)[0]], False


def _owner(span: Span, begins: Sequence[int], numbers: Sequence[int], segments: Sequence[Segment]) -> int:
    first = bisect_right(begins, span.begin, hi=len(numbers)) - 1
    last = bisect_left(begins, span.end, lo=first + 1, hi=len(numbers))
    over = [numbers[at] for at in range(first, last) if begins[at] < begins[at + 1] or last == first + 1]
    return min(over, key=lambda number: (not segments[number].trained, segments[number].truncatable))
