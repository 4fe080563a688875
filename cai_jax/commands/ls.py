"""`cai-jax ls`: the runs, or the nodes in the cache."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from cai_jax.console.options import JSON, OUT, WIDE
from cai_jax.console.output import columns, print_json
from cai_jax.exit_codes import STAGE_FAILED
from cai_jax.terminal import say


@click.command("ls")
@OUT
@JSON
@WIDE
@click.option("--nodes", is_flag=True, help="Lists the nodes in the cache instead of the runs.")
@click.option("--verify", is_flag=True, help="Reads every file in the cache, and lists the nodes with damaged ones.")
def command(out: Path, as_json: bool, wide: bool, nodes: bool, verify: bool) -> None:
    """List the runs, the newest first."""
    from cai_jax.report import browse

    found, text = browse.runs, browse.runs_text
    if nodes:
        found, text = browse.nodes, browse.nodes_text
    if verify:
        found, text = browse.damaged, browse.damaged_text
    listed = found(out)
    if as_json:
        print_json(listed)
    else:
        say(text(listed, columns(wide)))
    if verify and listed:
        sys.exit(STAGE_FAILED)
