"""`cai-jax guard`: a program's flow at inference time, on prompts from outside."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from cai_jax.console.options import JSON, NO_USER_CODE, OUT, PROGRAM, SET
from cai_jax.console.output import print_json
from cai_jax.console.planning import planned_by
from cai_jax.console.working import working
from cai_jax.exit_codes import EXPECT_FAILED
from cai_jax.terminal import say


@click.command("guard")
@PROGRAM
@SET
@OUT
@JSON
@NO_USER_CODE
@click.option("--flow", default="", help="The flow, where the program has several.")
@click.option("--prompt", "prompts", multiple=True, help="A prompt; without any, each line of stdin is one.")
def command(
    program: Path,
    sets: Sequence[str],
    out: Path,
    as_json: bool,
    user_code: bool,
    flow: str,
    prompts: Sequence[str],
) -> None:
    """Answer prompts through a program's flow, and show what was flagged and revised.

    Exit code 1 if a reply could not be judged, whatever its outcome.
    """
    from cai_jax.console import session
    from cai_jax.runs import guarding

    planned, stages, _ = planned_by(program, program.read_bytes(), sets, None, None, user_code)
    chosen = guarding.flow_of(planned, flow)
    texts = _prompts(prompts)
    session.prepare_jax(out)
    with working() as (reporter, interrupts):
        told = guarding.guard(planned, chosen, texts, out, stages, reporter, interrupts)
    if as_json:
        print_json(told)
    else:
        say("\n\n".join(guarding.text(one) for one in told))
    if any(one["could_not_judge"] for one in told):
        sys.exit(EXPECT_FAILED)


def _prompts(given: Sequence[str]) -> list[str]:
    """The prompts of the command line, or else the lines of stdin that are not empty."""
    if not given:
        assert isinstance(sys.stdin, io.TextIOWrapper)  # as Python and click make it
        sys.stdin.reconfigure(encoding="utf-8", errors="surrogateescape")
    texts = [line.strip() for line in given or sys.stdin]
    if given and not all(texts):
        raise click.UsageError("a prompt is empty")
    for number, text in enumerate(texts, 1):
        try:
            text.encode()
        except UnicodeEncodeError:
            raise click.UsageError(f"prompt {number} is not UTF-8: {ascii(text)}") from None
    texts = [text for text in texts if text]
    if not texts:
        raise click.UsageError("no prompts: give --prompt, or lines on stdin")
    return texts
