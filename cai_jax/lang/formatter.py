"""The formatter: spaces, indentation and blank lines made regular; line breaks and comments stay where they are.

Like gofmt, it works on the words of a program and never joins or breaks lines, so the meaning cannot change and a
second pass changes nothing. In a block of one-line bindings the `=` are aligned, in a block of one-line expectations
their levels and reasons.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from cai_jax.lang.diagnostics import Diagnostic, Diagnostics
from cai_jax.lang.parse_errors import Word, words
from cai_jax.lang.parser import decode, parse
from cai_jax.lang.source import CLOSERS, Source, Span, statements

_MENDED = ("E004", "W002", "W003")  # what formatting itself takes away
_OPENERS = ("(", "[", "{")
_TIGHT = (".", "..")
_BEFORE_VALUE = ("(", "[", ",", "=", "+", "-", "*", "<", ">", "<=", ">=", "..", "in", "at")
_WIDEST = 24  # spaces that aligning may put into a line
_BINDING = re.compile(r"((?:let )?[A-Za-z_]\w*) = ")


@dataclass(frozen=True)
class Formatted:
    """The formatted text, or None with the diagnostics that prevent it."""

    text: str | None
    diagnostics: tuple[Diagnostic, ...] = ()


def format_text(text: str | bytes, path: str = "program.cai") -> Formatted:
    """Format a program. One with syntax errors is left alone, and they are returned."""
    report = Diagnostics()
    source = decode(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"), path, report)
    parse(source, report)
    errors = [diagnostic for diagnostic in report.in_order() if diagnostic.code not in _MENDED]
    if errors:
        return Formatted(None, tuple(errors))
    return Formatted(_Layout(source).text())


class _Layout:
    """The layout of a source, made line by line with the brackets that are open."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.starts = {source.position(chunk.span.start)[0] for chunk in statements(source)}
        self.found: dict[int, list[Word]] = {}
        for word in words(Span(source, 0, len(source.text))):
            self.found.setdefault(source.position(word.span.start)[0], []).append(word)
        self.comments = {source.position(comment.start)[0]: comment.text.rstrip() for comment in source.comments}
        self.code = sorted(self.found)  # lines with more than comments in them
        self.indents: dict[int, int] = {}
        self.open: list[tuple[str, int]] = []  # brackets, each with the indentation of its line
        self.last: list[str] = ["", ""]  # the two words before

    def text(self) -> str:
        lines = [self._line(number) for number in range(1, self.source.lines + 1)]
        for group in _groups([self._column(number, line) for number, line in enumerate(lines, start=1)]):
            width = max(column for _, column in group)
            for index, column in (line for line in group if width - line[1] <= _WIDEST):
                lines[index] = f"{lines[index][:column].ljust(width)}{lines[index][column:]}"
        for number, comment in self.comments.items():
            line = lines[number - 1]
            lines[number - 1] = f"{line}  {comment}" if line else "  " * self.indents[number] + comment
        return _spaced(lines)

    def _line(self, number: int) -> str:
        """A line laid out, without its comment."""
        found = self.found.get(number, [])
        if number in self.starts:
            self.open, self.last = [], ["", ""]
        indent = self.indents[number] = self._indent(found, number)
        return "  " * indent + self._joined(found, indent) if found else ""

    def _indent(self, found: list[Word], number: int) -> int:
        """Steps of indentation: none where a statement begins, else one more than the line it goes on from."""
        if number in self.starts or not (found or self._goes_on(number)):
            return 0
        closing = next((i for i, word in enumerate(found) if word.text not in CLOSERS), len(found))
        if closing:
            return self.open[-closing][1]
        return self.open[-1][1] + 1 if self.open else 1

    def _goes_on(self, number: int) -> bool:
        """True if a statement continues after the comment in this line."""
        index = bisect_right(self.code, number)
        return index < len(self.code) and self.code[index] not in self.starts

    def _joined(self, found: list[Word], indent: int) -> str:
        text = ""
        for index, word in enumerate(found):
            text += " " * (index > 0 and self._apart(word)) + word.text
            if word.text in _OPENERS:
                self.open.append((word.text, indent))
            elif word.text in CLOSERS:
                self.open.pop()
            self.last = [self.last[1], word.text]
        return text

    def _apart(self, word: Word) -> bool:
        """True if there is a space between the last word and this one."""
        before, last = self.last
        if word.text in (")", "]", ",") or last in ("(", "[") or (last, word.text) == ("{", "}"):
            return False
        if word.text in _TIGHT or last in _TIGHT:
            return False
        if "=" in (word.text, last) and self.open and self.open[-1][0] != "{":
            return False
        if last == "-" and before in _BEFORE_VALUE:
            return False
        called = last.isidentifier() and last not in ("run", "with", "in", "at", "expect")
        called = called and (before, last) != ("expect", "all")
        return not (word.text in ("(", "[") and called)

    def _column(self, number: int, line: str) -> tuple[str, int]:
        """The group that a one-line statement is aligned with, and the column to align; ("", 0) if with none."""
        if number not in self.starts or self._goes_on(number):
            return "", 0
        if match := _BINDING.match(line):
            return ("let" if match[1].startswith("let ") else "="), len(match[1])
        if line.startswith("expect "):
            found, depth = self.found[number], 0
            for index, word in enumerate(found):
                depth += (word.text in _OPENERS) - (word.text in CLOSERS)
                if depth == 0 and (word.text == "at" or word.kind == "text"):
                    return "expect", len(line) - len(" ".join(word.text for word in found[index:])) - 1
            return "expect", 0
        return "", 0


def _groups(columns: Sequence[tuple[str, int]]) -> Iterator[list[tuple[int, int]]]:
    """The lines of every block that is aligned, as (index, column), without those that have no column."""
    for what, lines in groupby(enumerate(columns), key=lambda line: line[1][0]):
        found = [(index, column) for index, (_, column) in lines if column]
        if what and found:
            yield found


def _spaced(lines: list[str]) -> str:
    """The lines with at most one empty line in a row, none at either end, and one line end after the last."""
    text = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n")
    return f"{text}\n" if text else ""
