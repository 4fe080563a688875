"""Chat templates rendered as transformers renders them, within limits.

A chat template is a program that comes with a model. It runs in Jinja's sandbox, and whatever it computes is weighed,
letter by letter and pass by pass: one that never ends, or that writes without end, is an error in bounded time and
memory, in any thread and on any system.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from datetime import datetime
from typing import Any

from jinja2 import TemplateError, nodes, pass_context
from jinja2.ext import Extension, loopcontrols
from jinja2.runtime import Context, LoopContext, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

from cai_jax.errors import UserError

# Templates that write the date would change a prompt overnight: for all of them it is one day.
DAY = datetime(2024, 7, 26)

# Published templates have up to 40,000 letters, and compute a few hundred thousand of a conversation of fifty turns.
LONGEST = 2**18  # letters of a template
LARGEST = 2**18  # letters, or entries of a list with all that is in it, of one value
WORK = 2**22  # letters and entries of all values together; about a second
# What a pass of a loop and a call cost beside what they compute: about as long as so many letters take.
PASS, CALL = 64, 512

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
def _compiled(source: str):
    return _Sandbox().from_string(source)


def _weighed(value: Any) -> Any:
    """`value`, its size taken off the work that is left; nothing is counted while a template is compiled."""
    if _left.get(None) is not None:
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
        if isinstance(each, str | bytes):
            total += len(each)
        elif isinstance(each, int):
            total += each.bit_length() // 8
        elif isinstance(each, Mapping):
            stack += [*each.keys(), *each.values()]
        elif isinstance(each, list | tuple | set | frozenset):
            stack += each
        if total > LARGEST:
            raise TemplateError(f"it makes a value of more than {LARGEST} letters")
    return total


def _bounded(values: Sequence[Any]) -> None:
    """Refuses a function's arguments if the result could be huge: at most the product of their sizes."""
    product = 1
    for value in values:
        product *= max(1, abs(value) if isinstance(value, int) else _size(value))
        if product > WORK:
            raise TemplateError("it makes a value that is too large")


def _bounded_format(text: Any) -> None:
    if isinstance(text, str) and re.search(r"\d{5}", text):  # a width: '%99999d', '{:99999}'
        raise TemplateError("it makes a value that is too large")


class _Weighing(NodeTransformer):
    """Has everything that a template writes or computes pass through `_weighed`, and its loops through `_passes`."""

    def visit_For(self, node: nodes.For) -> nodes.Node:
        self.generic_visit(node)
        node.iter = _through("passes", node.iter)
        return node

    def visit_Output(self, node: nodes.Output) -> nodes.Node:
        self.generic_visit(node)
        texts = [nodes.Const(each.data) if isinstance(each, nodes.TemplateData) else each for each in node.nodes]
        node.nodes = [_through("weighed", each) for each in texts]
        return node

    def visit_AssignBlock(self, node: nodes.AssignBlock) -> nodes.Node:
        self.generic_visit(node)
        node.filter = _through("weighed", node.filter)
        return node

    def visit_Operand(self, node: nodes.Operand) -> nodes.Node:
        self.generic_visit(node)
        node.expr = _through("weighed", node.expr)
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        self.generic_visit(node)
        if isinstance(node.arg, nodes.Slice):
            node.node = _through("weighed", node.node)
        return node

    def visit_CallBlock(self, node: nodes.CallBlock) -> nodes.Node:
        self.generic_visit(node)
        node.call = node.call.node  # a statement's own call stays one; what it writes is weighed in the macro
        return node

    def _computed(self, node: nodes.Expr) -> nodes.Node:
        self.generic_visit(node)
        return _through("weighed", node) if getattr(node, "ctx", "load") == "load" else node

    visit_Call = visit_Filter = visit_Concat = visit_List = visit_Tuple = visit_Dict = _computed


def _through(name: str, node: nodes.Expr | None) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=getattr(node, "lineno", 1))


class _Generation(Extension):
    """`{% generation %}`, by which templates mark what an assistant says: its content, as it is."""

    tags = {"generation"}

    def parse(self, parser) -> nodes.Node:
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)


class _Sandbox(ImmutableSandboxedEnvironment):
    """What transformers gives a template, weighed."""

    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%", "**"})

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols])
        filters = self.filters | {"tojson": _json}
        del filters["random"], self.globals["lipsum"]  # a prompt is the same every time
        self.filters = {name: _guarded(name, each) for name, each in filters.items()}
        self.filters |= {"weighed": pass_context(lambda _, value: _weighed(value)), "passes": pass_context(_passes)}
        self.globals |= {"raise_exception": _raise, "strftime_now": DAY.strftime}
        self.globals |= {"namespace": _Namespace, "dict": _Dict()}

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        return _Weighing().visit(super()._parse(source, name, filename)).set_environment(self)

    def call(__self, __context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805, as of the base class
        if _left.get(None) is not None:
            _spend(CALL)
        if isinstance(__obj, LoopContext):
            args = tuple(_passes(__context, each) for each in args)
        elif not (isinstance(__obj, Macro | _Dict) or __obj in (_raise, _Namespace)):  # these make nothing larger
            told = getattr(__obj, "__self__", None)
            if getattr(__obj, "__name__", "") in ("format", "format_map"):
                _bounded_format(getattr(getattr(__obj, "__wrapped__", __obj), "__self__", ""))
            _bounded([told if isinstance(told, str | list | dict) else 1, *args, *kwargs.values()])
        return super().call(__context, __obj, *args, **kwargs)

    def call_binop(self, context, operator: str, left: Any, right: Any) -> Any:
        if operator == "%" and isinstance(left, str):
            _bounded_format(left)
            _bounded([left, 1, _size(right)])
        if operator == "*" and not (isinstance(left, int) and isinstance(right, int)):
            _bounded([left, right])
        if operator == "**" and isinstance(left, int) and isinstance(right, int):
            _bounded([left.bit_length(), right])
        return _weighed(super().call_binop(context, operator, left, right))


def _guarded(name: str, function: Callable) -> Callable:
    """A filter whose arguments are bounded before it is called; its result is weighed by `_Weighing`."""

    @functools.wraps(function)  # keeps the marks by which Jinja knows filters that take a context
    def guarded(*args: Any, **kwargs: Any) -> Any:
        if name == "format":
            _bounded_format(args[0])
        values = [each for each in (*args, *kwargs.values()) if not isinstance(each, Context)]  # a Mapping, but no data
        _bounded([each for each in values if isinstance(each, str | int | list | tuple | Mapping)])
        found = function(*args, **kwargs)
        return list(found) if isinstance(found, Iterator) else found

    return guarded


@pass_context
def _passes(context: Any, iterable: Any) -> Iterator[Any]:
    for each in iterable:
        _spend(PASS)
        yield each


def _raise(message: str) -> None:
    raise TemplateError(message)


def _json(value: Any, ensure_ascii: bool = False, indent=None, separators=None, sort_keys: bool = False) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


class _Namespace(Namespace):
    """Jinja's, without names that begin with an underscore."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        values = dict(*args[1:], **kwargs)
        for name in values:
            _Namespace.allowed(name)
        Namespace.__init__(args[0], values)

    def __setitem__(self, name: str, value: Any) -> None:
        _Namespace.allowed(name)
        Namespace.__setitem__(self, name, value)

    @staticmethod
    def allowed(name: Any) -> None:
        if isinstance(name, str) and name.startswith("_"):
            raise TemplateError(f"it gives a namespace the name {name!r}")


class _Dict:
    """What a template may do with the type of dictionaries."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    fromkeys = staticmethod(dict.fromkeys)
