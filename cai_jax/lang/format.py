"""The formatter: spaces, indentation and blank lines made regular; line breaks and comments stay where they are.

Like gofmt, it works on the words of a program and never joins or breaks lines, so the meaning cannot change and a
second pass changes nothing. In a block of one-line bindings the `=` are aligned.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from cai_jax.lang.diagnostics import Diagnostic, Diagnostics
from cai_jax.lang.parse import decode, parse
from cai_jax.lang.source import CLOSERS, Source, Span, statements
from cai_jax.lang.syntax import Word, words

_MENDED = ("E004", "W002", "W003")  # what formatting itself takes away
_OPENERS = ("(", "[", "{")
_TIGHT = (".", "..")
_BEFORE_VALUE = ("(", "[", ",", "=", "+", "-", "*", "<", ">", "<=", ">=", "..", "in", "at")
_BINDING = re.compile(r"((?:let )?[A-Za-z_]\w*) = ")


@dataclass(frozen=True)
class Formatted:
    """The formatted text, or None with the diagnostics that prevent it."""

    text: str | None
    diagnostics: tuple[Diagnostic, ...] = ()


def format_text(text: str | bytes, path: str = "program.cai") -> Formatted:
    """Formats a program. One with syntax errors is left alone, and they are returned."""
    report = Diagnostics()
    source = decode(text if isinstance(text, bytes) else text.encode(), path, report)
    parse(source, report)
    errors = [diagnostic for diagnostic in report.in_order() if diagnostic.code not in _MENDED]
    if errors:
        return Formatted(None, tuple(errors))
    return Formatted(_Layout(source).text())


class _Layout:
    """Lays out a source line by line, knowing the brackets that are open."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.starts = {source.position(chunk.span.start)[0] for chunk in statements(source)}
        self.found: dict[int, list[Word]] = {}
        for word in words(Span(source, 0, len(source.text))):
            self.found.setdefault(source.position(word.span.start)[0], []).append(word)
        self.comments = {source.position(comment.start)[0]: comment.text.rstrip() for comment in source.comments}
        self.open: list[tuple[str, int]] = []  # brackets, each with the indentation of its line
        self.last: list[str] = ["", ""]  # the two words before

    def text(self) -> str:
        return _spaced(self._aligned([self._line(number) for number in range(1, self.source.lines + 1)]))

    def _line(self, number: int) -> str:
        comment = self.comments.get(number, "")
        found = self.found.get(number, [])
        if number in self.starts:
            self.open, self.last = [], ["", ""]
        indent = self._indent(found, number)
        if not found:
            return "  " * indent + comment if comment else ""
        return "  " * indent + self._joined(found, indent) + (f"  {comment}" if comment else "")

    def _indent(self, found: list[Word], number: int) -> int:
        """Steps of indentation: none where a statement begins, else one more than the line it goes on from."""
        if number in self.starts or not (found or self._goes_on(number)):
            return 0
        closing = next((i for i, word in enumerate(found) if word.text not in CLOSERS), len(found))
        if closing:
            return self.open[-closing][1]
        return self.open[-1][1] + 1 if self.open else 1

    def _goes_on(self, number: int) -> bool:
        """Whether a statement goes on after the comment in this line."""
        following = next((line for line in self.found if line > number), None)
        return following is not None and following not in self.starts

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
        """Whether a space stands between the last word and this one."""
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
        return not (word.text == "(" and called)

    def _aligned(self, lines: list[str]) -> list[str]:
        """With the `=` of neighbouring one-line bindings in one column."""
        heads = [self._head(number, line) for number, line in enumerate(lines, start=1)]
        widths = list(map(len, heads))
        forth = [(index, index - 1) for index in range(1, len(lines))]
        back = [(index - 1, index) for index in range(len(lines) - 1, 0, -1)]
        for index, neighbour in forth + back:
            if _alike(heads[index], heads[neighbour]):
                widths[index] = max(widths[index], widths[neighbour])
        return [
            f"{head.ljust(width)}{line[len(head) :]}" for head, width, line in zip(heads, widths, lines, strict=True)
        ]

    def _head(self, number: int, line: str) -> str:
        """What stands before the `=` of a binding that takes one line; "" for any other line."""
        match = _BINDING.match(line)
        alone = number in self.starts and (number + 1 in self.starts or not self.found.get(number + 1))
        return match[1] if match and alone and not self._goes_on(number) else ""


def _alike(head: str, other: str) -> bool:
    """Whether two heads of bindings are aligned with each other: both of `let`, or both without."""
    return bool(head and other) and head.startswith("let ") == other.startswith("let ")


def _spaced(lines: list[str]) -> str:
    """The lines with at most one empty line in a row, none at either end, and one line end behind the last."""
    text = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n")
    return f"{text}\n" if text else ""
