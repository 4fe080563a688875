"""`cai-jax run`: a program, run to its claims."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cai_jax.console.options import DISTRIBUTED, JSON, LIMIT, NO_USER_CODE, OUT, PROGRAM, SEED, SET, WIDE
from cai_jax.console.output import columns, print_json
from cai_jax.console.planning import planned_by
from cai_jax.console.working import working
from cai_jax.exit_codes import EXPECT_FAILED
from cai_jax.terminal import say, visible

if TYPE_CHECKING:
    from cai_jax.console.session import Shown
    from cai_jax.lang.knobs import Knob


_GIVEN = f"{__name__}.given"  # key of a context's `meta`: the arguments as they were given


def _program_help(context: click.Context, _: click.Parameter, asked: bool) -> None:
    """`cai-jax run P.cai --help`: the command's help, then the program's knobs."""
    if not asked or context.resilient_parsing:
        return
    say(context.get_help())
    for program in [Path(word) for word in context.meta[_GIVEN] if word.endswith(".cai") and Path(word).is_file()]:
        from cai_jax.runs.programs import checked
        from cai_jax.stages import registry

        knobs = checked(program, program.read_bytes(), (), registry()).knobs
        say(f"\nKnobs of {visible(str(program))}:\n{knobs_text(knobs, columns(False))}")
    context.exit()


def knobs_text(knobs: Sequence[Knob], width: int | None = None) -> str:
    """One line for each knob: how to set it, its default and range, and its help."""
    from cai_jax.lang import units
    from cai_jax.report.tables import table

    if not knobs:
        return "  none"
    rows = []
    for knob in knobs:
        span = f"in {units.shown((knob.low, knob.high))}" if knob.low is not None else ""
        rows.append([f"  --set {knob.name}={units.shown(knob.default)}", span, " ".join(knob.help.split())])
    return table(rows, width=width)


class _Run(click.Command):
    """A command that remembers its arguments, for a help that depends on them."""

    def parse_args(self, context: click.Context, arguments: list[str]) -> list[str]:
        context.meta[_GIVEN] = list(arguments)
        return super().parse_args(context, arguments)


@click.command("run", cls=_Run, add_help_option=False)
@click.option(
    *("-h", "--help"),
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_program_help,
    help="Shows this and, after a program, its knobs.",
)
@PROGRAM
@SET
@click.option("--only", default="", metavar="NODE", help="Makes only this node and what it is made from.")
@LIMIT
@click.option("--force", multiple=True, metavar="NODE", help="Makes this node again, and everything made from it.")
@SEED
@OUT
@JSON
@WIDE
@DISTRIBUTED
@NO_USER_CODE
def command(
    program: Path,
    sets: Sequence[str],
    only: str,
    limit: int | None,
    force: Sequence[str],
    seed: int | None,
    out: Path,
    as_json: bool,
    wide: bool,
    distributed: bool,
    user_code: bool,
) -> None:
    """Run a program: what is not in the cache, then its metrics and claims."""
    from cai_jax.console import session
    from cai_jax.parallel import multihost
    from cai_jax.runs.folder import RunFolder

    if distributed:
        session.prepare_jax(out)
        multihost.join()
    text = program.read_bytes()
    planned, stages, user_files = planned_by(program, text, sets, seed, limit, user_code)
    options = session.meant(planned, stages, session.Options(out, only, force))
    about = {
        "seed": planned.settings["seed"],
        "seeds": planned.settings["seeds"],
        "overrides": list(sets),
        "limit": limit,
        "only": only,
    }
    about |= {"user_code": user_files} if user_files else {}
    folder = RunFolder.create(out, program, text, session.plan_json(planned, stages), about)
    with working() as (reporter, interrupts):
        try:
            shown = session.run(planned, folder, options, stages, reporter, interrupts)
        except BaseException as error:
            if hasattr(error, "shown"):
                reporter.close()
                _summed_up(error.shown, as_json, wide)
            raise
    _summed_up(shown, as_json, wide)
    if shown.status != "ok":
        sys.exit(EXPECT_FAILED)


def _summed_up(shown: Shown, as_json: bool, wide: bool) -> None:
    """The summary of a run, also of an incomplete one; of several processes the first prints it."""
    from cai_jax.console.session import summary
    from cai_jax.parallel import multihost

    if not multihost.is_leader():
        return
    if as_json:
        print_json(shown.as_json())
    else:
        say(summary(shown, columns(wide)))
