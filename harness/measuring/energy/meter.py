"""What every source of energy has in common: windows that accumulate, idle power, bounds, and when to say unknown.

A counter or a sensor is refreshed every `update_s`. What is read at either end of a window may be that old, so a window
of ten periods is known within a tenth: shorter ones are unknown. The bounds state that tenth, or whatever it came to.
"""

from __future__ import annotations

import itertools
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from harness.records.record import Energy, EnergySource

UPDATES_PER_WINDOW = 10
IDLE_S = 0.5  # at least: idle power wanders with the timer ticks and daemons of a system, seconds apart


class Unavailable(Exception):  # noqa: N818 - not a mistake, but the reason why the next source is asked
    """This source cannot be read here; the message says why, in one sentence."""


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    """What is measured once for a run, with the machine at rest: the idle power and the sensor's update period."""

    source: EnergySource
    idle_w: float | None = None
    idle_s: float | None = None
    update_s: float | None = None


class Meter(Protocol):
    """One source of energy, for one case.

    Use: `begin()` and `end()` around each slice of the timed window, then `energy(...)` once. A slice should last at
    least `least_window_s`. None of them raises: what cannot be read is unknown, and the note says why.
    """

    @property
    def source(self) -> EnergySource:
        """How far it can be trusted."""

    @property
    def update_s(self) -> float | None:
        """Seconds between two readings that differ, None where nothing is read."""

    @property
    def least_window_s(self) -> float:
        """The shortest slice worth measuring, seconds; 0 where nothing is read."""

    def idle(self) -> float | None:
        """Watts with the machine at rest, measured now (it sleeps meanwhile); None where nothing is read."""

    def begin(self) -> None:
        """A slice of the window starts."""

    def end(self) -> None:
        """A slice ends; slices accumulate."""

    def energy(self, *, calls: int, cpu_s: float, memory_bytes: int | None) -> Energy:
        """Joules per call over all slices, which held `calls` calls and `cpu_s` seconds of the process's CPU time."""


def nothing(source: EnergySource, note: str, *, window_s: float | None = None, update_s: float | None = None) -> Energy:
    """Energy that is unknown, and why."""
    return Energy(
        gross_j=None,
        net_j=None,
        low_j=None,
        high_j=None,
        idle_w=None,
        source=source,
        window_s=window_s,
        update_s=update_s,
        note=note,
    )


class NoMeter:
    """The meter of a device without any source; every answer is unknown."""

    source: EnergySource = "none"
    update_s: float | None = None
    least_window_s = 0.0

    def __init__(self, why: str) -> None:
        self._why = why

    def idle(self) -> float | None:
        """Unknown."""
        return None

    def begin(self) -> None:
        """Nothing to start."""

    def end(self) -> None:
        """Nothing to end."""

    def energy(self, *, calls: int, cpu_s: float, memory_bytes: int | None) -> Energy:  # noqa: ARG002 - of all meters
        """Unknown, with the reason."""
        return nothing("none", self._why)


