"""Outcomes of a run without a result, each with its exit code."""

from __future__ import annotations

import signal
from pathlib import Path

from cai_jax.errors import UserError

__all__ = ["Interrupted", "ProgramWrong", "StageFailed", "UserError", "as_user_error"]

EXPECT_FAILED, USAGE, PROGRAM_WRONG, STAGE_FAILED, PREEMPTED, INTERRUPTED = 1, 2, 3, 4, 75, 130


class StageFailed(UserError):
    """A stage raised.

    Attributes:
      where: the node, as people call it.
      traceback: file with the traceback; None if the cause was the user's to fix.
    """

    def __init__(self, where: str, message: str, hint: str, traceback: Path | None) -> None:
        super().__init__(message, hint)
        self.where = where
        self.traceback = traceback


class ProgramWrong(UserError):
    """A mistake in the program that only its data shows."""


class Interrupted(BaseException):
    """Ctrl-C or a preemption, raised between two batches; nothing that was committed is lost."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.exit_code = PREEMPTED if signum == signal.SIGTERM else INTERRUPTED


def as_user_error(error: BaseException) -> UserError | None:
    """The error as one to be shown without a traceback; None if it is a bug, not the user's to fix."""
    return error if isinstance(error, UserError) else None
