"""The right to use the machine, as the process of one case sees it."""

from __future__ import annotations

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
