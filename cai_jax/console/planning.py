"""The plan of the program that a command is given."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cai_jax.console.output import rendered, tell
from cai_jax.exit_codes import PROGRAM_WRONG
from cai_jax.terminal import say, under, visible

if TYPE_CHECKING:
    from cai_jax.lang.checker import Checked
    from cai_jax.lang.plan import Plan
    from cai_jax.stages.protocol import Stage


class Planned(NamedTuple):
    """A program's plan, the stages that it calls by name, and whose they are (`programs.user_files`)."""

    plan: Plan
    registry: Mapping[str, Stage]
    user_files: Mapping[str, Sequence[str]]


def planned_by(
    program: Path, text: bytes, sets: Sequence[str], seed: int | None, limit: int | None, user_code: bool
) -> Planned:
    """The program's plan; ends the command if the program is wrong. Says on stderr whose code the program runs."""
    from cai_jax.runs import programs
    from cai_jax.stages import registry
    from cai_jax.stages.user_stages import with_user_stages

    checked = programs.checked(program, text, sets, registry(), user_code)
    tell(rendered(checked.diagnostics, sys.stderr), sys.stderr)
    if not checked.ok:
        sys.exit(PROGRAM_WRONG)
    if checked.user_stages:
        say(code_note(checked), sys.stderr)
    known = with_user_stages(registry(), checked.user_stages)
    return Planned(programs.planned(checked, known, seed, limit), known, programs.user_files(checked))


def code_note(checked: Checked) -> str:
    """The line that says whose code a program runs besides the package's."""
    from cai_jax.runs.programs import code_of

    return under("note: ", visible(f"running this program runs {code_of(checked)}"))
