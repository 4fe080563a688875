"""How a command ends: its exit code, and what is said where it did not come to its end."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from cai_jax.runs.errors import INTERRUPTED, STAGE_FAILED, USAGE, Interrupted, StageFailed, UserError

BROKEN_PIPE = 141  # as of a process that SIGPIPE has ended


class Group(click.Group):
    """Commands whose output may be cut short by whoever reads it."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except BrokenPipeError:  # which click would take for a failure
            # Python would complain once more when it flushes at the end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            context.exit(BROKEN_PIPE)


def code_of(commands: click.Group, arguments: Sequence[str]) -> int:
    """Runs a command line to its end; returns the exit code of DESIGN.md §1.

    A command with an output folder leaves it in the context's `obj["out"]`, for tracebacks.
    """
    known: dict[str, Path] = {}
    try:
        return commands.main(arguments, prog_name="cai-jax", standalone_mode=False, obj=known) or 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except Interrupted as error:
        click.echo(f"stopped; everything finished is kept. To go on:\n  {_again(arguments)}", err=True)
        return error.exit_code
    except StageFailed as error:
        return _fail(f"{error.where} failed: {error.message}", error.hint, STAGE_FAILED)
    except UserError as error:
        return _fail(error.message, error.hint, USAGE)
    except OSError as error:
        return _fail(str(error), "", USAGE)
    except Exception as error:
        hint = f"this is a bug; the traceback is in {_traceback(known.get('out'))}"
        return _fail(f"{type(error).__name__}: {error}", hint, STAGE_FAILED)


def _fail(message: str, hint: str, code: int) -> int:
    click.echo(f"error: {message}" + (f"\n  = help: {hint}" if hint else ""), err=True)
    return code


def _traceback(out: Path | None) -> Path:
    """Writes the traceback of the exception at hand, under the output folder if the command has one."""
    import tempfile  # with the two others only for bugs
    import time
    import traceback

    folder = out or Path(tempfile.gettempdir())
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"traceback-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    path.write_text(traceback.format_exc(), encoding="utf-8")
    return path


def _again(arguments: Sequence[str]) -> str:
    """The command that goes on: the same, but for `--force`, which would begin anew."""
    words = list(arguments)
    while "--force" in words:
        at = words.index("--force")
        del words[at : at + 2]
    return shlex.join(["cai-jax", *(word for word in words if not word.startswith("--force="))])
