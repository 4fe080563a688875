"""Chat templates rendered as transformers renders them, within limits.

A chat template is a program that comes with a model. It runs in Jinja's sandbox, and whatever it computes and whatever
it computes that from is weighed, letter by letter and pass by pass: one that never ends, or that writes without end, is
an error in bounded time and memory, in any thread and on any system.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextvars import ContextVar
from datetime import datetime
from string import Formatter
from typing import Any

from jinja2 import Environment, Template, TemplateError, nodes, pass_context
from jinja2.ext import Extension, loopcontrols
from jinja2.nodes import EvalContext
from jinja2.parser import Parser
from jinja2.runtime import Context, LoopContext, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer
from markupsafe import soft_str

from cai_jax.errors import UserError

# Templates that write the date would change a prompt overnight: for all of them it is one day.
DAY = datetime(2024, 7, 26)

# Published templates have up to 40,000 letters, and compute a few hundred thousand of a conversation of fifty turns.
LONGEST = 2**18  # letters of a template
LARGEST = 2**18  # letters, or entries of a list with all that is in it, of one value
NODES = 2**14  # parts of a template: names, constants, operators; one of 40,000 letters has 8,000
BITS = 60  # of an integer: larger ones can be made to share a hash, and are slow to divide
WORK = 2**22  # letters and entries of all values and arguments together; about a second
# What a pass of a loop and a call cost beside their parts and what they compute: as long as so many letters take.
PASS, CALL = 64, 512
READ = 4  # what a function pays for a letter or an entry of its arguments
STEPS = 256  # what it may do for the price of a letter while it looks for one argument in another
# Functions whose time grows with the square of what they are given.
_SQUARE = frozenset({"pprint", "striptags", "sum", "urlize", "wordwrap"})

_left: ContextVar[int] = ContextVar("work left to a template")


class Failed(UserError):
    """A template that cannot be used; `why` is the end of a sentence that begins with its name."""

    def __init__(self, why: str) -> None:
        super().__init__(f"this model's chat template {why}", 'read it as a base model: model(…, format="paper")')


def render(source: str, messages: Sequence[Mapping[str, str]], given: Mapping[str, Any]) -> str:
    """The text of a conversation.

    Args:
      source: the template.
      messages: `{"role": "system" | "user" | "assistant", "content": str}`.
      given: its other variables.

    Raises:
      Failed: it raises an exception, or does not end within the limits.
    """
    if len(source) > LONGEST:
        raise Failed(f"has {len(source)} letters, more than the {LONGEST} that are read")
    before = _left.set(WORK)
    try:
        return "".join(_compiled(source).generate(messages=[dict(each) for each in messages], **given))
    except Exception as error:  # a template is a program: it may raise anything
        raise Failed(f"fails: {str(error) or type(error).__name__}") from None
    finally:
        _left.reset(before)


@functools.lru_cache(maxsize=64)
def _compiled(source: str) -> Template:
    return _Sandbox().from_string(source)


def _weighed(value: Any) -> Any:
    """`value`, its size taken off the work that is left."""
    _spend(1 + _size(value))
    return value


def _spend(work: int) -> None:
    left = _left.get() - work
    if left < 0:
        raise TemplateError("it does not end within the work that a chat template may do")
    _left.set(left)


def _size(value: Any) -> int:
    """Letters of a text; of a collection, those of all that it holds, as often as it holds it."""
    total, stack = 0, [value]
    while stack:
        each = stack.pop()
        total += 1
        if isinstance(each, str):
            total += len(each)
        elif isinstance(each, int):
            if each.bit_length() > BITS:
                raise TemplateError(f"it makes an integer of more than {BITS} bits")
        elif isinstance(each, Mapping):
            stack += [*each.keys(), *each.values()]
        elif isinstance(each, Collection):
            stack += each
        if total > LARGEST:
            raise TemplateError(f"it makes a value of more than {LARGEST} letters")
    return total


def _bounded(name: str, values: Sequence[Any]) -> None:
    """Subtract a function's arguments from the remaining work, and refuse them if the result could be huge.

    The result is at most the product of their sizes, as are the steps of a search for one in another.
    """
    sizes = [max(1, abs(value) if isinstance(value, int) else _size(value)) for value in values]
    product = math.prod(sizes) ** (2 if name in _SQUARE else 1)
    if product > WORK:
        raise TemplateError("it makes a value that is too large")
    _spend(READ * sum(sizes) + product // STEPS)


def _bounded_percents(text: str, values: Sequence[Any]) -> None:
    """Refuse a format like "%9d" of great width, which is written in it or, by `*`, one of the values."""
    _bounded_widths(text, [value for value in values if isinstance(value, int)] if "*" in text else [])


def _bounded_braces(text: str) -> None:
    """The same of one like "{:9}", where it could be any part of a value."""
    if any("{" in (spec or "") for _, _, spec, _ in Formatter().parse(text)):
        raise TemplateError("it makes a text of a width that is not written in the format")
    _bounded_widths(text, [])


def _bounded_widths(text: str, more: Sequence[int]) -> None:
    if sum(map(abs, [*map(int, re.findall(r"\d+", text)), *more])) > LARGEST:
        raise TemplateError("it makes a value that is too large")


class _Weighing(NodeTransformer):
    """Has what a template writes or computes without a call pass through `_weighed`, its loops through `_passes`."""

    def visit_For(self, node: nodes.For) -> nodes.Node:
        self.generic_visit(node)
        node.iter = _through("passes", node.iter)
        if node.test:
            node.test = _through("paid", node.test, nodes.Const(_parts(node.test)))
        return self._begun(node)

    def _repeated(self, node: nodes.Macro | nodes.CallBlock | nodes.Block) -> nodes.Node:
        self.generic_visit(node)
        return self._begun(node)

    visit_Macro = visit_CallBlock = visit_Block = _repeated

    def _begun(self, node: Any) -> nodes.Node:
        """Code that may run often, paying for its parts each time; `node.body` is a list of statements."""
        parts = nodes.Const(sum(map(_parts, node.body)))
        node.body.insert(0, nodes.ExprStmt(_through("paid", nodes.Const(None), parts), lineno=node.lineno))
        return node

    def visit_Output(self, node: nodes.Output) -> nodes.Node:
        self.generic_visit(node)
        texts = [nodes.Const(each.data) if isinstance(each, nodes.TemplateData) else each for each in node.nodes]
        node.nodes = [_through("written", each) for each in texts]
        return node

    def visit_AssignBlock(self, node: nodes.AssignBlock) -> nodes.Node:
        self.generic_visit(node)
        node.filter = _through("weighed", node.filter)
        return node

    def _compared(self, node: nodes.Compare | nodes.Operand) -> nodes.Node:
        self.generic_visit(node)
        node.expr = _through("weighed", node.expr)
        return node

    visit_Compare = visit_Operand = _compared

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        self.generic_visit(node)
        if isinstance(node.arg, nodes.Slice):
            node.node = _through("weighed", node.node)
        else:  # a key, of which a hash is made
            node.arg = _through("weighed", node.arg)
        return node

    def _computed(self, node: nodes.Expr) -> nodes.Node:
        self.generic_visit(node)
        return _through("weighed", node) if getattr(node, "ctx", "load") == "load" else node

    visit_Concat = visit_List = visit_Tuple = visit_Dict = _computed


def _through(name: str, node: nodes.Node | None, *more: nodes.Expr) -> nodes.Filter:
    return nodes.Filter(node, name, list(more), [], None, None, lineno=getattr(node, "lineno", 1))


def _parts(node: nodes.Node) -> int:
    return 1 + sum(1 for _ in node.find_all(nodes.Node))


class _Generation(Extension):
    """`{% generation %}`, by which templates mark what an assistant says: its content, as it is."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)


