"""The program as a tree: frozen dataclasses with the span of text each came from.

Spans do not take part in comparison, so two layouts of one program are equal. Chains (`|>`, `+`, `*`, `.`) are flat,
so that the depth of a tree is bounded by the nesting of brackets, which the parser limits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar, dataclass_transform

from cai_jax.lang.source import Source, Span

_Made = TypeVar("_Made")


@dataclass_transform(frozen_default=True, eq_default=False)
def _node(made: type[_Made]) -> type[_Made]:
    """A dataclass without comparison of its own: that is written once, in Node.

    Letting `dataclass` generate it for every class doubles the time of this import.
    """
    return dataclass(frozen=True, eq=False, repr=False)(made)


@_node
class Node:
    """Part of a program. Equal if the class and everything but the spans is equal."""

    span: Span

    def _meaning(self) -> tuple[Any, ...]:
        return tuple(value for name, value in vars(self).items() if name not in ("span", "source"))

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self._meaning() == other._meaning()

    def __hash__(self) -> int:
        return hash((type(self), self._meaning()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}{self._meaning()!r}"


@_node
class Name(Node):
    """A name where it is read or bound."""

    id: str


@_node
class Number(Node):
    """A number as written: `value` without its suffix, `unit` the suffix ("", "k", "%", "Gi", …)."""

    text: str
    value: float
    unit: str


@_node
class Text(Node):
    """A string; several in a row are one, joined by a space."""

    parts: tuple[str, ...]

    @property
    def value(self) -> str:
        return " ".join(self.parts)


@_node
class Range(Node):
    """`low..high`, both included; each end is a number or the name of a knob."""

    low: Number | Name
    high: Number | Name


@_node
class List(Node):
    """`[a, b]`."""

    items: tuple[Expr, ...]


@_node
class Hole(Node):
    """The `_` of a flow: prompts still to come."""


@_node
class Argument(Node):
    """An argument or setting; `name` is None where it is given by position."""

    name: Name | None
    value: Expr


@_node
class Call(Node):
    """`name(arguments) with (settings)`."""

    name: Name
    arguments: tuple[Argument, ...]
    settings: tuple[Argument, ...]


@_node
class Pipe(Node):
    """`source |> calls[0] |> …`."""

    source: Expr
    calls: tuple[Call, ...]


@_node
class Sum(Node):
    """`terms[0] signs[0] terms[1] …` with signs "+" or "-"."""

    terms: tuple[Expr, ...]
    signs: tuple[str, ...]


@_node
class Product(Node):
    """`factors[0] * factors[1] …`."""

    factors: tuple[Expr, ...]


@_node
class Method(Node):
    """`name(arguments)` behind a point."""

    name: Name
    arguments: tuple[Argument, ...]


@_node
class Select(Node):
    """`value.steps[0].steps[1] …`: names of splits and of principles, and methods."""

    value: Expr
    steps: tuple[Name | Method, ...]


@_node
class InArm(Node):
    """`name[knob=value, …]`: what a name is bound to in another arm of the sweeps."""

    name: Name
    values: tuple[Argument, ...]


Expr = Name | Number | Text | Range | List | Hole | Call | Pipe | Sum | Product | Select | InArm


@_node
class Use(Node):
    """`use name from path`."""

    name: Name
    path: Text


@_node
class UseStage(Node):
    """`use stage name from path`."""

    name: Name
    path: Text


@_node
class Let(Node):
    """`let name = value in range`; `help` is the `##` text above it."""

    name: Name
    value: Expr
    range: Range | None
    help: str


@_node
class Bind(Node):
    """`name = value`."""

    name: Name
    value: Expr


@_node
class Field(Node):
    """`name = value` inside of a constitution or principle."""

    name: Name
    value: Expr


@_node
class PrincipleNode(Node):
    """`principle name { … }`."""

    name: Name
    fields: tuple[Field, ...]


@_node
class Constitution(Node):
    """`constitution name { … }`."""

    name: Name
    items: tuple[Field | PrincipleNode, ...]


@_node
class Comparison(Node):
    """`left op right`."""

    left: Expr
    op: str
    right: Expr


@_node
class Expect(Node):
    """`expect claim at level why`, or, `together`, `expect all (claim, claim, …) at level why`."""

    claims: tuple[Comparison, ...]
    together: bool
    level: Number | None
    why: Text | None


@_node
class Sweep(Node):
    """`sweep name in values`."""

    name: Name
    values: List


@_node
class Run(Node):
    """`run (settings)`."""

    settings: tuple[Argument, ...]


@_node
class Broken(Node):
    """A statement that does not parse: the names it may have bound and those it may have used."""

    bound: tuple[str, ...]
    used: tuple[str, ...]


Statement = Use | UseStage | Let | Bind | Constitution | Expect | Sweep | Run | Broken


@_node
class Program(Node):
    """All statements of a source, in order."""

    source: Source
    statements: tuple[Statement, ...]


def parts(expr: Expr) -> tuple[Expr, ...]:
    """The expressions directly inside of an expression."""
    match expr:
        case List(items=items):
            return items
        case Range(low=low, high=high):
            return (low, high)
        case Call(arguments=arguments, settings=settings):
            return tuple(argument.value for argument in (*arguments, *settings))
        case Pipe(source=source, calls=calls):
            return (source, *calls)
        case Sum(terms=terms):
            return terms
        case Product(factors=factors):
            return factors
        case Select(value=value, steps=steps):
            methods = (step for step in steps if isinstance(step, Method))
            return (value, *(argument.value for method in methods for argument in method.arguments))
        case InArm(name=name, values=values):
            return (name, *(argument.value for argument in values))
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
