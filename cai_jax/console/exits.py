"""The end of a command: its exit code, and its message where it did not finish."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from cai_jax.console import streams
from cai_jax.exit_codes import (
    INTERRUPTED,
    PROGRAM_WRONG,
    STAGE_FAILED,
    USAGE,
    Interrupted,
    ProgramWrong,
    StageFailed,
    UserError,
)
from cai_jax.terminal import say, under, visible

BROKEN_PIPE = 141  # as of a process that SIGPIPE has ended


class Group(click.Group):
    """Commands whose output may be cut short by its reader, which click would take for a failure."""

    def make_context(self, *given: Any, **more: Any) -> click.Context:
        try:
            return super().make_context(*given, **more)
        except BrokenPipeError:
            raise click.exceptions.Exit(BROKEN_PIPE) from None

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except BrokenPipeError:
            raise click.exceptions.Exit(BROKEN_PIPE) from None


def code_of(commands: click.Group, arguments: Sequence[str]) -> int:
    """Run a command line to its end; return the exit code, one of those in `exit_codes`.

    A command with an output folder leaves it in the context's `obj["out"]`, for tracebacks.
    """
    code = _code_of(commands, arguments)
    try:
        streams.finish()
    except BrokenPipeError:
        return BROKEN_PIPE
    except OSError as error:
        # A command that has failed has said so on stderr, but one whose result is lost has not succeeded.
        return code or _fail(_said(f"stdout cannot be written: {error.strerror}"), USAGE)
    return code


def _code_of(commands: click.Group, arguments: Sequence[str]) -> int:
    known: dict[str, Path] = {}
    try:
        return commands.main(arguments, prog_name="cai-jax", standalone_mode=False, obj=known) or 0
    except click.ClickException as error:
        usage = f"{error.ctx.get_usage()}\n" if isinstance(error, click.UsageError) and error.ctx else ""
        return _fail(f"{usage}{under('Error: ', error.format_message())}", error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except Interrupted as error:
        return _fail(f"stopped; everything finished is kept. To go on:\n  {_again(arguments)}", error.exit_code)
    except StageFailed as error:
        return _fail(_said(f"{error.where} failed: {error.message}", error.hint), STAGE_FAILED)
    except ProgramWrong as error:
        return _fail(_said(error.message, error.hint), PROGRAM_WRONG)
    except UserError as error:
        return _fail(_said(error.message, error.hint), USAGE)
    except OSError as error:
        return _fail(_said(str(error)), USAGE)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 0
    except BaseException as error:  # a panic in Rust is no Exception
        hint = f"this is a bug; the traceback is {_traceback(known.get('out'))}"
        return _fail(_said(f"{type(error).__name__}: {error}", hint), STAGE_FAILED)


def _said(message: str, hint: str = "") -> str:
    return under("error: ", message) + (under("\n  = help: ", hint) if hint else "")


def _fail(text: str, code: int) -> int:
    say(visible(text), sys.stderr)
    return code


def _traceback(out: Path | None) -> str:
    """The file of the current exception's traceback: in the output folder if that exists already."""
    import tempfile  # with the two others only for bugs
    import time
    import traceback

    name = f"traceback-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    for folder in (out, Path(tempfile.gettempdir())):
        if folder is not None and folder.is_dir():
            try:
                text = traceback.format_exc().encode("utf-8", "backslashreplace")
                (folder / name).write_bytes(text)
                return f"in {folder / name}"
            except OSError:
                continue
    return f"nowhere, since no folder can be written to: {traceback.format_exc(limit=-1)}"


def _again(arguments: Sequence[str]) -> str:
    """The command that continues: the same, but for `--force`, which would start from the beginning."""
    words = list(arguments)
    while "--force" in words:
        at = words.index("--force")
        del words[at : at + 2]
    return shlex.join(["cai-jax", *(word for word in words if not word.startswith("--force="))])
