"""Rendered prompts: text in segments that remember whom it comes from.

A prompt is never one string. Template text is *trusted*; prompts, replies and critiques are data and
*untrusted*. Each segment is tokenised alone and the ids are concatenated, so data cannot merge with a
template's tokens or become a special token; what imitates a template's markers is escaped (data/escaping.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Segment:
    """A piece of a rendered prompt.

    Attributes:
      text: what it says; for `end`, nothing.
      trusted: it comes from a template or a constitution, not from data.
      trained: a loss is taken on its tokens.
      end: it stands for the end-of-text token of whichever model reads it.
      spare: its beginning is the first to go where the prompt is too long.
      special: it comes from a chat template, and special tokens in it are such; in all other text they are text.
    """

    text: str
    trusted: bool = True
    trained: bool = False
    end: bool = False
    spare: bool = False
    special: bool = False


END = Segment("", trained=True, end=True)


class Encoder(Protocol):
    """What rendering needs of a tokenizer."""

    eos_id: int
    special_ids: frozenset[int]

    def encode(self, text: str, *, special: bool = False, fresh: bool = False) -> list[int]:
        """Token ids of `text`, none of them special unless `special`; `fresh` text stands behind a special token."""
        ...


def pieces(tokenizer: Encoder, segments: Iterable[Segment]) -> list[list[int]]:
    """Token ids of each segment, tokenised alone."""
    found: list[list[int]] = []
    last = -1
    for segment in segments:
        if segment.end:
            ids = [tokenizer.eos_id]
        else:
            fresh = last in tokenizer.special_ids
            ids = tokenizer.encode(segment.text, special=segment.special, fresh=fresh)
        found.append(ids)
        last = ids[-1] if ids else last
    return found


def encode(tokenizer: Encoder, segments: Sequence[Segment]) -> tuple[list[int], list[bool]]:
    """Token ids of a rendered prompt, and for each whether a loss is taken on it.

    Args:
      tokenizer: of the model that will read the prompt.
      segments: the prompt; each is tokenised alone.

    Returns:
      `(ids, trained)`, two lists of one length.
    """
    found = pieces(tokenizer, segments)
    trained = [segment.trained for segment, ids in zip(segments, found, strict=True) for _ in ids]
    return [number for ids in found for number in ids], trained


def text_of(segments: Sequence[Segment]) -> str:
    """The prompt as one string, for people and for provenance."""
    return "".join(segment.text for segment in segments)
