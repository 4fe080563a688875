"""The decorator by which a stage of the user's own is declared, in Python and in a file that a program uses."""

from __future__ import annotations

import functools
import inspect
import linecache
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cai_jax.errors import UserError
from cai_jax.lang.signature import Code
from cai_jax.lang.source import shown_path
from cai_jax.lang.stage_declaration import Undeclarable, signature
from cai_jax.lang.user_stages import read_text

if TYPE_CHECKING:
    from cai_jax.api.stage_calls import Made

Run = Callable[[Any], Mapping[str, Any] | None]


class UserStage:
    """A stage (`stages.protocol.Stage`) of the user's own, which can be called as `cai_jax.sample` can.

    Args:
      run: the decorated function. fields: the decorator's arguments.
      functions: those of the protocol's optional ones that it was given, by name.

    Raises:
      UserError: it does not declare a stage, or the name is taken.
    """

    def __init__(self, run: Run, fields: Mapping[str, Any], functions: Mapping[str, Callable[..., Any]]) -> None:
        from cai_jax.stages import registry

        name, at = run.__name__, run.__code__
        self._at = f"{shown_path(Path(at.co_filename))}:{at.co_firstlineno}"
        if name in registry():
            raise UserError(f"`{name}` is a stage already", "give the function another name")
        try:
            self.SIGNATURE = signature(name, inspect.cleandoc(run.__doc__ or ""), fields, _code(run, tuple(functions)))
        except Undeclarable as error:
            raise UserError(f"{self._at}: {error.message}", error.hint) from None
        functools.update_wrapper(self, run)
        self._run = run
        vars(self).update(functions)

    def run(self, ctx: Any) -> Mapping[str, Any] | None:
        """Make the node.

        Raises:
          UserError: a metric does not return a figure.
        """
        result = self._run(ctx)
        if self.SIGNATURE.group == "metric" and not (isinstance(result, Mapping) and "left_out" in result):
            name = self.SIGNATURE.name
            raise UserError(
                f"{self._at}: the metric `{name}` returns no figure", "end it with  return measured(ctx, rows)"
            )
        return result

    def __call__(self, *given: Any, **named: Any) -> Made:
        """Make a node by this stage, or find it in the cache, under the key that a program gives it.

        Raises:
          UserError: the call is wrong, or the source of the stage is not available.
        """
        from cai_jax.api.stage_calls import call

        if self.SIGNATURE.code is None:
            name = self.SIGNATURE.name
            raise UserError(f"the source of `{name}`, by which its results are known, is not there", "put it in a file")
        return call(self.SIGNATURE, given, named, {self.SIGNATURE.name: self})


def stage(fields: Mapping[str, Any], functions: Mapping[str, Callable[..., Any] | None]) -> Callable[[Run], UserStage]:
    """See `cai_jax.stage`; what is not given is None."""
    given = {name: value for name, value in fields.items() if value is not None}
    known = {name: function for name, function in functions.items() if function is not None}
    return lambda run: UserStage(run, given, known)


def _code(run: Run, given: tuple[str, ...]) -> Code | None:
    """The file, or the cell of a notebook, of a function, as it is now; None where it is not available."""
    path = run.__code__.co_filename
    try:
        return Code(str(Path(path).absolute()), read_text(path), given)
    except (OSError, ValueError):
        lines = linecache.getlines(path)
        return Code(path, "".join(lines), given) if lines else None
