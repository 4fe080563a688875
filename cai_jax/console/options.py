"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path

import click


def _remember(context: click.Context, _: click.Parameter, out: Path) -> Path:
    """Store the value of `--out` for `exits`."""
    context.ensure_object(dict)["out"] = out
    return out


PROGRAM = click.argument("program", type=click.Path(exists=True, dir_okay=False, path_type=Path))
PROGRAMS = click.argument(
    "programs", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
SET = click.option("--set", "sets", multiple=True, metavar="KNOB=VALUE", help="Sets a knob of the program.")
OUT = click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("runs"),
    show_default=True,
    envvar="CAI_JAX_OUT",
    callback=_remember,
    help="Folder that holds the cache and the runs.",
)
RUN = click.option("--run", "run_name", default="", help="The run whose names are used; by default the latest.")
WIDE = click.option(
    *("-o", "--output", "wide"),
    type=click.Choice(["wide"]),
    callback=lambda _, __, chosen: chosen is not None,
    help="`-o wide` lets tables be wider than the terminal.",
)
JSON = click.option("--json", "as_json", is_flag=True, help="Prints one JSON value instead of text.")
SEED = click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="Seed of the run, in place of the program's.")
DISTRIBUTED = click.option(
    "--distributed",
    is_flag=True,
    envvar="CAI_JAX_DISTRIBUTED",
    help="This is one of several processes of the run, one on every host (tpu/README.md).",
)
NO_USER_CODE = click.option(
    "--no-user-code",
    "user_code",
    flag_value=False,
    default=True,
    help="Refuses a program that runs code of its own (`use stage … from`).",
)
PROMPT_TOKENS = click.option(
    "--prompt-tokens",
    type=click.IntRange(1),
    metavar="N",
    help="The longest prompt. Without it `plan` takes that of the data which is here, and `compile` 512.",
)
LIMIT = click.option("--limit", type=click.IntRange(1), metavar="N", help="Only the first N rows of every split.")
