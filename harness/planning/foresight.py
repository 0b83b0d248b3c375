"""What a run takes from earlier runs: what is likely best, what is left out, what comes back, how long it takes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Protocol

from harness.planning.contenders import Choice, Contenders, to_retry
from harness.planning.durations import Durations, RunCosts
from harness.planning.plan import Planned
from harness.records.record import Record

# Seconds that a process takes beside its window, roughly, with cold compile caches and with warm ones.
_COLD_S = {"eager": 0.5, "graph": 0.7, "compiled": 2.0}
_WARM_S = {"eager": 0.5, "graph": 0.7, "compiled": 0.8}

DOUBT = 4.0  # of what is 1.5 times slower elsewhere few paths are the best here (tests/benchmarks/bench_contenders.py)


class Foresight(Protocol):
    """What earlier runs say of the cases of a plan."""

    def expected(self, planned: Planned) -> float | None:
        """Its time over that of the best path of its point; None where nothing is known."""

    def seconds(self, planned: Planned, *, cold: bool, again: bool) -> float:
        """Seconds that one process of it takes beside its window.

        `cold` where its program is yet to be compiled, `again` where an earlier process told its memory.
        """

    def call_s(self, planned: Planned) -> float | None:
        """Seconds of a call of it, roughly; None where nothing is known."""

    def promise(self, planned: Planned) -> float:
        """How likely it is the best path of its point, roughly, over what is most likely so."""

    def refuses(self, planned: Planned) -> bool:
        """Whether its framework is expected to refuse it."""

    @property
    def costs(self) -> RunCosts:
        """What a run takes beside its processes."""

    def tried(self, plan: Sequence[Planned]) -> list[Planned]:
        """The cases of a plan that are tried."""

    def back(self, plan: Sequence[Planned], records: Mapping[str, Record]) -> list[Planned]:
        """What was left out and must be tried after all, by the records so far."""

    def left_out(self, plan: Sequence[Planned]) -> dict[str, list[str]]:
        """The cases that are not tried, in words, by the reason."""


class Ignorance:
    """Nothing is known: every path may be the best, and all are tried."""

    def expected(self, planned: Planned) -> None:
        """None of any."""
        del planned

    def seconds(self, planned: Planned, *, cold: bool, again: bool) -> float:
        """By the execution alone."""
        return (_COLD_S if cold and not again else _WARM_S)[planned.case.execution]

    def call_s(self, planned: Planned) -> None:
        """None of any."""
        del planned

    def promise(self, planned: Planned) -> float:
        """The same of all."""
        del planned
        return 1.0

    def refuses(self, planned: Planned) -> bool:
        """None of any."""
        del planned
        return False

    @property
    def costs(self) -> RunCosts:
        """What is usual."""
        return RunCosts()

    def tried(self, plan: Sequence[Planned]) -> list[Planned]:
        """All."""
        return list(plan)

    def back(self, plan: Sequence[Planned], records: Mapping[str, Record]) -> list[Planned]:
        """None."""
        del plan, records
        return []

    def left_out(self, plan: Sequence[Planned]) -> dict[str, list[str]]:
        """None."""
        del plan
        return {}


class Experience:
    """By the records of earlier runs; what is left out by `choice`, which is empty where all is to be tried."""

    def __init__(self, contenders: Contenders, choice: Choice) -> None:
        self._contenders, self._choice = contenders, choice
        self._durations = Durations(contenders)
        self._returned: set[str] = set()

    def expected(self, planned: Planned) -> float | None:
        """Its time over that of the best path of its point, on this machine or those that are known."""
        return self._contenders.expected(planned)

    def seconds(self, planned: Planned, *, cold: bool, again: bool) -> float:
        """As its process took, or those nearest to it."""
        return self._durations.seconds(planned, cold=cold, again=again)

    def call_s(self, planned: Planned) -> float | None:
        """At the nearest point where its path was seen."""
        return self._durations.call_s(planned)

    def promise(self, planned: Planned) -> float:
        """Of what was twice as slow as the best a sixteenth; 1 of what is unknown, or tests what is known."""
        expected = self.expected(planned)
        known = expected is not None and planned.case.key not in self._choice.sampled
        return expected**-DOUBT if known and expected is not None else 1.0

    def refuses(self, planned: Planned) -> bool:
        """Whether the version that is installed refused it before."""
        return self._contenders.refused(planned) is not None

    @property
    def costs(self) -> RunCosts:
        """As earlier runs took it."""
        return self._durations.costs

    def tried(self, plan: Sequence[Planned]) -> list[Planned]:
        """Without what is left out, and with what came back."""
        return [p for p in plan if p.case.key not in self._choice.left_out or p.case.key in self._returned]

    def back(self, plan: Sequence[Planned], records: Mapping[str, Record]) -> list[Planned]:
        """All of a kind of which a sample won, and whatever there is at a point where nothing that was tried ran."""
        found = [p for p in to_retry(plan, self._choice, records) if p.case.key not in self._returned]
        self._returned |= {planned.case.key for planned in found}
        return found

    def left_out(self, plan: Sequence[Planned]) -> dict[str, list[str]]:
        """The cases that are not tried, in words, by the reason."""
        out: dict[str, list[str]] = defaultdict(list)
        for planned in plan:
            key = planned.case.key
            if key in self._choice.left_out and key not in self._returned:
                out[self._choice.left_out[key]].append(str(planned.case))
        return dict(out)
