"""The right to use the machine, as the process of one case sees it."""

from __future__ import annotations

import time
from typing import Protocol


class Turn(Protocol):
    """The right to use the machine, as the process of one member sees it; every method blocks until it is had again."""

    def quiet(self) -> None:
        """Something must be timed to prepare; returns when nothing else runs."""

    def ready(self) -> None:
        """All is prepared; returns when the first slice may begin."""

    def rest(self) -> None:
        """A slice is over; returns when the next may begin."""

    def done(self) -> None:
        """The window is over; returns when nobody is measured any more."""


class Alone:
    """The turn of a process that shares the machine with no other member."""

    def quiet(self) -> None:
        """Go on at once."""

    def ready(self) -> None:
        """Go on at once."""

    def rest(self) -> None:
        """Go on at once."""

    def done(self) -> None:
        """Go on at once."""


class Waits:
    """A turn that counts the seconds for which `quiet` was waited for."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self.quiet_s = 0.0

    def quiet(self) -> None:
        """As that of the turn, and counted."""
        began = time.perf_counter()
        self._turn.quiet()
        self.quiet_s += time.perf_counter() - began

    def ready(self) -> None:
        """As that of the turn."""
        self._turn.ready()

    def rest(self) -> None:
        """As that of the turn."""
        self._turn.rest()

    def done(self) -> None:
        """As that of the turn."""
        self._turn.done()
