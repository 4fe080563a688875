"""Progress on stderr: a live bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import TextIO

from cai_jax.parallel import multihost
from cai_jax.terminal import LINE, indented, say, visible

EVERY_S = 10.0  # seconds between two lines of a log, where there is no terminal to draw a bar in


class Rate:
    """Speed and time left of one node, measured from its first report in this attempt.

    What comes before says little: it may have been done by an earlier attempt, or held up by compilation.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._first: tuple[float, int, int] | None = None

    def describe(self, done: int, total: int, tokens: int, unit: str) -> str:
        """Such as "128/512 rows, 1,234 tokens/s, 0:42 left"; what is not known yet is left out."""
        if self._first is None:
            self._first = self._clock(), done, tokens
        begun, first_done, first_tokens = self._first
        words = [f"{done:,}/{total:,} {unit}"]
        elapsed = self._clock() - begun
        if tokens > first_tokens and elapsed > 0:
            words.append(f"{(tokens - first_tokens) / elapsed:,.0f} tokens/s")
        if first_done < done < total:
            words.append(f"{duration((total - done) * elapsed / (done - first_done))} left")
        return ", ".join(words)


class PlainReporter:
    """Lines for logs and pipes: one now and then while a node is at work, one when it is done.

    Args:
      stream: receives the lines.
      clock: seconds.
      cached: True if nodes found in the cache get a line too.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic, cached: bool = True) -> None:
        self._tells_cached = cached
        self._stream = stream
        self._clock = clock
        self._label = ""
        self._rate = Rate(clock)
        self._spoke = clock()

    def begin(self, label: str, position: int, total: int) -> None:
        self._label = f"[{position}/{total}] {label}"
        self._rate = Rate(self._clock)
        self._spoke = self._clock()

    def progress(self, done: int, total: int, *, tokens: int = 0, unit: str = "rows") -> None:
        text = self._rate.describe(done, total, tokens, unit)
        if self._clock() - self._spoke >= EVERY_S:
            self._spoke = self._clock()
            self.say(f"{self._label}: {text}")

    def end(self, label: str, position: int, total: int, *, cached: bool, seconds: float) -> None:
        if cached and not self._tells_cached:
            return
        how = "cached" if cached else f"done in {duration(seconds)}"
        self.say(f"[{position}/{total}] {label}: {how}")

    def say(self, text: str) -> None:
        say(indented(visible(text), 2), self._stream)

    def close(self) -> None:
        """Nothing is left on the screen that would have to be cleared."""


class SilentReporter(PlainReporter):
    """A reporter without output: in a run of several processes only the first reports."""

    def say(self, text: str) -> None:
        pass


class LiveReporter(PlainReporter):
    """The same lines above a bar for the node at work; needs a terminal."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic, cached: bool = True) -> None:
        super().__init__(stream, clock, cached)
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[detail]}", markup=False),
            console=Console(file=stream, highlight=False),
            transient=True,
        )
        self._task = self._progress.add_task("", total=None, detail="", visible=False)
        self._progress.start()

    def begin(self, label: str, position: int, total: int) -> None:
        super().begin(label, position, total)
        self._progress.reset(
            self._task, total=None, visible=True, description=visible(self._label, LINE), detail="starting"
        )

    def progress(self, done: int, total: int, *, tokens: int = 0, unit: str = "rows") -> None:
        detail = self._rate.describe(done, total, tokens, unit)
        self._progress.update(self._task, completed=done, total=total, detail=detail)

    def end(self, label: str, position: int, total: int, *, cached: bool, seconds: float) -> None:
        self._progress.update(self._task, visible=False)
        super().end(label, position, total, cached=cached, seconds=seconds)

    def say(self, text: str) -> None:
        from rich.text import Text

        self._progress.console.print(Text(indented(visible(text), 2)), soft_wrap=True)

    def close(self) -> None:
        self._progress.stop()


def reporter(stream: TextIO | None = None, cached: bool = True) -> PlainReporter:
    """A live one if the stream (stderr) is a terminal that can do more than print lines; of several processes one."""
    stream = stream or sys.stderr
    if not multihost.is_leader():
        return SilentReporter(stream)
    drawn = "utf" in (stream.encoding or "utf-8").lower()  # bars and spinners are drawn with characters of Unicode
    live = stream.isatty() and os.environ.get("TERM") != "dumb" and drawn
    return (LiveReporter if live else PlainReporter)(stream, cached=cached)


def duration(seconds: float) -> str:
    """0.4 s, 42 s, 3:05, 1:02:03."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
