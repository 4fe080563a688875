"""`cai-jax compile`: every step of a program, compiled for a machine that need not be there."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from cai_jax.console.options import JSON, LIMIT, NO_USER_CODE, OUT, PROGRAM, PROMPT_TOKENS, SET, WIDE
from cai_jax.console.output import columns, print_json
from cai_jax.console.planning import planned_by
from cai_jax.console.working import stopping
from cai_jax.exit_codes import INTERRUPTED
from cai_jax.terminal import say, visible


@click.command("compile")
@PROGRAM
@SET
@LIMIT
@OUT
@JSON
@WIDE
@click.option("--only", default="", metavar="NODE", help="Compiles the steps of this node alone.")
@click.option("--topology", required=True, metavar="NAME", help="The machine, such as v5e:4x4 or cpu:8.")
@PROMPT_TOKENS
@NO_USER_CODE
def command(
    program: Path,
    sets: Sequence[str],
    limit: int | None,
    out: Path,
    as_json: bool,
    wide: bool,
    only: str,
    topology: str,
    prompt_tokens: int | None,
    user_code: bool,
) -> None:
    """Compile every step of a program for a machine that need not be there, and show what each step takes."""
    from cai_jax.console.session import chosen
    from cai_jax.forecast import aot
    from cai_jax.pipeline.row_counts import PROMPT
    from cai_jax.report import compiled_steps
    from cai_jax.runs.node_labels import every

    planned, stages, _ = planned_by(program, program.read_bytes(), sets, None, limit, user_code)
    machine = aot.topology(topology)
    key = chosen(planned, stages, only, every(planned)) if only else ""
    tell = lambda text: say(visible(text), sys.stderr)  # noqa: E731
    try:
        with stopping("stopping after the steps that are being compiled; what was compiled is kept") as interrupts:
            given = (planned, stages, machine, prompt_tokens or PROMPT, tell, out / "compiled", interrupts, key)
            found = list(compiled_steps.rows(*given))
    except KeyboardInterrupt:
        os._exit(INTERRUPTED)  # nothing else stops the compiler within a step
    if as_json:
        print_json(compiled_steps.as_json(found, machine))
    else:
        say(compiled_steps.text(found, machine, columns(wide)))
    compiled_steps.refuse(found, machine)
