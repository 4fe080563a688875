"""Findings about a program: codes, positions, and their display to people and to programs."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from cai_jax.lang.source import Span
from cai_jax.terminal import LINE, indented, under, visible


class Label(NamedTuple):
    """An underlined part of a program with what to say about it."""

    span: Span
    text: str = ""


@dataclass(frozen=True)
class Diagnostic:
    """One finding. A code that begins with W is a warning; all others make the program wrong.

    Attributes:
      code: a key of `catalogue()`.
      message: what is wrong and why, in one sentence without a final stop.
      labels: the primary span first, then further ones; empty if it belongs to no place in a file.
      hint: how to fix it; may be empty.
    """

    code: str
    message: str
    labels: tuple[Label, ...] = ()
    hint: str = ""

    @property
    def warning(self) -> bool:
        return self.code.startswith("W")

    @property
    def span(self) -> Span | None:
        return self.labels[0].span if self.labels else None

    def as_json(self) -> dict[str, Any]:
        """The same as plain data; lines and columns count from 1, the end column is exclusive."""
        return {
            "code": self.code,
            "severity": "warning" if self.warning else "error",
            "message": self.message,
            "hint": self.hint,
            "spans": [_span_json(label, primary=index == 0) for index, label in enumerate(self.labels)],
        }


def _span_json(label: Label, primary: bool) -> dict[str, Any]:
    line, column = label.span.source.position(label.span.start)
    end_line, end_column = label.span.source.position(label.span.end)
    return {
        "file": label.span.source.path,
        "line": line,
        "column": column,
        "end_line": end_line,
        "end_column": end_column,
        "label": label.text,
        "primary": primary,
    }


_GUESSES = 30  # unknown words of a program that are compared with the known ones, which takes 10 ms at worst
_VOCABULARY = 500  # known words that one word is compared with
_LONGEST_WORD = 64  # letters of a word that is compared; the time goes with their square


class Diagnostics(list[Diagnostic]):
    """The findings of one program: at most one of a code at a place.

    Attributes:
      met: (code, place) of all that was reported, again or for the first time, since this was last emptied.
    """

    def __init__(self) -> None:
        self._known: set[tuple[str, Span]] = set()
        self._guesses = 0
        self.met: set[tuple[str, Span | None]] = set()

    def report(self, code: str, message: str, span: Span | None, label: str = "", *also: Label, hint: str = "") -> None:
        """Add a finding, unless this code is known at this place."""
        self.met.add((code, span))
        if span is None:
            self.append(Diagnostic(code, message, (), hint))
        elif (code, span) not in self._known:
            self._known.add((code, span))
            self.append(Diagnostic(code, message, (Label(span, label), *also), hint))

    def closest(self, word: str, known: Iterable[str]) -> str:
        """As the function of this name, for the first unknown words of a program; "" for later ones."""
        self._guesses += 1
        return closest(word, known) if self._guesses <= _GUESSES else ""

    def did_you_mean(self, word: str, known: Iterable[str]) -> str:
        """As the function of this name, for the first unknown words of a program; "" for later ones."""
        return _meant(self.closest(word, known))

    @property
    def errors(self) -> list[Diagnostic]:
        return [diagnostic for diagnostic in self if not diagnostic.warning]

    def in_order(self) -> list[Diagnostic]:
        """By file, as first met, then by position; those without a place first."""
        paths: dict[str, int] = {}
        for diagnostic in self:
            if diagnostic.span:
                paths.setdefault(diagnostic.span.source.path, len(paths))
        return sorted(self, key=lambda d: (paths[d.span.source.path], d.span.start) if d.span else (-1, 0))


def closest(word: str, known: Iterable[str]) -> str:
    """The known word that is closest to `word`, whatever the case of their letters; "" if none is close.

    Of very many words only those of the most similar lengths are looked at, so that the time is bounded.
    """
    import difflib  # only for wrong programs
    import heapq

    if len(word) > _LONGEST_WORD:
        return ""
    near = heapq.nsmallest(_VOCABULARY, known, key=lambda each: abs(len(each) - len(word)))
    words = {each.lower(): each for each in near if len(each) <= _LONGEST_WORD}
    close = difflib.get_close_matches(word.lower(), list(words), n=1, cutoff=0.6)
    return words[close[0]] if close else ""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint naming the known word that is closest to `word`, or "" if none is close."""
    return _meant(closest(word, known))


def _meant(word: str) -> str:
    return f"did you mean `{word}`?" if word else ""


_LISTED = 40  # words that a hint lists; no stage has more parameters


