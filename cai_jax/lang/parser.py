"""From bytes to a typed program. Every statement is parsed alone, so a wrong one leaves the others whole."""

from __future__ import annotations

import re
from bisect import bisect_right
from itertools import islice
from pathlib import Path

from lark.exceptions import UnexpectedInput

from cai_jax.lang import ast
from cai_jax.lang.ast_builder import BAD_ESCAPE, Builder
from cai_jax.lang.diagnostics import Diagnostics, Label
from cai_jax.lang.parser_cache import parser
from cai_jax.lang.source import CLOSERS, Chunk, Source, Span, marks_in, statements, unterminated

MAX_BYTES = 512 * 1024
# Names, numbers, strings and signs: what is checked within a second, and twenty times the longest shipped page.
MAX_WORDS = 10_000
_WORDS = re.compile(r'#[^\n]*|("(?:[^"\\\n]|\\.)*"?|\w+|[^\w\s])')
MAX_DEPTH = 32
_COMMAS = 100  # stray ones of a constitution that are told at once
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


_SMALLER = "keep data in .jsonl files and name those"


def read(path: str | Path, shown: str, report: Diagnostics) -> Source:
    """The source in a file, called `shown` in messages. What cannot be decoded is reported and left out.

    Raises:
      OSError: the file cannot be read.
    """
    with open(path, "rb") as file:
        return decode(file.read(MAX_BYTES + 1), shown, report)


