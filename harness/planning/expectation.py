"""What is expected of a case before it is measured; without any knowledge, little."""

from __future__ import annotations

from typing import Protocol

from harness.planning.plan import Planned

# Seconds that a process takes beside its window, roughly, with cold compile caches and with warm ones.
_COLD_S = {"eager": 0.5, "graph": 0.7, "compiled": 2.0}
_WARM_S = {"eager": 0.5, "graph": 0.7, "compiled": 0.8}


class Expectation(Protocol):
    """What earlier runs say of cases."""

    def expected(self, planned: Planned) -> float | None:
        """Its time over that of the best path of its point; None where nothing is known."""

    def seconds(self, planned: Planned, *, cold: bool) -> float:
        """Seconds that one process of it takes beside its window; `cold` where its program is yet to be compiled."""


class Ignorance:
    """Nothing is known: every path may be the best."""

    def expected(self, planned: Planned) -> None:
        """None of any."""
        del planned

    def seconds(self, planned: Planned, *, cold: bool) -> float:
        """By the execution alone."""
        return (_COLD_S if cold else _WARM_S)[planned.case.execution]
