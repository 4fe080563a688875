"""From Lark's tree of one statement to the typed one."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from lark import Token, Tree

from cai_jax.lang import ast
from cai_jax.lang.source import Source, Span

NUMBER = r"[0-9](?:_?[0-9])*(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?(?:[A-Za-z]+|%)?"  # as in the grammar
_ESCAPES = {"n": "\n", "t": "\t", '"': '"', "\\": "\\"}
BAD_ESCAPE = re.compile(r'\\[^nt"\\]')


class Builder:
    """Build the statement whose text began at `offset` of `source`; `docs` are the `##` lines above it."""

    def __init__(self, source: Source, offset: int, docs: str) -> None:
        self.source = source
        self.offset = offset
        self.docs = docs

    def statement(self, tree: Tree) -> ast.Statement:
        """From the tree of the grammar's `start`."""
        return self.node(tree.children[0])

    def node(self, tree: Tree) -> Any:
        build: Callable[[Span, list], Any] = getattr(self, f"_{tree.data}")
        return build(self.span(tree.meta.start_pos, tree.meta.end_pos), tree.children)

    def span(self, start: int, end: int) -> Span:
        return Span(self.source, self.offset + start, self.offset + end)

    def name(self, token: Token) -> ast.Name:
        assert token.start_pos is not None and token.end_pos is not None  # Lark's lexer sets both
        return ast.Name(self.span(token.start_pos, token.end_pos), str(token))

    def arguments(self, tree: Tree | None) -> tuple[ast.Argument, ...]:
        return tuple(self.node(child) for child in tree.children) if tree else ()

    def optional(self, tree: Tree | None) -> Any:
        return self.node(tree) if tree else None

    def _use(self, span: Span, children: list) -> ast.Use:
        return ast.Use(span, self.name(children[0]), self.node(children[1]))

    def _use_stage(self, span: Span, children: list) -> ast.UseStage:
        return ast.UseStage(span, self.name(children[0]), self.node(children[1]))

    def _let(self, span: Span, children: list) -> ast.Let:
        name, value, bounds = children
        return ast.Let(span, self.name(name), self.node(value), self.optional(bounds), self.docs)

    def _bind(self, span: Span, children: list) -> ast.Bind:
        return ast.Bind(span, self.name(children[0]), self.node(children[1]))

    def _expect(self, span: Span, children: list) -> ast.Expect:
        claim, level, why = children
        return ast.Expect(span, (self.node(claim),), False, self.optional(level), self.optional(why))

    def _expect_all(self, span: Span, children: list) -> ast.Expect:
        _, *claims, level, why = children
        made = tuple(self.node(claim) for claim in claims)
        return ast.Expect(span, made, True, self.optional(level), self.optional(why))

    def _claim(self, span: Span, children: list) -> ast.Comparison:
        left, op, right = children
        return ast.Comparison(span, self.node(left), str(op), self.node(right))

    def _sweep(self, span: Span, children: list) -> ast.Sweep:
        return ast.Sweep(span, self.name(children[0]), self.node(children[1]))

    def _run(self, span: Span, children: list) -> ast.Run:
        return ast.Run(span, self.arguments(children[0]))

    def _constitution(self, span: Span, children: list) -> ast.Constitution:
        return ast.Constitution(span, self.name(children[0]), tuple(self.node(child) for child in children[1:]))

    def _principle(self, span: Span, children: list) -> ast.PrincipleNode:
        return ast.PrincipleNode(span, self.name(children[0]), tuple(self.node(child) for child in children[1:]))

    def _field(self, span: Span, children: list) -> ast.Field:
        return ast.Field(span, self.name(children[0]), self.node(children[1]))

    def _pipe(self, span: Span, children: list) -> ast.Pipe:
        return ast.Pipe(span, self.node(children[0]), tuple(self.node(child) for child in children[1:]))

    def _sum(self, span: Span, children: list) -> ast.Sum:
        terms = tuple(self.node(child) for child in children[0::2])
        return ast.Sum(span, terms, tuple(str(sign) for sign in children[1::2]))

    def _product(self, span: Span, children: list) -> ast.Product:
        return ast.Product(span, tuple(self.node(child) for child in children))

    def _select(self, span: Span, children: list) -> ast.Select:
        value, *steps = children
        return ast.Select(span, self.node(value), tuple(map(self._step, steps)))

    def _step(self, step: Token | Tree) -> ast.Name | ast.Method:
        return self.name(step) if isinstance(step, Token) else self.node(step)

    def _method(self, span: Span, children: list) -> ast.Method:
        name, arguments = children
        return ast.Method(span, self.name(name), self.arguments(arguments))

    def _in_arm(self, span: Span, children: list) -> ast.InArm:
        return ast.InArm(span, self.name(children[0]), tuple(self.node(child) for child in children[1:]))

    def _name(self, span: Span, children: list) -> ast.Name:
        return ast.Name(span, str(children[0]))

    def _hole(self, span: Span, children: list) -> ast.Hole:
        return ast.Hole(span)

    def _call(self, span: Span, children: list) -> ast.Call:
        name, arguments, settings = children
        return ast.Call(span, self.name(name), self.arguments(arguments), self.arguments(settings))

    def _keyword(self, span: Span, children: list) -> ast.Argument:
        return ast.Argument(span, self.name(children[0]), self.node(children[1]))

    def _positional(self, span: Span, children: list) -> ast.Argument:
        return ast.Argument(span, None, self.node(children[0]))

    def _list(self, span: Span, children: list) -> ast.List:
        return ast.List(span, tuple(self.node(child) for child in children if child is not None))

    def _range(self, span: Span, children: list) -> ast.Range:
        return ast.Range(span, self.node(children[0]), self.node(children[1]))

    def _number(self, span: Span, children: list) -> ast.Number:
        minus, digits = children
        return number(span, f"{minus or ''}{digits}")

    def _text(self, span: Span, children: list) -> ast.Text:
        return ast.Text(span, tuple(unescape(str(child)) for child in children))


def number(span: Span, text: str) -> ast.Number:
    """A number from its text, such as "-1.5k"."""
    found = re.fullmatch(r"-?(.*?[0-9])([A-Za-z]*|%)", text)
    assert found is not None  # as every NUMBER, with a minus or without
    digits, unit = found.groups()
    value = float(digits.replace("_", ""))
    return ast.Number(span, text, -value if text.startswith("-") else value, unit)


def unescape(quoted: str) -> str:
    r"""The value of a quoted string: \n, \t, \" and \\ mean the same as in Python."""
    return re.sub(r"\\(.)", lambda match: _ESCAPES.get(match[1], match[0]), quoted[1:-1])
