"""Live progress on stderr: what runs, how many are left, the table so far. Without a terminal, plain lines."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self, TextIO, cast

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

_PLAIN_EVERY_S = 20.0


class _Hearing:
    """A stream whose end may go away: what nobody reads is no reason to end a run."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write what can be written."""
        with contextlib.suppress(OSError):
            return self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush what can be flushed."""
        with contextlib.suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class Watch:
    """Context manager around a run. `begin` a step with its number of cases, `now` before and `done` after each."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.console = Console(file=cast(TextIO, _Hearing(sys.stderr)), quiet=quiet, highlight=False)
        self.live = self.console.is_terminal and not quiet
        self._progress = Progress(
            TextColumn("{task.fields[step]}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            TextColumn("{task.description}"),
            console=self.console,
            disable=not self.live,
        )
        self._table = Text("")
        # One refresh a second: what is drawn must not take the cores that are being measured.
        self._view = Live(
            get_renderable=lambda: Group(self._table, self._progress),
            console=self.console,
            refresh_per_second=1,
            transient=True,
        )
        self._task: TaskID | None = None
        self._step, self._done, self._total = "", 0, 0
        self._spoke = time.monotonic()
        self._left_s: float | None = None

    def __enter__(self) -> Self:
        if self.live:
            self._view.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self.live:
            self._view.stop()
        self.console.file.flush()

    def say(self, words: str) -> None:
        """Print one line that stays."""
        self.console.print(words, markup=False, soft_wrap=True)

    def show(self, table: Sequence[str]) -> None:
        """On a terminal, put these lines above the progress, in place of the last that were shown."""
        self._table = Text("\n".join([*table, ""]))

    def begin(self, step: str, total: int) -> None:
        """Start a step of `total` cases."""
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._step, self._done, self._total = step, 0, total
        self._task = self._progress.add_task("", total=total, step=step, left="")
        if not self.live and total:
            self.say(f"{step}: {total}")

    def now(self, what: str) -> None:
        """Name what runs."""
        if self._task is not None:
            self._progress.update(self._task, description=what, left=self._left())
        if not self.live and time.monotonic() - self._spoke > _PLAIN_EVERY_S:
            self._spoke = time.monotonic()
            self.say(f"{self._step}: {self._done} of {self._total}{self._left()}; now {what}")

    def left(self, seconds: float) -> None:
        """Say how much of the whole run is left."""
        self._left_s = seconds

    def done(self, count: int = 1) -> None:
        """One case more is done, or as many as `count`."""
        self._done += count
        if self._task is not None:
            self._progress.advance(self._task, count)

    @property
    def where(self) -> str:
        """How far the step is, in words."""
        return f"{self._step}, after {self._done} of {self._total}" if self._step else "the beginning"

    def _left(self) -> str:
        seconds = self._left_s
        if seconds is None:
            return ""
        how_long = f"{seconds / 60:.0f} min" if seconds > 90 else f"{max(seconds, 1):.0f} s"
        return f", about {how_long} left of the run"
