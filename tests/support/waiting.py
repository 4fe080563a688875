"""Waiting for what another thread or process does, for as long as a busy machine may take."""

import time
from collections.abc import Callable

PATIENCE = 30.0  # seconds, for what takes well below one on a machine that is not busy


def until(happened: Callable[[], bool]) -> None:
    """Returns as soon as it has happened.

    Raises:
      AssertionError: it has not, for `PATIENCE` seconds.
    """
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.005)
