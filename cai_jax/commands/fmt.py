"""`cai-jax fmt`: programs formatted in place."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from cai_jax.console.options import PROGRAMS
from cai_jax.console.output import rendered, tell
from cai_jax.exit_codes import EXPECT_FAILED, PROGRAM_WRONG
from cai_jax.terminal import say, visible


@click.command("fmt")
@PROGRAMS
@click.option("--check", "only_check", is_flag=True, help="Changes nothing; exits with 1 if it would.")
def command(programs: Sequence[Path], only_check: bool) -> None:
    """Format programs in place, and name those that changed."""
    from cai_jax.lang.formatter import format_text
    from cai_jax.runs.files import write_text

    wrong = changed = False
    for program in programs:
        before = program.read_bytes()
        formatted = format_text(before, str(program))
        if formatted.text is None:
            tell(rendered(formatted.diagnostics, sys.stderr), sys.stderr)
            wrong = True
        elif formatted.text.encode() != before:
            changed = True
            if not only_check:
                write_text(program, formatted.text)
            say(visible(str(program)))
    if wrong or (only_check and changed):
        sys.exit(PROGRAM_WRONG if wrong else EXPECT_FAILED)