class _Sandbox(ImmutableSandboxedEnvironment):
    """The environment that transformers gives a template, with its work counted."""

    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%", "**"})

    def __init__(self) -> None:
        # Unoptimized: no part of a template runs, and is counted, when it is compiled.
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols], optimized=False)
        filters = self.filters | {"tojson": _json}
        del filters["random"], self.globals["lipsum"]  # a prompt is the same every time
        at_once = ("count", "length")  # whatever they are given
        self.filters = {name: each if name in at_once else _guarded(name, each) for name, each in filters.items()}
        self.filters |= {"weighed": pass_context(lambda _, value: _weighed(value)), "passes": pass_context(_passes)}
        self.filters |= {"written": pass_context(lambda _, value: _weighed(soft_str(_weighed(value))))}
        self.filters |= {"paid": pass_context(_paid)}
        self.tests = {name: _counted(each) for name, each in self.tests.items()}  # type: ignore[arg-type]  # inferred from some
        self.globals |= {"raise_exception": _raise, "strftime_now": DAY.strftime}
        self.globals |= {"namespace": _Namespace, "dict": _Dict()}

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        found = super()._parse(source, name, filename)
        if _parts(found) > NODES:
            raise TemplateError(f"it has more than {NODES} parts")
        return _Weighing().visit(found).set_environment(self)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Jinja's, and not of bytes: they would be formats too, and some codecs take the square of a text's length."""
        return attr not in ("encode", "to_bytes") and super().is_safe_attribute(obj, attr, value)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805, as of the base class
        told = getattr(getattr(__obj, "__wrapped__", __obj), "__self__", None)
        values = [told, *args, *kwargs.values()]
        _spend(CALL + sum(map(_size, values)))
        if isinstance(__obj, LoopContext):
            args = tuple(_passes(__context, each) for each in args)
        elif not (isinstance(__obj, Macro | _Dict) or __obj in (_raise, _Namespace)):  # these make nothing larger
            name = getattr(__obj, "__name__", "")
            if name in ("format", "format_map") and isinstance(told, str):
                _bounded_braces(told)
            _bounded(name, values)
        return _weighed(super().call(__context, __obj, *args, **kwargs))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        _spend(_size(left) + _size(right))
        if operator == "%" and isinstance(left, str):
            _bounded_percents(left, right if isinstance(right, tuple) else (right,))
            _bounded(operator, [left, _size(right)])
        if operator == "*" and not (isinstance(left, int) and isinstance(right, int)):
            _bounded(operator, [left, right])
        if operator == "**" and isinstance(left, int) and isinstance(right, int):
            if (left.bit_length() - 1) * right > BITS:
                raise TemplateError("it makes a value that is too large")
        return _weighed(super().call_binop(context, operator, left, right))


def _guarded(name: str, function: Callable) -> Callable:
    """A filter whose arguments are bounded before it is called, and whose result is weighed."""

    @functools.wraps(function)  # keeps the marks by which Jinja knows filters that take a context
    def guarded(*args: Any, **kwargs: Any) -> Any:
        values = _values(args, kwargs)
        if name == "format":
            _bounded_percents(str(args[0]), values[1:])
        _bounded(name, values)
        found = function(*args, **kwargs)
        return _weighed(list(_passes(None, found)) if isinstance(found, Iterator) else found)

    return guarded


def _counted(function: Callable) -> Callable:
    """A test whose arguments are taken off the work that is left before it is called."""

    @functools.wraps(function)
    def counted(*args: Any, **kwargs: Any) -> Any:
        _spend(sum(map(_size, _values(args, kwargs))))
        return function(*args, **kwargs)

    return counted


def _values(args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
    """The arguments that a template gives a filter or test, without those that Jinja adds."""
    return [each for each in (*args, *kwargs.values()) if not isinstance(each, Context | EvalContext | Environment)]


def _paid(context: Any, value: Any, work: int) -> Any:
    _spend(work)
    return value


@pass_context
def _passes(context: Any, iterable: Any) -> Iterator[Any]:
    for each in iterable:
        _spend(PASS)
        yield each


def _raise(message: str) -> None:
    raise TemplateError(message)


def _json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    # Piece by piece: what is indented grows with its depth.
    encoder = json.JSONEncoder(ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
    return "".join(map(_weighed, encoder.iterencode(value)))


class _Namespace(Namespace):
    """Jinja's, without names that begin with an underscore, and whose contents cannot be printed."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        values = dict(*args[1:], **kwargs)
        for name in values:
            _Namespace.allowed(name)
        Namespace.__init__(args[0], values)

    def __setitem__(self, name: str, value: Any) -> None:
        _Namespace.allowed(name)
        Namespace.__setitem__(self, name, value)

    def __repr__(self) -> str:
        return "<Namespace>"

    @staticmethod
    def allowed(name: Any) -> None:
        if isinstance(name, str) and name.startswith("_"):
            raise TemplateError(f"it gives a namespace the name {name!r}")


class _Dict:
    """Methods of the type of dictionaries that a template may use."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    fromkeys = staticmethod(dict.fromkeys)
