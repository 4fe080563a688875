r"""Escaping: a backslash in whatever data says that could pass for a template; reversible, letter by letter.

Data can imitate the paper's markers at the start of a line ("\n\nHuman:"), the brackets around compared replies
("]]]"), and those markers of a chat template that are plain text in its tokenizer ("[INST]", "USER:"). Markers are
looked for as a reader sees them: letters without width or ink in front of one or inside it do not hide it, nor do
full-width ones. Special tokens need no escape: text never yields their ids (models/tokenizer.py).
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from cai_jax.terminal import UNSEEN

# What ends a line, whoever reads it: of a regular expression's class.
BREAK = r"\n\r\v\f\x1c-\x1e\x85\u2028\u2029"
# From the start of the text, or with a line break in it: a whole run of space, so that it is looked at once.
_LINE = rf"(?:\A|(?<!\s)(?=[^\S{BREAK}]*+[{BREAK}]))\s*+"
_ROLES = r"(?:Human|Assistant|System|(?:Critique|Revision)(?:\s*Request)?)\s*:"
_OPTIONS = r"(?:Options|(?:So\s+)?the\s+answer\s+is)\s*:|\(\s*[A-Z]\s*\)|Consider\s+the\s+following\s+conversation"
# A pattern's groups: what a marker stands behind, the backslashes that are there already, and where another goes.
# Those that are there are part of the match, so that escaping adds exactly one and unescaping removes exactly one.
_TURNS = re.compile(rf"({_LINE})(\\*)({_ROLES})", re.IGNORECASE)
_QUESTION = re.compile(rf"({_LINE})(\\*)({_ROLES}|{_OPTIONS})", re.IGNORECASE)
# The brackets that enclose replies in a comparison. A backslash goes between every two, since one in front would
# leave the token `]]]` whole.
_BRACKETS = re.compile(r"\[(?:\\*\[){2,}|\](?:\\*\]){2,}")
_BRACKET = re.compile(r"([\[\]])(\\*)(?=([\[\]]))")


@dataclass(frozen=True)
class Escaping:
    """The texts that are escaped in data of one kind.

    Attributes:
      paper: "turns", the paper's markers of turns; "question", these and those of a comparison: its header,
        options and brackets; "" none of them.
      markers: other texts. One that begins with a word is a marker in this letter case alone, after space or, if its
        first letter is a line break, at the start of a line; one that begins with a sign, anywhere, with any space in
        it.
    """

    paper: str = "question"
    markers: tuple[str, ...] = ()

    def escape(self, text: str) -> str:
        r"""`text` escaped: "\n\nHuman:" -> "\n\n\Human:", "]]]" -> "]\]\]", "[INST]" -> "[\INST]"."""
        for pattern in self._patterns:
            places = [place.at for place in _found(pattern, text)]
            text = "\\".join(text[begin:end] for begin, end in pairwise([0, *places, len(text)]))
        return text

    def unescape(self, text: str) -> str:
        """The inverse of `escape`."""
        for pattern in reversed(self._patterns):
            places = [place.last for place in _found(pattern, text) if place.last is not None]
            text = "".join(text[begin + 1 : end] for begin, end in pairwise([-1, *places, len(text)]))
        return text

    def crossed(self, texts: Sequence[str]) -> list[int]:
        """Of consecutive texts, the numbers of those that begin within a marker."""
        places = [place for pattern in self._patterns for place in _found(pattern, "".join(texts))]
        begins = [0]
        for text in texts:
            begins.append(begins[-1] + len(text))
        return [n for n, at in enumerate(begins[:-1]) if any(place.begin < at < place.end for place in places)]

    @property
    def _patterns(self) -> tuple[re.Pattern[str], ...]:
        return _patterns(self.paper, self.markers)


class _Place(NamedTuple):
    """A marker in a text: where it begins and ends, where a backslash goes, and the last that is there, if any."""

    begin: int
    end: int
    at: int
    last: int | None


def _found(pattern: re.Pattern[str], text: str) -> list[_Place]:
    seen = text.translate(SEEN)
    matches = list(_matches(pattern, seen))
    if not matches:
        return []
    places = [number for number, letter in enumerate(text) if SEEN[ord(letter)] is not None]
    return [
        _Place(
            places[match.start(1) if match[1].strip() else match.start(3)],
            places[match.end(3) - 1] + 1,
            places[match.start(3)],
            places[match.end(2) - 1] if match[2] else None,
        )
        for match in matches
    ]


def _matches(pattern: re.Pattern[str], seen: str) -> Iterator[re.Match[str]]:
    for match in pattern.finditer(seen):
        if pattern is _BRACKETS:
            yield from _BRACKET.finditer(seen, match.start(), match.end())
        else:
            yield match


@functools.cache
def _patterns(paper: str, markers: tuple[str, ...]) -> tuple[re.Pattern[str], ...]:
    """Longest markers first, each with its own pattern: they are escaped one after the other, and unescaped back."""
    own = {"": (), "turns": (_TURNS,), "question": (_QUESTION, _BRACKETS)}[paper]
    return (*own, *(_pattern(marker) for marker in sorted(markers, key=len, reverse=True)))


def _pattern(marker: str) -> re.Pattern[str]:
    first, *rest = ("".join(map(re.escape, piece)) for piece in re.findall(r"\w+|[^\w\s]", marker))
    if not marker.strip()[0].isalnum():
        return re.compile(rf"({first})(\\*)({_spaced(rest)})", re.IGNORECASE)
    behind = _LINE if marker[0] == "\n" else r"(?<!\S)"
    end = r"(?!\w)" if marker[-1].isalnum() else ""  # a word is no part of another
    return re.compile(rf"({behind})(\\*)({first}{_spaced(rest)}{end})")


def _spaced(pieces: Sequence[str]) -> str:
    return "".join(rf"\s*+{piece}" for piece in pieces)


class _Seen(dict[int, str | None]):
    """The visible form of a letter: None without ink; for a look-alike that tokenizers replace, its replacement."""

    # Fillers, the empty Braille cell, and what else a category does not tell.
    _EMPTY = re.compile(f"[\u115f\u1160\u3164\uffa0\u2800{UNSEEN}]")

    def __missing__(self, code: int) -> str | None:
        letter = chr(code)
        found: str | None = letter
        if letter == "\u2581":  # as SentencePiece writes a space
            found = " "
        elif self._EMPTY.match(letter) or (
            unicodedata.category(letter) in ("Cf", "Mn", "Me", "Cc") and not letter.isspace()
        ):
            found = None
        elif not letter.isspace():
            plain = unicodedata.normalize("NFKC", letter)
            found = plain if len(plain) == 1 and plain.isascii() and plain != "\\" else letter
        self[code] = found
        return found


SEEN = _Seen()
