"""Stages of the user's own as a run sees them: the file is run when one of its functions is first needed."""

from __future__ import annotations

import functools
import sys
import traceback
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from cai_jax.errors import UserError
from cai_jax.lang.signature import Code, Signature
from cai_jax.lang.source import shown_path
from cai_jax.stages.protocol import Context, Stage


class FileStage:
    """A stage (`stages.protocol.Stage`) that a program takes `from` a file. Making this runs nothing of the file.

    Attributes:
      SIGNATURE: as `check` has read it; with the file's text, so that what is run is what was checked and hashed.
      steps, rendered: there where the file gives them.
    """

    def __init__(self, signature: Signature) -> None:
        assert signature.code is not None  # a stage out of a file has its text
        self.SIGNATURE, self._code = signature, signature.code
        for name in self._code.given:
            setattr(self, name, functools.partial(self._call, name))

    def load(self) -> Stage:
        """The stage that the file declares, after running the file, once for all its stages.

        Raises:
          UserError: the file raises.
        """
        return getattr(_module(self._code.path, self._code.text), self.SIGNATURE.name)

    def run(self, ctx: Context) -> Mapping[str, Any] | None:
        return self.load().run(ctx)

    def _call(self, name: str, *given: Any) -> Any:
        return getattr(self.load(), name)(*given)


def with_user_stages(registry: Mapping[str, Stage], signatures: Iterable[Signature]) -> Mapping[str, Stage]:
    """The registry with the stages of a program's own."""
    return {**registry, **{signature.name: FileStage(signature) for signature in signatures}}


@functools.cache
def _module(path: str, text: str) -> ModuleType:
    """The module that a file is, run from this text."""
    digest = Code(path, text).digest
    module = ModuleType(f"{Path(path).stem}_{digest[:8]}")
    module.__file__ = path
    sys.modules[module.__name__] = module  # dataclasses, among others, look for the module of what they are given
    try:
        exec(compile(text, path, "exec"), vars(module))
    except BaseException as error:  # nor may a file that calls `exit` end a run
        del sys.modules[module.__name__]
        if isinstance(error, KeyboardInterrupt | UserError):
            raise
        message = f"{place(error, path) or path}: {type(error).__name__}: {error}"
        raise UserError(message, "mend the file, which is run from top to bottom before its stages are") from error
    return module


def place(error: BaseException, path: str) -> str:
    """The place in a file that an exception comes from, "file.py:line:column"; "" if it did not pass through it."""
    if isinstance(error, SyntaxError) and error.filename == path:
        return f"{shown_path(Path(path))}:{error.lineno}:{error.offset}"
    frames = [each for each in traceback.extract_tb(error.__traceback__) if each.filename == path]
    if not frames:
        return ""
    last = frames[-1]
    return f"{shown_path(Path(path))}:{last.lineno}:{(last.colno or 0) + 1}"
