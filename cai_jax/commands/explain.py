"""`cai-jax explain`: what a diagnostic code means."""

from __future__ import annotations

import click

from cai_jax.terminal import say


@click.command("explain")
@click.argument("code")
def command(code: str) -> None:
    """Explain a diagnostic code, such as E210."""
    from cai_jax.lang.diagnostics import catalogue, did_you_mean
    from cai_jax.lang.diagnostics import explain as explanation

    text = explanation(code)
    if text is None:
        known = sorted(catalogue())
        hint = did_you_mean(code.upper(), known) or f"there are {known[0]} to {known[-1]}"
        raise click.UsageError(f"there is no diagnostic {code!r}; {hint}")
    say(text.rstrip("\n"))
