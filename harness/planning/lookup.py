"""Where in what was learnt a planned case is looked up: the nearest point at which its path was seen, by machine."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from backends.ops import Device
from harness.planning.learnt import KnownMachine, KnownWorkload, Learnt, Seen, path_of
from harness.planning.plan import Planned
from harness.records.points import point_name
from workloads.base import Params, Value

OTHER_WORD = 5.0  # how far apart two points are that differ in a word, such as the network


@dataclass(frozen=True, slots=True)
class Sight:
    """A path as it was seen on one machine, at the nearest point where it was seen; `own` if on the machine at hand.

    `distance` is how far away that point is, by `distance_of`. Refused by the `versions`, or else `over_best` times
    the time of the best path that was seen there.
    """

    machine: KnownMachine
    own: bool
    distance: float
    over_best: float | None = None
    seen: Seen | None = None
    versions: tuple[str, ...] = ()


def distance_of(point: Params, other: Params) -> float:
    """The sum over the axes of how many e-folds two values are apart; a word that differs counts OTHER_WORD."""
    return sum(_apart(value, other.get(axis)) for axis, value in point.items() if value != other.get(axis))


def _apart(a: Value, b: Value | None) -> float:
    if isinstance(a, str) or isinstance(b, str) or b is None:
        return OTHER_WORD
    return abs(math.log(a / b)) if a > 0 and b > 0 else 1.0


class Lookup:
    """Everything that was learnt, ready to be asked. `own` names the devices at hand."""

    def __init__(self, learnt: Learnt, own: Collection[str] = ()) -> None:
        self._tables: dict[tuple[str, ...], list[_Table]] = defaultdict(list)
        self.own = [machine for machine in learnt.machines if machine.name in own]
        self.machines = learnt.machines
        for machine in learnt.machines:
            for place in machine.places:
                key = (machine.kind, place.workload, place.mode, place.dtype, place.backend)
                self._tables[key].append(_Table(machine, place, machine.name in own))

    def sights(self, planned: Planned) -> list[Sight]:
        """What is known of a case, one machine each; empty where its path was never seen, whatever the point."""
        c = planned.case
        key = (Device.parse(c.device).kind, c.workload, c.mode, c.dtype, c.backend)
        path, name = path_of(c.formulation, c.execution), point_name(c.params)
        found = (table.nearest(path, name, c.params) for table in self._tables.get(key, ()))
        return [sight for sight in found if sight is not None]

    def places(self) -> Iterable[tuple[KnownMachine, KnownWorkload]]:
        """Every place of every machine."""
        return ((machine, place) for machine in self.machines for place in machine.places)


class _Table:
    """One place of one machine; how far each of its points is from one that is asked for is reckoned once."""

    def __init__(self, machine: KnownMachine, place: KnownWorkload, own: bool) -> None:
        self._machine, self._points, self._own = machine, place.points, own
        best: dict[int, float] = {}
        for sights in place.seen.values():
            for seen in sights:
                best[seen.point] = min(seen.time_s, best.get(seen.point, math.inf))
        self._seen = {
            path: sorted(((seen.time_s / best[seen.point], seen) for seen in sights), key=lambda entry: entry[0])
            for path, sights in place.seen.items()
        }
        self._refused = place.refused
        self._distances: dict[str, list[float]] = {}

    def nearest(self, path: str, name: str, params: Mapping[str, Value]) -> Sight | None:
        """The path at the nearest point where it was seen or refused; of equally near ones where it did best."""
        known, refusals = self._seen.get(path), self._refused.get(path)
        if known is None and refusals is None:
            return None
        distances = self._distances.get(name)
        if distances is None:
            distances = self._distances[name] = [distance_of(params, point) for point in self._points]
        least, over_best, at = math.inf, 0.0, None
        for ratio, seen in known or ():
            if distances[seen.point] < least:
                least, over_best, at = distances[seen.point], ratio, seen
        versions: tuple[str, ...] = ()
        for version, points in (refusals or {}).items():
            distance = min(distances[point] for point in points)
            if distance < least:
                least, versions, at = distance, (version,), None
            elif distance == least and versions:
                versions = (*versions, version)
        if at is None:
            return Sight(self._machine, self._own, least, versions=versions)
        return Sight(self._machine, self._own, least, over_best=over_best, seen=at)
