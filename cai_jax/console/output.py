"""Output of commands: JSON, diagnostics and tables as wide as the terminal."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TextIO

from cai_jax.terminal import json_escaped, say, width

if TYPE_CHECKING:
    from cai_jax.lang.diagnostics import Diagnostic


def rendered(found: Sequence[Diagnostic], stream: TextIO) -> str:
    from cai_jax.lang.diagnostics import render

    return render(found, colour=stream.isatty() and not os.environ.get("NO_COLOR"))


def tell(text: str, stream: TextIO | None = None) -> None:
    """Print a text that may be empty."""
    if text:
        say(text, stream)


def columns(wide: bool) -> int | None:
    """Width of tables: the terminal's, unless they go elsewhere or `-o wide` is given."""
    return None if wide else width(sys.stdout)


def print_json(value: Any) -> None:
    ascii_only = "utf" not in (sys.stdout.encoding or "utf-8").lower()
    say(json_escaped(json.dumps(value, ensure_ascii=ascii_only, indent=1)))


def count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
