"""A program's text: positions in it, its comments and brackets, and its cut into statements."""

from __future__ import annotations

import re
from bisect import bisect_right
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

_MARKS = re.compile(r'"(?:[^"\\\n]|\\.)*"?|#[^\n]*|[()\[\]{}]')
_KEYWORD_HEAD = re.compile(r"(?:use|let|constitution|expect|sweep)\b|run\s*\(")
_HEAD = re.compile(rf"{_KEYWORD_HEAD.pattern}|[A-Za-z_]\w*\s*[:=](?!=)")
_CONTINUES = " \t\r\n#)]}|"
CLOSERS = {")": "(", "]": "[", "}": "{"}


def shown_path(path: Path) -> str:
    """A path as written from the working directory."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


class Source:
    """One file's text. `path` is what messages call it; compared by path and text."""

    def __init__(self, path: str, text: str) -> None:
        self.path = path
        self.text = text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Source) and (self.path, self.text) == (other.path, other.text)

    def __hash__(self) -> int:
        return hash((self.path, self.text))

    def __repr__(self) -> str:
        return f"Source({self.path!r})"

    @cached_property
    def _starts(self) -> list[int]:
        return [0, *(match.end() for match in re.finditer("\n", self.text))]

    def position(self, offset: int) -> tuple[int, int]:
        """Line and column of an offset, both from 1; columns count code points."""
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1

    def offset(self, line: int, column: int) -> int:
        """The offset of a line and column, both from 1; the nearest there is where the text has none such."""
        start = self._starts[max(0, min(line, len(self._starts)) - 1)]
        end = self.text.find("\n", start)
        return max(start, min(start + column - 1, len(self.text) if end < 0 else end))

    def line(self, number: int, most: int | None = None) -> str:
        """The text of a line, from 1, without its end; its first `most` characters, where that is given."""
        start = self._starts[number - 1]
        end = self._starts[number] if number < len(self._starts) else len(self.text)
        return self.text[start : end if most is None else min(end, start + most)].rstrip("\r\n")

    @property
    def lines(self) -> int:
        """Number of lines, counting a last empty one."""
        return len(self._starts)

    @cached_property
    def marks(self) -> list[Span]:
        """Strings, comments and brackets, in order: they divide the text before it is parsed."""
        return [Span(self, match.start(), match.end()) for match in _MARKS.finditer(self.text)]

    @cached_property
    def comments(self) -> list[Span]:
        return [mark for mark in self.marks if mark.text.startswith("#")]


class Span(NamedTuple):
    """A part of a source: offsets [start, end) in code points."""

    source: Source
    start: int
    end: int

    @property
    def text(self) -> str:
        return self.source.text[self.start : self.end]

    @property
    def on_one_line(self) -> str:
        """The text without comments and line ends."""
        kept, start = [], self.start
        for mark in marks_in(self):
            if mark.text.startswith("#"):
                kept.append(self.source.text[start : mark.start])
                start = mark.end
        return " ".join("".join([*kept, self.source.text[start : self.end]]).split())

    def to(self, other: Span) -> Span:
        """From here to the end of `other`, in the same source."""
        return Span(self.source, self.start, max(self.end, other.end))

    def __repr__(self) -> str:
        line, column = self.source.position(self.start)
        return f"{self.source.path}:{line}:{column}"


def unterminated(mark: Span) -> bool:
    """True if a string mark lacks its closing quote."""
    return mark.text.startswith('"') and not re.fullmatch(r'"(?:[^"\\\n]|\\.)*"', mark.text)


def looks_like_statement(text: str, at: int = 0) -> bool:
    """True if a statement could begin at this offset of `text`."""
    return _HEAD.match(text, at) is not None


class Chunk(NamedTuple):
    """One statement's text, and the lines in it that should have been indented."""

    span: Span
    outdented: tuple[Span, ...] = ()


_LOOKAHEAD = 200  # lines that are searched for the end of brackets


def statements(source: Source) -> list[Chunk]:
    """Cut a source at the lines that begin in column 1.

    A line beginning with a closing bracket or `|` continues the statement above it; so does, as a mistake to
    be reported, one that begins in column 1 inside of brackets.
    """
    lines = [
        Span(source, match.start(), match.end())
        for match in re.finditer(r"^[^\n]+", source.text, re.MULTILINE)
        if match.group().strip() and not match.group().lstrip().startswith("#")
    ]
    opened = [_opened(line) for line in lines]
    chunks: list[Chunk] = []
    depth = 0
    for index, line in enumerate(lines):
        starts = source.text[line.start] not in _CONTINUES
        if chunks and starts and depth > 0 and _is_inside(chunks[-1].span, lines, opened, index, depth):
            chunks[-1] = Chunk(chunks[-1].span.to(line), (*chunks[-1].outdented, line))
        elif chunks and not starts:
            chunks[-1] = chunks[-1]._replace(span=chunks[-1].span.to(line))
        else:
            chunks.append(Chunk(line))
            depth = 0
        depth += opened[index]
    return [chunk._replace(span=_without_trailing_comment(chunk.span)) for chunk in chunks]


def _is_inside(above: Span, lines: list[Span], opened: list[int], index: int, depth: int) -> bool:
    """True if a line in column 1 belongs to the brackets still open above, rather than those lacking their end."""
    text = lines[index].source.text
    if not looks_like_statement(text, lines[index].start):
        return True
    if not above.text.startswith("constitution") and _without_trailing_comment(above).text[-1] not in ",([":
        return False  # an argument has a comma or a bracket before it; a field of a constitution needs none
    ahead = slice(index, index + _LOOKAHEAD)
    for line, change in zip(lines[ahead], opened[ahead], strict=True):
        if _KEYWORD_HEAD.match(text, line.start):
            return False
        depth += change
        if depth <= 0:
            return depth == 0
    return False


def marks_in(span: Span) -> list[Span]:
    """The strings, comments and brackets of a span, in order."""
    marks = span.source.marks
    low = bisect_right(marks, span.start - 1, key=lambda mark: mark.start)
    high = bisect_right(marks, span.end - 1, key=lambda mark: mark.start)
    return marks[low:high]


def _opened(span: Span) -> int:
    texts = [mark.text for mark in marks_in(span)]
    return sum((text in ("(", "[", "{")) - (text in CLOSERS) for text in texts)


def _without_trailing_comment(span: Span) -> Span:
    end = span.end
    for mark in reversed(marks_in(span)):
        if mark.text.startswith("#") and not span.source.text[mark.end : end].strip():
            end = mark.start
        else:
            break
    return Span(span.source, span.start, span.start + len(span.source.text[span.start : end].rstrip()))
