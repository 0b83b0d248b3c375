"""Which finalists are measured together: an idea and its twins in one heat, so that their ratio is taken pair by pair.

Pure, as harness/planning/plan.py: a heat is a tuple of lanes, and what becomes of it is for the runner.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeAlias

from harness.planning.plan import Planned
from harness.records.points import point_name
from harness.records.record import Record
from harness.stats.intervals import median_intervals
from harness.stats.process_times import Process, paired_ratios, processes

CONTROLS = 8  # cases that run beside themselves in every round: their differences are the noise floor of the run
LANES = 8  # processes alive at once: more would make the turns of one far apart
PROCESS_BYTES = 400 << 20  # of a framework's own in a process, beside what its case was seen to need

Place: TypeAlias = tuple[str, bool]  # a case's key, and whether it is the control


@dataclass(frozen=True, slots=True)
class Lane:
    """A case in a heat; the control is the same case once more."""

    one: Planned
    control: bool = False

    @property
    def place(self) -> Place:
        """What tells its record from the others."""
        return (self.one.case.key, self.control)


@dataclass(frozen=True, slots=True)
class Heat:
    """Cases of one backend and device that are measured in turns; `number` is the same in every round of a run."""

    number: int
    lanes: tuple[Lane, ...]

    @property
    def server(self) -> tuple[str, str]:
        """The backend and device that all its lanes share."""
        case = self.lanes[0].one.case
        return (case.backend, case.device)


def heats(
    finalists: Sequence[Planned],
    records: Mapping[Place, Record],
    seed: int,
    memory_bytes: int | None = None,
) -> list[Heat]:
    """The heats of one round: every finalist in at least one, each idea with all its twins, ideas of one twin together.

    A heat takes LANES at most and what fits into `memory_bytes` by the peaks seen so far; an idea that does not fit
    beside its twins shares its heat with as many as fit.
    """
    by_point: dict[tuple[object, ...], list[Planned]] = {}
    for one in finalists:
        by_point.setdefault(_point(one), []).append(one)
    groups: dict[tuple[object, ...], list[list[Planned]]] = {}
    used: set[tuple[object, ...]] = set()
    for point, ideas in by_point.items():
        twins = [t for t in _twin_points(ideas[0]) if t in by_point and t != point]
        if twins:
            used |= {point, *twins}
            members = [*ideas, *(one for twin in twins for one in by_point[twin])]
            rooms = groups.setdefault((twins[0],), [])
            _place(rooms, members, records, memory_bytes)
    for point, alone in by_point.items():
        if point not in used:
            _place(groups.setdefault((point, "alone"), []), alone, records, memory_bytes)
    rooms = [room for rooms in groups.values() for room in rooms]
    chosen = _controls(finalists, records, seed)
    out = []
    for number, room in enumerate(rooms, 1):
        lanes = [Lane(one) for one in room]
        for one in [one for one in room if one.case.key in chosen]:
            chosen.discard(one.case.key)
            lanes.append(Lane(one, control=True))
        out.append(Heat(number, tuple(lanes)))
    return out


def _controls(finalists: Sequence[Planned], records: Mapping[Place, Record], seed: int) -> set[str]:
    """Cases to run beside themselves, drawn evenly from the backends and devices; those of earlier rounds go on."""
    places: dict[tuple[str, str], list[str]] = {}
    order = sorted((one.case.backend, one.case.device, one.case.key) for one in finalists)
    random.Random(f"{seed}:controls").shuffle(order)
    order.sort(key=lambda entry: (entry[2], True) not in records)
    for backend, device, key in order:
        places.setdefault((backend, device), []).append(key)
    turn = [key for keys in zip(*_padded(list(places.values())), strict=True) for key in keys if key]
    return set(turn[:CONTROLS])


def _padded(lists: Sequence[list[str]]) -> list[list[str]]:
    longest = max(map(len, lists), default=0)
    return [[*each, *([""] * (longest - len(each)))] for each in lists]


def _place(
    rooms: list[list[Planned]], members: Sequence[Planned], records: Mapping[Place, Record], limit: int | None
) -> None:
    """Put `members` into the last of `rooms`, sharing who is there already, or into a new one where they do not fit."""
    if rooms:
        known = {one.case.key for one in rooms[-1]}
        joined = [*rooms[-1], *(one for one in members if one.case.key not in known)]
        if len(joined) <= LANES and _fits(joined, records, limit):
            rooms[-1] = joined
            return
    room: list[Planned] = []
    for one in members:
        if room and not (len(room) < LANES and _fits([*room, one], records, limit)):
            rooms.append(room)
            room = []
        room.append(one)
    rooms.append(room)


def _fits(room: Iterable[Planned], records: Mapping[Place, Record], limit: int | None) -> bool:
    return limit is None or sum(_needs(one, records) for one in room) <= limit


def _needs(one: Planned, records: Mapping[Place, Record]) -> int:
    record = records.get((one.case.key, False))
    peak = record.memory.host_peak_bytes if record is not None and record.memory is not None else None
    return PROCESS_BYTES + (one.work.live_bytes if peak is None else peak)


def _point(one: Planned) -> tuple[object, ...]:
    c = one.case
    return (c.workload, point_name(c.params), c.mode, c.dtype, c.backend, c.device, c.seed)


def _twin_points(one: Planned) -> list[tuple[object, ...]]:
    c = one.case
    return [(t.workload, point_name(t.params), t.mode, c.dtype, c.backend, c.device, c.seed) for t in one.twins]


# -- where another round is worth most ------------------------------------------------------------------------------


def width(heat: Heat, records: Mapping[Place, Record]) -> float:
    """How far the widest interval of a heat reaches from its middle, as a share: of T, or of the time of a lone lane.

    Infinite where fewer than two processes count, 0 where no lane is `ok`.
    """
    times = {lane.place: processes(records.get(lane.place)) for lane in heat.lanes}
    cases = [lane.one for lane in heat.lanes if not lane.control and times[lane.place]]
    best = _fastest(cases, times)
    spans = []
    paired = set()
    for point, idea in best.items():
        for twin in filter(None, (best.get(t) for t in _twin_points(idea))):
            if twin is not idea:
                spans.append(_span(paired_ratios(times[idea.case.key, False], times[twin.case.key, False])))
                paired |= {point, _point(twin)}
    spans += [
        _span([process.centre_s for process in times[one.case.key, False]])
        for point, one in best.items()
        if point not in paired
    ]
    return max(spans, default=0.0)


def _fastest(cases: Iterable[Planned], times: Mapping[Place, Sequence[Process]]) -> dict[tuple[object, ...], Planned]:
    best: dict[tuple[object, ...], tuple[float, Planned]] = {}
    for one in cases:
        time = median(process.centre_s for process in times[one.case.key, False])
        point = _point(one)
        if point not in best or time < best[point][0]:
            best[point] = (time, one)
    return {point: one for point, (_, one) in best.items()}


def _span(values: Sequence[float]) -> float:
    if len(values) < 2:
        return math.inf
    low, high = median_intervals([values])
    return float(high[0] - low[0]) / 2 / median(values)
