"""Progress and signals while a command works."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from cai_jax.exit_codes import Interrupted

if TYPE_CHECKING:
    from cai_jax.runs.executor import Reporter
    from cai_jax.runs.signals import Interrupts


@contextmanager
def working() -> Iterator[tuple[Reporter, Interrupts]]:
    """Progress on stderr, and signals that wait for the end of a batch."""
    from cai_jax.runs.progress import reporter

    told = reporter()
    try:
        with stopping("stopping after this batch") as interrupts:
            yield told, interrupts
    except KeyboardInterrupt:
        raise Interrupted(signal.SIGINT) from None
    finally:
        told.close()


def stopping(when: str) -> Interrupts:
    """Signals that wait until the work can stop; the first one is answered with a message that says when."""
    from cai_jax.runs.signals import Interrupts

    # Written past Python's buffers: a signal may arrive in the middle of a write to them.
    said = f"\n{when}; press Ctrl-C again to stop at once\n".encode()

    def tell() -> None:
        with suppress(OSError, ValueError):
            os.write(sys.stderr.fileno(), said)

    return Interrupts(tell)
