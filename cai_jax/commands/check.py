"""`cai-jax check`: every error of programs, without running them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from cai_jax.console.options import JSON, NO_USER_CODE, PROGRAMS, SET
from cai_jax.console.output import count, print_json, rendered, tell
from cai_jax.console.planning import code_note
from cai_jax.exit_codes import PROGRAM_WRONG
from cai_jax.terminal import say, visible


@click.command("check")
@PROGRAMS
@SET
@JSON
@NO_USER_CODE
def command(programs: Sequence[Path], sets: Sequence[str], as_json: bool, user_code: bool) -> None:
    """Find every error of programs without running them."""
    from cai_jax.runs.programs import checked as check_program
    from cai_jax.runs.programs import user_files
    from cai_jax.stages import registry

    found = [check_program(program, program.read_bytes(), sets, registry(), user_code) for program in programs]
    if as_json:
        told = [
            {
                "ok": one.ok,
                "diagnostics": [each.as_json() for each in one.diagnostics],
                "user_code": user_files(one),
            }
            for one in found
        ]
        print_json(told[0] if len(told) == 1 else told)
    else:
        for program, one in zip(programs, found, strict=True):
            warnings = sum(each.warning for each in one.diagnostics)
            errors = count(len(one.diagnostics) - warnings, "error")
            tell(rendered(one.diagnostics, sys.stdout))
            if one.user_stages:
                say(code_note(one))
            say(visible(f"{program}: {errors}, {count(warnings, 'warning')}"))
    if not all(one.ok for one in found):
        sys.exit(PROGRAM_WRONG)
