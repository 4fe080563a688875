"""The program as a tree: frozen dataclasses with the span of text each came from.

Spans do not take part in comparison, so two layouts of one program are equal. Chains (`|>`, `+`, `*`, `.`) are flat,
so that the depth of a tree is bounded by the nesting of brackets, which the parser limits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from cai_jax.lang.source import Source, Span


@dataclass(frozen=True)
class Node:
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True)
class Name(Node):
    id: str


@dataclass(frozen=True)
class Number(Node):
    """A number as written: `value` without its suffix, `unit` the suffix ("", "k", "%", "Gi", …)."""

    text: str
    value: float
    unit: str


@dataclass(frozen=True)
class Text(Node):
    """A string; several in a row are one, joined by a space."""

    parts: tuple[str, ...]

    @property
    def value(self) -> str:
        return " ".join(self.parts)


@dataclass(frozen=True)
class Range(Node):
    low: Number
    high: Number


@dataclass(frozen=True)
class List(Node):
    items: tuple[Expr, ...]


@dataclass(frozen=True)
class Hole(Node):
    """The `_` of a flow: prompts still to come."""


@dataclass(frozen=True)
class Argument(Node):
    name: Name | None
    value: Expr


@dataclass(frozen=True)
class Call(Node):
    name: Name
    arguments: tuple[Argument, ...]
    settings: tuple[Argument, ...]


@dataclass(frozen=True)
class Pipe(Node):
    source: Expr
    calls: tuple[Call, ...]


@dataclass(frozen=True)
class Sum(Node):
    """`terms[0] signs[0] terms[1] …` with signs "+" or "-"."""

    terms: tuple[Expr, ...]
    signs: tuple[str, ...]


@dataclass(frozen=True)
class Product(Node):
    factors: tuple[Expr, ...]


@dataclass(frozen=True)
class Select(Node):
    value: Expr
    names: tuple[Name, ...]


Expr = Name | Number | Text | Range | List | Hole | Call | Pipe | Sum | Product | Select


@dataclass(frozen=True)
class Use(Node):
    name: Name
    path: Text


@dataclass(frozen=True)
class Let(Node):
    name: Name
    value: Expr
    range: Range | None
    help: str


@dataclass(frozen=True)
class Bind(Node):
    name: Name
    value: Expr


@dataclass(frozen=True)
class Field(Node):
    name: Name
    value: Expr


@dataclass(frozen=True)
class PrincipleNode(Node):
    name: Name
    fields: tuple[Field, ...]


@dataclass(frozen=True)
class Constitution(Node):
    name: Name
    items: tuple[Field | PrincipleNode, ...]


@dataclass(frozen=True)
class Expect(Node):
    left: Expr
    op: str
    right: Expr
    level: Number | None
    why: Text | None


@dataclass(frozen=True)
class Sweep(Node):
    name: Name
    values: List


@dataclass(frozen=True)
class Run(Node):
    settings: tuple[Argument, ...]


@dataclass(frozen=True)
class Broken(Node):
    """A statement that does not parse: the names it may have bound and those it may have used."""

    bound: tuple[str, ...]
    used: tuple[str, ...]


Statement = Use | Let | Bind | Constitution | Expect | Sweep | Run | Broken


@dataclass(frozen=True)
class Program:
    source: Source = field(compare=False, repr=False)
    statements: tuple[Statement, ...]


def parts(expr: Expr) -> tuple[Expr, ...]:
    """The expressions directly inside of an expression."""
    match expr:
        case List(items=items):
            return items
        case Call(arguments=arguments, settings=settings):
            return tuple(argument.value for argument in (*arguments, *settings))
        case Pipe(source=source, calls=calls):
            return (source, *calls)
        case Sum(terms=terms):
            return terms
        case Product(factors=factors):
            return factors
        case Select(value=value):
            return (value,)
    return ()


def walk(expr: Expr) -> Iterator[Expr]:
    """The expression and all that it contains."""
    stack = [expr]
    while stack:
        current = stack.pop()
        yield current
        stack.extend(reversed(parts(current)))


def names(expr: Expr) -> set[str]:
    """The names that an expression refers to, called flows included."""
    found = {part.id for part in walk(expr) if isinstance(part, Name)}
    return found | {part.name.id for part in walk(expr) if isinstance(part, Call)}
