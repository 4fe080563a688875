"""`cai-jax show`: a node, what made it and what came of it."""

from __future__ import annotations

from pathlib import Path

import click

from cai_jax.console.options import JSON, OUT, RUN, WIDE
from cai_jax.console.output import columns, print_json
from cai_jax.terminal import say


@click.command("show")
@click.argument("node")
@OUT
@JSON
@WIDE
@RUN
@click.option("--rows", type=click.IntRange(0), default=3, show_default=True, help="Number of rows to print.")
def command(node: str, out: Path, as_json: bool, wide: bool, run_name: str, rows: int) -> None:
    """Show a node, by its name in a run or by its key: its stage, its result, its first rows."""
    from cai_jax.report import browse

    found = browse.node(*browse.find(out, node, run_name), rows)
    if as_json:
        print_json(found)
    else:
        say(browse.node_text(found, columns(wide)))