class SensorMeter(ABC):
    """A meter that reads hardware. `optional` domains may stand still and are then left out; `error` is a share.

    Subclasses read: `_start` begins a slice and returns the time of its first reading, `_stop` that of its last and the
    joules by domain between them; both may raise Unavailable.
    """

    def __init__(
        self,
        source: EnergySource,
        *,
        update_s: float,
        baseline: Baseline | None = None,
        optional: Sequence[str] = (),
        error: float = 0.0,
        notes: Sequence[str] = (),
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        known = baseline if baseline is not None and baseline.source == source else Baseline(source=source)
        self.source: EnergySource = source
        self.update_s: float | None = known.update_s or update_s
        self._idle_w, self._idle_s = known.idle_w, known.idle_s
        self._optional, self._error, self._notes = frozenset(optional), error, list(notes)
        self._clock, self._sleep = clock, sleep
        self._began = 0.0
        self._window_s, self._windows = 0.0, 0
        self._joules: dict[str, float] = {}
        self._disturbed: str | None = None

    @property
    def least_window_s(self) -> float:
        """Ten update periods, seconds."""
        return UPDATES_PER_WINDOW * (self.update_s or 0.0)

    @abstractmethod
    def _start(self) -> float: ...

    @abstractmethod
    def _stop(self) -> tuple[float, Mapping[str, float]]: ...

    def baseline(self) -> Baseline:
        """Measure what a run needs to know once; takes idle() and, where it must be found, the update period."""
        self.idle()
        return Baseline(source=self.source, idle_w=self._idle_w, idle_s=self._idle_s, update_s=self.update_s)

    def idle(self) -> float | None:
        """Watts at rest over `IDLE_S` or ten update periods, asleep meanwhile; kept for the net energy."""
        try:
            began = self._start()
            self._sleep(max(self.least_window_s, IDLE_S))
            ended, counted = self._stop()
        except Unavailable as why:
            self._notes.append(f"idle power unknown: {why}")
            return None
        joules = sum(counted.values())
        if joules <= 0:
            self._notes.append("idle power unknown: the counter stood still")
            return None
        self._idle_w, self._idle_s = joules / (ended - began), ended - began
        return self._idle_w

    def begin(self) -> None:
        """Start a slice."""
        try:
            self._began = self._start()
        except Unavailable as why:
            self._began = self._clock()
            self._disturbed = self._disturbed or str(why)

    def end(self) -> None:
        """End a slice and add it up."""
        try:
            ended, counted = self._stop()
        except Unavailable as why:
            ended, counted = self._clock(), {}
            self._disturbed = self._disturbed or str(why)
        for domain, joules in counted.items():
            self._joules[domain] = self._joules.get(domain, 0.0) + joules
        self._window_s += ended - self._began
        self._windows += 1

    def energy(self, *, calls: int, cpu_s: float, memory_bytes: int | None) -> Energy:  # noqa: ARG002 - of all meters
        """Joules per call: gross, and net of the idle power; unknown where the window does not bear it."""
        still = sorted(domain for domain, joules in self._joules.items() if joules <= 0)
        unknown = self._unknown(calls, still)
        if unknown is not None:
            note = "; ".join([unknown, *self._notes])
            return nothing(self.source, note, window_s=self._window_s, update_s=self.update_s)
        counted = {domain: joules for domain, joules in self._joules.items() if joules > 0}
        notes = [*self._notes, *(f"{domain} stood still and is left out" for domain in still)]
        joules = sum(counted.values())
        spread = self._error + self._windows * (self.update_s or 0.0) / self._window_s
        net = None if self._idle_w is None else joules - self._idle_w * self._window_s
        if net is not None and net <= 0:
            net = None
            notes.append("no power above idle was seen: net is unknown")
        return Energy(
            gross_j=joules / calls,
            net_j=None if net is None else net / calls,
            low_j=joules * max(0.0, 1 - spread) / calls,
            high_j=joules * (1 + spread) / calls,
            idle_w=self._idle_w,
            idle_s=self._idle_s,
            source=self.source,
            window_s=self._window_s,
            update_s=self.update_s,
            domains=sorted(counted),
            note="; ".join(notes) or None,
        )

    def _unknown(self, calls: int, still: Sequence[str]) -> str | None:
        if self._disturbed is not None:
            return self._disturbed
        if not self._windows or not calls:
            return "no window was measured"
        mean_s = self._window_s / self._windows
        if mean_s < self.least_window_s:
            return (
                f"a window of {mean_s:.3g} s is shorter than ten updates of the {self.source} "
                f"({self.least_window_s:.3g} s); measure for longer"
            )
        required = [domain for domain in still if domain not in self._optional]
        if required or len(still) == len(self._joules):
            return f"{', '.join(required or still)} stood still for {self._window_s:.3g} s"
        return None


class Counters(Protocol):
    """Counters that rise: their readings by domain, in the counter's own unit."""

    def read(self) -> Mapping[str, int]:
        """One reading of every domain; raises Unavailable."""

    def joules(self, domain: str, before: int, after: int) -> float:
        """What lies between two readings of a domain; raises Unavailable where they make no sense."""


class CounterMeter(SensorMeter):
    """A meter on counters of energy: two readings a slice."""

    def __init__(
        self,
        counters: Counters,
        *,
        update_s: float,
        baseline: Baseline | None = None,
        optional: Sequence[str] = (),
        notes: Sequence[str] = (),
        find_update: bool = False,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(
            "counter",
            update_s=update_s,
            baseline=baseline,
            optional=optional,
            notes=notes,
            clock=clock,
            sleep=sleep,
        )
        self._counters, self._find_update = counters, find_update
        self._before: Mapping[str, int] | None = None

    def baseline(self) -> Baseline:
        """The update period, found where the vendor states none, then the idle power."""
        if self._find_update:
            self.update_s = update_period(self._counters.read, self._clock, self._sleep) or self.update_s
        return super().baseline()

    def _start(self) -> float:
        self._before = None  # an earlier slice's reading must not stand in for one that fails
        self._before = self._counters.read()
        return self._clock()

    def _stop(self) -> tuple[float, Mapping[str, float]]:
        ended = self._clock()
        after, before = self._counters.read(), self._before
        if before is None:
            raise Unavailable("the counter could not be read when the window began")
        return ended, {domain: self._counters.joules(domain, before[domain], value) for domain, value in after.items()}


def update_period(
    read: Callable[[], object], clock: Callable[[], float], sleep: Callable[[float], None], *, limit_s: float = 2.0
) -> float | None:
    """Seconds between two values of a counter that differ: the longest of five periods, asleep between the readings.

    None where it cannot be read or moves fewer than twice within `limit_s`. The longest, so that ten of it are enough.
    """
    began = clock()
    moved: list[float] = []
    try:
        last = read()
        while len(moved) < 6 and clock() - began < limit_s:
            sleep(0.002)
            now = read()
            if now != last:
                moved.append(clock())
                last = now
    except Unavailable:
        return None
    return max((b - a for a, b in itertools.pairwise(moved)), default=None)
