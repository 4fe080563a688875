"""Rendered prompts: text in segments that remember whom it comes from.

A prompt is never one string. Template text is *trusted*; prompts, replies and critiques are data and
*untrusted*. Each segment is tokenised alone and the ids are concatenated, so data cannot merge with a
template's tokens or become a special token; what imitates a template's markers is escaped, reversibly.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

# What could pass for a template when it stands in data: role and request markers, option lines and a comparison's
# header at the start of a line, in any case and with any space or line break in them. Backslashes in front are part
# of the match so that escaping adds exactly one, and unescaping removes exactly one.
_UNSEEN = r"\u200b-\u200f\u2060\ufeff"
_BREAK = r"\n\r\v\f\x1c-\x1e\x85\u2028\u2029"
# A whole run of space, so that it is looked at once, from the start of the text or with a line break in it.
_LINE_START = rf"(?:\A|(?<![\s{_UNSEEN}])(?=(?:[^\S{_BREAK}]|[{_UNSEEN}])*+[{_BREAK}]))[\s{_UNSEEN}]*+"
_MARKER = re.compile(
    rf"({_LINE_START})(\\*)"
    r"((?:Human|Assistant|System|(?:Critique|Revision)(?:\s*Request)?|Options|(?:So\s+)?the\s+answer\s+is)\s*:|"
    r"\(\s*[A-Z]\s*\)|Consider\s+the\s+following\s+conversation)",
    re.IGNORECASE,
)
# The brackets that enclose replies in a comparison. A backslash goes between every two, since one in front would
# leave the token `]]]` whole.
_BRACKETS = re.compile(r"\[(?:\\*\[){2,}|\](?:\\*\]){2,}")


@dataclass(frozen=True)
class Segment:
    """A piece of a rendered prompt.

    Attributes:
      text: what it says; for `end`, nothing.
      trusted: it comes from a template or a constitution, not from data.
      trained: a loss is taken on its tokens.
      end: it stands for the end-of-text token of whichever model reads it.
      spare: its beginning is the first to go where the prompt is too long.
    """

    text: str
    trusted: bool = True
    trained: bool = False
    end: bool = False
    spare: bool = False


END = Segment("", trained=True, end=True)


class Encoder(Protocol):
    """What rendering needs of a tokenizer."""

    eos_id: int

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`, none of them special."""
        ...


def escape(text: str) -> str:
    r"""`text` with a backslash in whatever imitates a template: "\n\nHuman:" -> "\n\n\Human:", "]]]" -> "]\]\]"."""
    text = _MARKER.sub(r"\1\\\2\3", text)
    return _BRACKETS.sub(lambda run: re.sub(r"(?<=[\[\]])(?=.)", r"\\", run[0]), text)


def unescape(text: str) -> str:
    """The inverse of `escape`."""
    text = _MARKER.sub(lambda match: match[1] + match[2][1:] + match[3], text)
    return _BRACKETS.sub(lambda run: re.sub(r"(?<=[\[\]])\\", "", run[0]), text)


def data(text: str, *, trained: bool = False, spare: bool = False) -> Segment:
    """An untrusted segment: a leading space, as after every marker of the paper's format, and `text` escaped."""
    return Segment(" " + escape(text.strip()), trusted=False, trained=trained, spare=spare)


def encode(tokenizer: Encoder, segments: Iterable[Segment]) -> tuple[list[int], list[bool]]:
    """Token ids of a rendered prompt, and for each whether a loss is taken on it.

    Args:
      tokenizer: of the model that will read the prompt.
      segments: the prompt; each is tokenised alone.

    Returns:
      `(ids, trained)`, two lists of one length.
    """
    ids: list[int] = []
    trained: list[bool] = []
    for segment in segments:
        piece = [tokenizer.eos_id] if segment.end else tokenizer.encode(segment.text)
        ids += piece
        trained += [segment.trained] * len(piece)
    return ids, trained


def text_of(segments: Sequence[Segment]) -> str:
    """The prompt as one string, for people and for provenance."""
    return "".join(segment.text for segment in segments)
