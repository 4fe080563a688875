"""The command line: `cai-jax COMMAND`, each command a file of `commands` that is imported when it is called."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from cai_jax import __version__, commands
from cai_jax.console import exits, streams


class _Commands(exits.Group):
    """The modules of `commands` by name, so that `check` imports nothing that only others need."""

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted(info.name for info in pkgutil.iter_modules(commands.__path__))

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in self.list_commands(context):
            return None
        return importlib.import_module(f"{commands.__name__}.{name}").command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="cai-jax")
def cli() -> None:
    """Constitutional AI from one page: a constitution, a pipeline, and claims to be met."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Entry point; ends the process with the exit codes of `exit_codes`.

    Args:
      arguments: of the command line; None takes the process's own.
    """
    streams.prepare()
    sys.exit(exits.code_of(cli, sys.argv[1:] if arguments is None else arguments))
