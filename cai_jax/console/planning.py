"""The plan of the program that a command is given."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cai_jax.console.output import rendered, tell
from cai_jax.exit_codes import PROGRAM_WRONG

if TYPE_CHECKING:
    from cai_jax.lang.plan import Plan


def planned_by(program: Path, text: bytes, sets: Sequence[str], seed: int | None, limit: int | None) -> Plan:
    """The program's plan; ends the command if the program is wrong."""
    from cai_jax.runs import programs
    from cai_jax.stages import registry

    checked = programs.checked(program, text, sets, registry())
    tell(rendered(checked.diagnostics, sys.stderr), sys.stderr)
    if not checked.ok:
        sys.exit(PROGRAM_WRONG)
    return programs.planned(checked, registry(), seed, limit)
