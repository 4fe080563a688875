"""Ctrl-C and preemption: the first signal lets the current batch finish, a second Ctrl-C does not wait.

Of several processes all stop at the same batch, whichever received the signal.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from cai_jax.exit_codes import Interrupted
from cai_jax.parallel import multihost

# What the standard library's `signal` takes and returns.
_Handler = Callable[[int, FrameType | None], Any] | int | None


class Interrupts:
    """Memory of a signal until the work is at a place where it can stop; a context manager.

    Args:
      told: called once, from the signal handler, when the first signal arrives.
    """

    def __init__(self, told: Callable[[], None] = lambda: None) -> None:
        self._told = told
        self._pending = 0
        self._before: dict[signal.Signals, _Handler] = {}

    @property
    def pending(self) -> bool:
        return multihost.max_over_processes(self._pending) != 0

    def check(self) -> None:
        """Raise Interrupted if a signal is pending."""
        number = multihost.max_over_processes(self._pending)
        if number:
            raise Interrupted(number)

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._pending and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not self._pending:
            self._pending = number
            self._told()