def decode(data: bytes, shown: str, report: Diagnostics) -> Source:
    """The source in these bytes, with line ends made `\\n`. Reports wrong bytes, a byte order mark, CRLF, and size."""
    if len(data) > MAX_BYTES:
        message = f"this file has more than {MAX_BYTES:,} bytes"
        source = Source(shown, "")
        report.report("E006", message, Span(source, 0, 0), hint=_SMALLER)
        return source
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8")
        text = f"{before}\N{REPLACEMENT CHARACTER}{data[error.start :].decode('utf-8', 'replace')[1:]}"
        span = Span(Source(shown, text), len(before), len(before) + 1)
        message = f"the byte 0x{data[error.start]:02x} is not UTF-8"
        report.report("E001", message, span, "here", hint="save the file as UTF-8")
        return Source(shown, "")
    marked, crlf = text.startswith("\ufeff"), "\r" in text
    source = Source(shown, text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n"))
    beyond = next(islice((found for found in _WORDS.finditer(source.text) if found[1]), MAX_WORDS, None), None)
    if beyond is not None:
        message = f"the program has more than {MAX_WORDS:,} words and signs"
        report.report("E006", message, Span(source, *beyond.span()), "from here on", hint=_SMALLER)
        return Source(shown, "")
    if marked:
        span = Span(source, 0, 0)
        report.report("W002", "the file begins with a byte order mark", span, hint="`cai-jax fmt` removes it")
    if crlf:
        end = source.text.index("\n")
        report.report("W003", "lines end in CR LF", Span(source, end, end), hint="`cai-jax fmt` makes them LF")
    return source


def parse(source: Source, report: Diagnostics) -> ast.Program:
    """The program in a source; statements with syntax errors become `ast.Broken`, and the errors are reported."""
    _report_tabs(source, report)
    return ast.Program(
        Span(source, 0, len(source.text)), source, tuple(_statement(chunk, report) for chunk in statements(source))
    )


def _statement(chunk: Chunk, report: Diagnostics) -> ast.Statement:
    span = chunk.span
    if chunk.outdented:
        line = chunk.outdented[0]
        first = Span(line.source, line.start, line.start + len(line.text.split()[0]))
        hint = "indent it, and what follows up to the next statement"
        report.report("E109", "a statement goes on here in column 1", first, hint=hint)
    if not _marks_are_sound(span, report):
        return _broken(span)
    text = span.text
    for _ in range(_COMMAS):
        try:
            return Builder(span.source, span.start, _docs(span)).statement(parser().parse(text))
        except UnexpectedInput as error:
            at = error.pos_in_stream
            if not (text.startswith("constitution") and at is not None and text[at : at + 1] == ","):
                return _explained(span, error, report)
            _explained(span, error, report)
            text = f"{text[:at]} {text[at + 1 :]}"  # the comma is told; what else is wrong is to be told too
    return _broken(span)


def _broken(span: Span) -> ast.Broken:
    from cai_jax.lang import parse_errors  # imported for wrong programs only

    return parse_errors.broken(span)


def _explained(span: Span, error: UnexpectedInput, report: Diagnostics) -> ast.Broken:
    from cai_jax.lang import parse_errors  # imported for wrong programs only

    parse_errors.explain(span, error, report)
    return parse_errors.broken(span)


def _marks_are_sound(span: Span, report: Diagnostics) -> bool:
    """Check strings and brackets, whose mistakes would make every later message misleading."""
    source, known = span.source, len(report)
    if source.text[span.start] in " \t":
        word = len(span.text) - len(span.text.lstrip())
        first = span.text.split(maxsplit=1)[0]
        inner = Span(source, span.start + word, span.start + word + len(first))
        report.report("E108", "statements start in column 1", inner, "indented", hint="remove the spaces before it")
        return False
    opened: list[Span] = []
    for mark in marks_in(span):
        if unterminated(mark):
            hint = 'close it with " on the same line; strings in a row are joined, with a space between'
            report.report("E102", "this string is never closed", mark, "begins here", hint=hint)
            return False
        if mark.text.startswith('"'):
            _report_escapes(mark, report)
        elif mark.text in ("(", "[", "{"):
            opened.append(mark)
            if len(opened) > MAX_DEPTH:
                message = f"brackets are nested more than {MAX_DEPTH} deep"
                report.report("E007", message, mark, "one too many", hint="bind inner parts to names")
                return False
        elif not mark.text.startswith("#") and not _closes(mark, opened, report):
            return False
    if opened:
        pair = {"(": ")", "[": "]", "{": "}"}[opened[-1].text]
        report.report("E103", f"this `{opened[-1].text}` is never closed", opened[-1], hint=f"add `{pair}`")
    return len(report) == known


def _closes(mark: Span, opened: list[Span], report: Diagnostics) -> bool:
    """Remove the bracket that `mark` closes from `opened`; report a mark that closes no bracket, or another kind."""
    if opened and opened[-1].text == CLOSERS[mark.text]:
        opened.pop()
        return True
    if opened:
        label = Label(opened[-1], "opened here")
        report.report("E104", f"`{mark.text}` does not close `{opened[-1].text}`", mark, "", label)
    else:
        report.report("E104", f"`{mark.text}` closes nothing", mark, hint="remove it, or open the bracket")
    return False


def _report_escapes(mark: Span, report: Diagnostics) -> None:
    if match := _CONTROL.search(mark.text):
        span = Span(mark.source, mark.start + match.start(), mark.start + match.end())
        report.report(
            "E008", f"the control character {ascii(match.group())} stands in a string", span, hint="remove it"
        )
    plain = re.sub(r"\\\\", "  ", mark.text)
    if match := BAD_ESCAPE.search(plain):
        span = Span(mark.source, mark.start + match.start(), mark.start + match.end())
        hint = r"known are \n, \t, \" and \\"
        report.report("E116", f"`{match.group()}` means nothing in a string", span, hint=hint)


def _report_tabs(source: Source, report: Diagnostics) -> None:
    if "\t" not in source.text:
        return
    covered = [mark for mark in source.marks if mark.text[0] in '"#']
    for match in re.finditer("\t", source.text):
        index = bisect_right(covered, match.start(), key=lambda mark: mark.start) - 1
        if index < 0 or covered[index].end <= match.start():
            span = Span(source, match.start(), match.end())
            hint = "`cai-jax fmt` replaces tabs by spaces"
            report.report("E004", "tabs are not allowed outside strings", span, hint=hint)
            return


def _docs(span: Span) -> str:
    """The `## text` lines directly above a statement, joined."""
    source, lines = span.source, []
    number = source.position(span.start)[0] - 1
    while number >= 1 and source.line(number).lstrip().startswith("##"):
        lines.append(source.line(number).lstrip(" #").strip())
        number -= 1
    return " ".join(reversed(lines))