def listed(words: Collection[str], last: str = "or") -> str:
    """`a`, `b` or `c`; of very many, the first and how many there are besides."""
    quoted = [f"`{word}`" for word in islice(words, _LISTED)]
    if len(words) > _LISTED:
        return f"{', '.join(quoted)} and {len(words) - _LISTED} more"
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} {last} {quoted[-1]}"


_COLOURS = {
    "error": "\033[1;31m",
    "warning": "\033[1;33m",
    "bold": "\033[1m",
    "rule": "\033[1;34m",
    "end": "\033[0m",
}


def render(diagnostics: Iterable[Diagnostic], colour: bool = False) -> str:
    """All findings as text, an empty line between them, each like rustc's; "" if there are none."""
    paint = _COLOURS if colour else dict.fromkeys(_COLOURS, "")
    return "\n".join("\n".join(_lines(diagnostic, paint)) + "\n" for diagnostic in diagnostics)


def _lines(diagnostic: Diagnostic, paint: Mapping[str, str]) -> list[str]:
    severity = "warning" if diagnostic.warning else "error"
    name = f"{severity}[{diagnostic.code}]"
    message = indented(visible(diagnostic.message), len(f"{name}: "))
    lines = [f"{paint[severity]}{name}{paint['end']}: {paint['bold']}{message}{paint['end']}"]
    width = 1
    if diagnostic.labels:
        width = len(str(max(label.span.source.position(label.span.start)[0] for label in diagnostic.labels)))
        lines += _excerpts(diagnostic.labels, width, paint)
    if diagnostic.hint:
        lines.append(under(f"{' ' * (width + 1)}= help: ", visible(diagnostic.hint)))
    return lines


def _excerpts(labels: tuple[Label, ...], width: int, paint: Mapping[str, str]) -> list[str]:
    """The underlined lines, those of the primary label's file first."""
    lines, margin = [], " " * (width + 1)
    primary = labels[0]
    for number, source in enumerate(dict.fromkeys(label.span.source for label in labels)):
        here = sorted((label for label in labels if label.span.source == source), key=lambda x: x.span.start)
        line, column = source.position(primary.span.start if number == 0 else here[0].span.start)
        lines.append(f"{margin}{'-->' if number == 0 else ':::'} {visible(f'{source.path}:{line}:{column}', LINE)}")
        lines.append(f"{margin}{paint['rule']}|{paint['end']}")
        last = None
        for label in here:
            line, column = source.position(label.span.start)
            if last is not None and line > last + 1:
                lines.append("...")
            if line != last:
                text = _visible(source.line(line, _LONGEST + 1))
                lines.append(f"{line:>{width}} {paint['rule']}|{paint['end']} {text}".rstrip())
            lines.append(f"{margin}{paint['rule']}|{paint['end']} {_underline(label, column, label is primary)}")
            last = line
    return lines


_LONGEST = 160  # columns of a line that are shown; a longer one is cut


def _visible(text: str) -> str:
    text = text if len(text) <= _LONGEST else text[:_LONGEST] + "…"
    return "".join(c if c.isprintable() else " " if c == "\t" else "�" for c in text)


def _underline(label: Label, column: int, primary: bool) -> str:
    text = label.span.source.line(label.span.source.position(label.span.start)[0], _LONGEST)
    start = min(column - 1, _LONGEST)
    end = min(column - 1 + label.span.end - label.span.start, len(text), _LONGEST)
    marks = ("^" if primary else "-") * max(1, columns(text[start:end]))
    return f"{' ' * columns(text[:start])}{marks}{' ' if primary else '  '}{visible(label.text, LINE)}".rstrip()


def columns(text: str) -> int:
    """Terminal columns that `text` takes: wide characters two, combining ones none."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(bool(unicodedata.combining(c)) for c in text)


class Entry(NamedTuple):
    """The content of `cai-jax explain CODE`."""

    code: str
    title: str
    text: str


@cache
def catalogue() -> Mapping[str, Entry]:
    """Every code with its explanation, read from catalogue.md in this folder."""
    text = Path(__file__).with_name("catalogue.md").read_text(encoding="utf-8")
    entries = {}
    for section in text.split("\n## ")[1:]:
        head, _, body = section.partition("\n")
        code, _, title = head.partition(" ")
        entries[code] = Entry(code, title, body.strip())
    return entries


def explain(code: str) -> str | None:
    """The explanation of a code: its meaning, why, a wrong and a right example. None if there is no such code."""
    entry = catalogue().get(code.upper())
    return f"{entry.code}: {entry.title}\n\n{entry.text}\n" if entry else None
