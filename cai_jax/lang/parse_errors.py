"""Explain a statement that does not parse, in terms of the mistake that was probably made."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import NamedTuple

from lark.exceptions import UnexpectedCharacters, UnexpectedInput

from cai_jax.lang import ast
from cai_jax.lang.ast_builder import NUMBER
from cai_jax.lang.diagnostics import Diagnostics, Label, listed
from cai_jax.lang.source import CLOSERS, Span, looks_like_statement
from cai_jax.lang.units import SUFFIXES

KEYWORDS = ("use", "stage", "from", "let", "in", "constitution", "principle", "expect", "at", "sweep", "run", "with")
_LEXEME = re.compile(
    r"#[^\n]*|(?P<text>\"(?:[^\"\\\n]|\\.)*\")|(?P<number>" + NUMBER + ")"
    r"|(?P<word>[A-Za-z_]\w*)|(?P<sign>\|>|\.\.|<=|>=|==|\S)"
)
_QUOTES = tuple("'‘’“”„«»")
_WORD = re.compile(r"[A-Za-z_]\w*")
_NAMES = r"(?:let|use(?:[ \t]+stage)?|constitution)[ \t]+"  # begins a statement that binds the name behind it
_BINDS = re.compile(rf"^[ \t]*(?:{_NAMES}([A-Za-z_]\w*)|([A-Za-z_]\w*)[ \t]*(?:[:=]|$))", re.MULTILINE)
_LEFT = re.compile(rf"(?:{_NAMES})?([^=:{{(|<>\n]*+)([=:{{]?)")  # of a binding, and its sign


class Word(NamedTuple):
    """A lexeme: kind is "text", "number", "word" or "sign"."""

    kind: str
    span: Span

    @property
    def text(self) -> str:
        return self.span.text


def words(span: Span) -> list[Word]:
    """The lexemes of a span without its comments, each character in some lexeme, none refused."""
    found = _LEXEME.finditer(span.source.text, span.start, span.end)
    return [Word(m.lastgroup, Span(span.source, m.start(), m.end())) for m in found if m.lastgroup]


def broken(span: Span) -> ast.Broken:
    """The node that replaces a statement that does not parse."""
    text = span.text
    first = _WORD.match(text)  # a `=` may be what is missing behind it
    bound = (*(match[1] or match[2] for match in _BINDS.finditer(text)), *([first[0]] if first else []))
    return ast.Broken(span, (*bound, *_meant(text)), tuple(_WORD.findall(text)))


def _meant(text: str) -> list[str]:
    """Names that an invalid name such as `2sl` or `s-l` may have meant: its parts, and these put together."""
    found = _LEFT.match(text)
    assert found is not None  # it matches the empty text, too
    left, sign = found.groups()
    name, used, _ = left.partition(" from ")
    parts = re.findall(r"\w+", name, re.ASCII) if sign or used else []
    return [name[0] for each in (*parts, "".join(parts), "_".join(parts)) if (name := _WORD.search(each))]


class Place(NamedTuple):
    """The place where a statement stopped making sense: its words, and the index of the first that does not fit."""

    words: list[Word]
    at: int
    end: Span  # an empty span behind the statement

    def word(self, offset: int = 0) -> str:
        """The text of the word `offset` from the wrong one; "" beyond either end."""
        index = self.at + offset
        return self.words[index].text if 0 <= index < len(self.words) else ""

    def kind(self, offset: int = 0) -> str:
        index = self.at + offset
        return self.words[index].kind if 0 <= index < len(self.words) else ""

    @property
    def depth(self) -> int:
        """Number of open brackets."""
        before = [word.text for word in self.words[: self.at]]
        return sum((text in CLOSERS.values()) - (text in CLOSERS) for text in before)

    def span(self, offset: int = 0) -> Span:
        index = self.at + offset
        return self.words[index].span if 0 <= index < len(self.words) else self.end


def explain(statement: Span, error: UnexpectedInput, report: Diagnostics) -> None:
    """Report the most likely mistake that causes a parse error."""
    found = words(statement)
    ended = getattr(getattr(error, "token", None), "type", "") == "$END"
    offset = statement.end
    if not ended:
        assert error.pos_in_stream is not None  # Lark knows where a word stands
        offset = statement.start + error.pos_in_stream
    at = next((i for i, word in enumerate(found) if word.span.end > offset), len(found))
    place = Place(found, at, Span(statement.source, statement.end, statement.end))
    if isinstance(error, UnexpectedCharacters) and _odd_character(Span(statement.source, offset, offset + 1), report):
        return
    for slip in _SLIPS:
        if slip(place, report):
            return
    _generic(place, error, report)


def _odd_character(span: Span, report: Diagnostics) -> bool:
    """Report a character that no program may contain; True if it is one."""
    if span.text.isascii() and span.text.isprintable() or span.text in _QUOTES:
        return False
    invisible = f"U+{ord(span.text):04X} ({unicodedata.name(span.text, 'a control character').lower()})"
    seen = f"`{span.text}`" if span.text.isprintable() else invisible
    hint = "names are made of a-z, A-Z, 0-9 and _" if span.text.isalnum() else "remove it"
    report.report("E008", f"the character {seen} means nothing here", span, hint=hint)
    return True


def _indented_statement(place: Place, report: Diagnostics) -> bool:
    span = place.span()
    line, column = span.source.position(span.start)
    first = column > 1 and not span.source.line(line, column - 1).strip()
    if not (place.at and first and not place.depth and looks_like_statement(span.source.text, span.start)):
        return False
    report.report("E108", "statements start in column 1", span, "indented", hint="remove the spaces before it")
    return True


def _binding(place: Place, report: Diagnostics) -> bool:
    if place.word() not in (":", "=="):
        return False
    report.report("E105", f"`{place.word()}` does not bind anything", place.span(), hint="write `=`")
    return True


def _quote(place: Place, report: Diagnostics) -> bool:
    if place.word() not in _QUOTES:
        return False
    report.report("E115", "strings stand in straight double quotes", place.span(), hint='write "…"')
    return True


def _other_pipe(place: Place, report: Diagnostics) -> bool:
    """`|`, `>`, `->` or `=>` where `|>` is meant."""
    arrow = place.word() == ">" and place.word(-1) == "-" or place.word() == "=" and place.word(1) == ">"
    call = place.word() == ">" and place.kind(1) == "word" and place.word(2) == "("
    if not (arrow or call or place.word() == "|") or place.words[0].text == "expect":
        return False
    span = place.span(-1).to(place.span()) if place.word(-1) == "-" else place.span()
    span = span.to(place.span(1)) if place.word(1) in (">", "|") else span
    report.report("E118", f"`{span.text}` is no pipe", span, hint="write `|>`")
    return True


def _late_level(place: Place, report: Diagnostics) -> bool:
    """`"why" at 95%`."""
    if place.words[0].text != "expect" or place.word() != "at" or place.kind(-1) != "text":
        return False
    hint = f"write  at {place.word(1) or '95%'} {place.word(-1)}"
    report.report("E101", "the reason of an `expect` comes last, after its level", place.span(), hint=hint)
    return True


def _inner_level(place: Place, report: Diagnostics) -> bool:
    """`expect all (a < b at 95%)`."""
    if place.words[0].text != "expect" or place.word() != "at" or not place.depth:
        return False
    hint = f"write  expect all (…) at {place.word(1) or '95%'}"
    report.report("E101", "the claims of an `expect all` have one level, behind them all", place.span(), hint=hint)
    return True


def _stray_comma(place: Place, report: Diagnostics) -> bool:
    if place.word() == ",":
        span = place.span()
    elif place.word() in CLOSERS and place.word(-1) == ",":
        span = place.span(-1)
    else:
        return False
    braces = any(word.text == "{" for word in place.words)
    why = "fields are separated by spaces" if braces else "a comma separates two arguments"
    report.report("E106", "remove this comma", span, hint=why)
    return True


def _operator_after_pipe(place: Place, report: Diagnostics) -> bool:
    if place.word() not in ("+", "-", "*", ".") or place.word(-1) != ")":
        return False
    depth, pipe, call = 0, None, None
    for word in reversed(place.words[: place.at]):
        depth += (word.text in CLOSERS) - (word.text in ("(", "[", "{"))
        if depth < 0:
            break
        if depth == 0 and word.text == "|>":
            pipe = word
            break
        call = word.span if depth == 0 and word.kind == "word" else call
    if pipe is None or call is None:
        return False
    op = place.word()
    hint = f"parenthesise: (… |> {call.text}(…)) {op} …" if op != "." else f"parenthesise: (… |> {call.text}(…)).name"
    message = f"`{op}` after a pipe could mean two things"
    report.report("E107", message, place.span(), "applies to what?", Label(pipe.span, "the pipe"), hint=hint)
    return True


def _pipe_without_call(place: Place, report: Diagnostics) -> bool:
    if place.word(-2) == "|>" and place.kind(-1) == "word" and place.word() != "(":
        span = place.span(-1)
        message = f"`{span.text}` after `|>` is not called"
        report.report("E114", message, span, "needs parentheses", hint=f"write `{span.text}()`")
        return True
    return False


def _comparison(place: Place, report: Diagnostics) -> bool:
    if not place.words or place.words[0].text != "expect" or place.word() not in ("=", "==", "!"):
        return False
    message = "an `expect` compares with `<`, `<=`, `>` or `>=`"
    hint = "measured numbers are never exactly equal; say which side is smaller"
    report.report("E113", message, place.span(), hint=hint)
    return True


_BEFORE_NAME = ("let", "use", "stage", "sweep", "(", ",")


def _reserved(place: Place, report: Diagnostics) -> bool:
    first = place.words[0].text
    if first in KEYWORDS and place.at == 1 and place.word() == "=":
        span = place.words[0].span
    elif place.word() in KEYWORDS and (place.word(1) == "=" or place.word(-1) in _BEFORE_NAME):
        span = place.span()
    else:
        return False
    report.report("E111", f"`{span.text}` is a word of the language", span, hint="choose another name")
    return True


def _number(place: Place, report: Diagnostics) -> bool:
    point = 0 if place.word() == "." else -1
    if place.word() == "." and place.kind(1) == "number":
        message, span = "a number begins with a digit", place.span().to(place.span(1))
        report.report("E119", message, span, hint=f"write 0.{place.word(1)}")
    elif place.word(point) == "." and place.kind(point - 1) == "number":
        whole, span = place.word(point - 1), place.span(point - 1).to(place.span(point))
        report.report("E119", "a number does not end in a point", span, hint=f"write {whole}.0 or {whole}")
    elif place.kind(-1) == "number" and place.word() in SUFFIXES and place.word(1) != "=":
        message, span = "a unit stands directly behind its number", place.span(-1).to(place.span())
        report.report("E119", message, span, hint=f"write {place.word(-1)}{place.word()}")
    elif place.kind(-1) == "number" and place.kind() in ("number", "word") and place.span(-1).end == place.span().start:
        span = place.span(-1).to(place.span())
        report.report("E119", f"`{span.text}` is not a number", span)
    else:
        return False
    return True


def _missing_comma(place: Place, report: Diagnostics) -> bool:
    begins = place.kind() in ("word", "number", "text")
    ends = place.kind(-1) in ("word", "number", "text") or place.word(-1) in (")", "]")
    if not (place.depth > 0 and begins and ends) or place.words[0].text == "constitution":
        return False
    before = place.span(-1)
    span = Span(before.source, before.end, before.end)
    report.report("E110", f"a comma is missing before `{place.word()}`", span, hint="separate arguments by commas")
    return True


def _not_a_statement(place: Place, report: Diagnostics) -> bool:
    first = place.words[0]
    if place.at > 1 or first.text in KEYWORDS:
        return False
    if place.kind() == "word" and (hint := report.did_you_mean(first.text, _STARTERS)):
        report.report("E112", f"`{first.text}` begins no statement", first.span, hint=hint)
    elif first.kind == "word" and place.word() in ("(", "|>", "+", "*", ".", ""):
        message = "nothing is bound here"
        report.report("E112", message, first.span, "a value without a name", hint=f"write `name = {first.text}…`")
    else:
        hint = f"a statement binds a name, or begins with {listed(_STARTERS)}"
        report.report("E112", f"`{first.text}` begins no statement", first.span, hint=hint)
    return True


_STARTERS = ("use", "let", "constitution", "expect", "sweep", "run")
_SLIPS: tuple[Callable[[Place, Diagnostics], bool], ...] = (
    _indented_statement,
    _comparison,
    _binding,
    _quote,
    _other_pipe,
    _late_level,
    _inner_level,
    _number,
    _stray_comma,
    _operator_after_pipe,
    _pipe_without_call,
    _reserved,
    _missing_comma,
    _not_a_statement,
)

_TERMINALS = {
    "NAME": "a name",
    "NUMBER": "a number",
    "STRING": "a string",
    "CMP": "`<` or `>`",
    "EQUAL": "`=`",
    "LPAR": "`(`",
    "RPAR": "`)`",
    "LSQB": "`[`",
    "RSQB": "`]`",
    "LBRACE": "`{`",
    "RBRACE": "`}`",
    "FROM": "`from`",
    "IN": "`in`",
    "RANGE": "`..`",
}


def _generic(place: Place, error: UnexpectedInput, report: Diagnostics) -> None:
    found = f"`{place.word()}`"
    if isinstance(error, UnexpectedCharacters) and place.word():
        hint = "a comment begins with #" if place.word() == place.word(1) == "/" else "remove it"
        report.report("E008", f"the character {found} means nothing here", place.span(), hint=hint)
        return
    fitting = getattr(error, "accepts", None) or getattr(error, "expected", None) or ()
    wanted = [name for terminal, name in _TERMINALS.items() if terminal in fitting][:4]
    expected = f"expected {' or '.join(filter(None, (', '.join(wanted[:-1]), wanted[-1])))}" if wanted else ""
    if place.word():
        after = f" after `{place.word(-1)}`" if place.word(-1) else ""
        report.report("E101", f"{found} does not fit{after}", place.span(), expected or "not expected here")
    else:
        report.report("E117", f"the statement ends after `{place.word(-1)}`", place.span(), expected)
