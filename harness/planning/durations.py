"""How long a case will take, learnt from records: for `--dry-run`, the time left, and what still fits a budget."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import mean

from backends.ops import Device
from harness.planning.contenders import Contenders
from harness.planning.learnt import REFUSAL_S, KnownMachine, Seen
from harness.planning.plan import Planned

REST_S = 0.25  # of a process, and seconds of its parts, where nothing was ever learnt
FIRST_CALL_S = {"eager": 0.05, "graph": 0.1, "compiled": 1.0}


@dataclass(frozen=True, slots=True)
class RunCosts:
    """What a run takes beside its processes' own seconds; as here where no run told.

    `pace` is the seconds that a run takes for one of a process, its window apart: several prepare side by side.
    `stretch` is those for one of a window: turns change, and what was disturbed is taken again. `start_s` are imports
    and all that is in no process; `inputs` is what inputs and references take over what is usual.
    """

    pace: float = 0.75
    stretch: float = 1.2
    start_s: float = 12.0
    inputs: float = 1.0


class Durations:
    """Expected seconds of the processes of planned cases, by `contenders`."""

    def __init__(self, contenders: Contenders) -> None:
        self._contenders = contenders
        self._lookup = contenders.lookup
        self._means: dict[str, dict[tuple[str, ...], float]] = {}

    def seconds(self, planned: Planned, *, cold: bool, again: bool = False) -> float:
        """Of one process without its window: opening, conversion, first call, checking, memory.

        `cold` with an empty compile cache; `again` for a later process of the case, which knows its memory.
        """
        if self._contenders.refused(planned) is not None:
            return REFUSAL_S
        rest_s = self._nearest(planned, "again_s") if again else None
        if rest_s is None:
            share = self._of_run(lambda machine: machine.again.get(planned.case.backend), 1.0) if again else 1.0
            rest_s = share * self._part(planned, "rest_s", REST_S)
        return rest_s + self.first_call_s(planned, cold=cold and not again)

    @cached_property
    def costs(self) -> RunCosts:
        """What runs of this machine take beside their processes, else those of others."""
        usual = RunCosts()
        return RunCosts(
            pace=self._of_run(lambda machine: machine.pace, usual.pace),
            stretch=self._of_run(lambda machine: machine.stretch, usual.stretch),
            start_s=self._of_run(lambda machine: machine.start_s, usual.start_s),
            inputs=self._of_run(lambda machine: machine.inputs, usual.inputs),
        )

    def first_call_s(self, planned: Planned, *, cold: bool) -> float:
        """Of the first call alone, tracing and compiling included: what may be done beside others, before the clock."""
        return self._part(planned, "cold_s" if cold else "warm_s", FIRST_CALL_S[planned.case.execution])

    def call_s(self, planned: Planned) -> float | None:
        """Of a call, by the nearest point where the path was seen; None where it never was. A window holds several."""
        return self._nearest(planned, "time_s")

    def _part(self, planned: Planned, part: str, default: float) -> float:
        """By the path at its nearest point, else the mean of the workload's other paths, else of the backend's."""
        known = self._nearest(planned, part)
        if known is not None:
            return known
        means = self._means.get(part)
        if means is None:
            means = self._means[part] = self._averages(part)
        c = planned.case
        wide = (Device.parse(c.device).kind, c.backend, c.execution)
        return means.get((*wide, c.workload), means.get(wide, default))

    def _nearest(self, planned: Planned, part: str) -> float | None:
        """On this machine where it is known of it, else the mean over those that are nearest."""
        found = [
            (sight, value)
            for sight in self._lookup.sights(planned)
            if sight.seen is not None and (value := _value(sight.seen, part)) is not None
        ]
        found = [(sight, value) for sight, value in found if sight.own] or found
        least = min((sight.distance for sight, _ in found), default=None)
        return mean(value for sight, value in found if sight.distance == least) if found else None

    def _averages(self, part: str) -> dict[tuple[str, ...], float]:
        values: dict[tuple[str, ...], list[float]] = defaultdict(list)
        for machine, place in self._lookup.places():
            for path, sights in place.seen.items():
                wide = (machine.kind, place.backend, path.rpartition(" ")[2])
                known = [value for seen in sights if (value := _value(seen, part)) is not None]
                values[(*wide, place.workload)] += known
                values[wide] += known
        return {key: mean(known) for key, known in values.items() if known}

    def _of_run(self, of: Callable[[KnownMachine], float | None], default: float) -> float:
        """On this machine, else the mean over all that are known."""
        for machines in (self._lookup.own, self._lookup.machines):
            if (value := _mean(machines, of)) is not None:
                return value
        return default


def _mean(machines: Sequence[KnownMachine], of: Callable[[KnownMachine], float | None]) -> float | None:
    values = [value for machine in machines if (value := of(machine)) is not None]
    return mean(values) if values else None


def _value(seen: Seen, part: str) -> float | None:
    value = getattr(seen, part)
    return None if value is None else float(value)
