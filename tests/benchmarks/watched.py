"""`python -m tests.benchmarks.watched FILE ARGUMENT …`: runs cai-jax, and writes to FILE what it spent on compiling."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import jax

from cai_jax import cli

_COMPILED = "/jax/core/compile/backend_compile_duration"


def main() -> None:
    seconds: list[float] = []

    def heard(event: str, duration: float, **_: object) -> None:
        if event == _COMPILED:
            seconds.append(duration)

    jax.monitoring.register_event_duration_secs_listener(heard)
    try:
        cli.main(sys.argv[2:])
    finally:
        Path(sys.argv[1]).write_text(json.dumps({"functions": len(seconds), "seconds": sum(seconds)}))


if __name__ == "__main__":
    main()
