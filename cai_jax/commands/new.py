"""`cai-jax new`: a program to start from."""

from __future__ import annotations

from pathlib import Path

import click

from cai_jax.terminal import say, visible


@click.command("new")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--template", default="quickstart", show_default=True, help="The program to start from.")
def command(path: Path, template: str) -> None:
    """Write a program (and what it needs) to start from."""
    from cai_jax.lang import templates
    from cai_jax.runs.files import write_text

    if path.name in ("", ".."):
        raise click.UsageError(f"{str(path)!r} names no program; write for example  cai-jax new mine.cai")
    target = path if path.suffix == ".cai" else path.with_name(f"{path.name}.cai")
    if target.exists():
        raise click.UsageError(f"{target} is there already")
    for name, text in templates.new(template, target.stem).items():
        file = target.parent / name
        if file.exists():
            say(visible(f"kept {file}"))
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, text)
        say(visible(f"wrote {file}"))
    say(visible(f"run it with  cai-jax run {target}"))
