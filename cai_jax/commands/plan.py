"""`cai-jax plan`: what a run would do, and what it would take."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from cai_jax.console.options import JSON, LIMIT, NO_USER_CODE, OUT, PROGRAM, PROMPT_TOKENS, SEED, SET, WIDE
from cai_jax.console.output import columns, print_json
from cai_jax.console.planning import planned_by
from cai_jax.terminal import say, under, visible


@click.command("plan")
@PROGRAM
@SET
@SEED
@LIMIT
@OUT
@JSON
@WIDE
@click.option("--prompts", type=click.IntRange(1), metavar="N", help="Prints N exact prompts of every stage.")
@click.option(
    "--topology",
    metavar="NAME",
    help="For which machine, such as v5e:4x4 or cpu:8; by default this one.",
)
@click.option("--measure", is_flag=True, help="Measures this machine again, which is done once and kept.")
@PROMPT_TOKENS
@NO_USER_CODE
def command(
    program: Path,
    sets: Sequence[str],
    seed: int | None,
    limit: int | None,
    out: Path,
    as_json: bool,
    wide: bool,
    prompts: int | None,
    topology: str | None,
    measure: bool,
    prompt_tokens: int | None,
    user_code: bool,
) -> None:
    """Show what a run would do: what is cached, why the rest runs, and what it takes.

    Rows, tokens with their padding, FLOPs of products, time and memory are estimates for the steps that `compile`
    compiles for the same machine and longest prompt. Replies are taken to be as long as they may be. Time comes from
    the machine's products and bytes a second, which are measured once, at rest, and kept. Memory is what a device must
    hold at least. Data that is here is read for its rows and the length of its prompts or documents.
    """
    from cai_jax.forecast import this_machine
    from cai_jax.report import plan_view, prompts_preview
    from cai_jax.runs import data_sizes
    from cai_jax.runs.cache import Cache

    planned, stages, user_files = planned_by(program, program.read_bytes(), sets, seed, limit, user_code)
    data = prompts_preview.read(planned, stages, Cache(out / "cache"))
    for warning in prompts_preview.warnings(planned, stages, data):
        say(under("warning: ", visible(warning)), sys.stderr)
    sized = data_sizes.sized(planned, stages, data.rows, data.documents, prompt_tokens)
    machine = this_machine.machine(topology, again=measure, rates=plan_view.computes(sized, stages))
    lines = plan_view.lines(sized, stages, Cache(out / "cache"), machine)
    shown = list(prompts_preview.prompts(planned, stages, Cache(out / "cache"), prompts)) if prompts else []
    if as_json:
        more = {"prompts": [prompts_preview.as_json(*each) for each in shown]} if prompts else {}
        about = {"data": data_sizes.as_json(sized.data), "user_code": user_files}
        print_json({"nodes": plan_view.as_json(lines), **plan_view.totals(lines, machine), **about, **more})
        return
    say(plan_view.text(lines, sized.data, machine, columns(wide)))
    for each in shown:
        say("\n" + prompts_preview.text(*each))
