"""Live progress on stderr: what runs, how many are left, time left. Without a terminal, a plain line now and then."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

_PLAIN_EVERY_S = 20.0


class Watch:
    """Context manager around a run. `begin` a step with its number of cases, `now` before and `done` after each."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.console = Console(stderr=True, quiet=quiet, highlight=False)
        self._live = self.console.is_terminal and not quiet
        # One refresh a second: the bar must not take the cores that are being measured.
        self._progress = Progress(
            TextColumn("{task.fields[step]}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            TextColumn("{task.description}"),
            console=self.console,
            refresh_per_second=1,
            transient=True,
            disable=not self._live,
        )
        self._task: TaskID | None = None
        self._step, self._done, self._total = "", 0, 0
        self._began = self._spoke = time.monotonic()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._progress.stop()
        sys.stderr.flush()

    def say(self, words: str) -> None:
        """Print one line that stays."""
        self.console.print(words, markup=False, soft_wrap=True)

    def begin(self, step: str, total: int) -> None:
        """Start a step of `total` cases."""
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._step, self._done, self._total = step, 0, total
        self._began = time.monotonic()
        self._task = self._progress.add_task("", total=total, step=step, left="")
        if not self._live:
            self.say(f"{step}: {total}")

    def now(self, what: str) -> None:
        """Name what runs."""
        if self._task is not None:
            self._progress.update(self._task, description=what, left=self._left())
        if not self._live and time.monotonic() - self._spoke > _PLAIN_EVERY_S:
            self._spoke = time.monotonic()
            self.say(f"{self._step}: {self._done} of {self._total}{self._left()}; now {what}")

    def done(self, count: int = 1) -> None:
        """One case more is done, or as many as `count`."""
        self._done += count
        if self._task is not None:
            self._progress.advance(self._task, count)

    def _left(self) -> str:
        if self._done < 3:
            return ""
        seconds = (time.monotonic() - self._began) / self._done * (self._total - self._done)
        return f", about {seconds / 60:.0f} min left" if seconds > 90 else f", about {seconds:.0f} s left"
