"""Which finalists are measured together: an idea and its twins in one group, so that their ratio is taken pair by pair.

Pure, as `plan` is: a group is a tuple of members, and what becomes of it is for the runner.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeAlias

from harness.planning.options import Options
from harness.planning.plan import Planned
from harness.planning.standing import rounds_of, standing
from harness.records.record import Record
from harness.stats.intervals import median_intervals
from harness.stats.process_times import paired_ratios, processes

CONTROLS = 8  # cases that run beside themselves in every round: their differences are the noise floor of the run
MEMBERS = 8  # processes alive at once: more would make the turns of one far apart
PROCESS_BYTES = 400 << 20  # of a framework's own in a process, beside what its case was seen to need

MemberKey: TypeAlias = tuple[str, bool]  # a case's key, and whether it is the control


@dataclass(frozen=True, slots=True)
class Member:
    """A case in a group; the control is the same case once more."""

    planned: Planned
    control: bool = False

    @property
    def key(self) -> MemberKey:
        """What tells its record from the others."""
        return (self.planned.case.key, self.control)


@dataclass(frozen=True, slots=True)
class InterleavedGroup:
    """Cases of one backend and device that are measured in turns; `number` is the same in every round of a run."""

    number: int
    members: tuple[Member, ...]

    @property
    def key(self) -> tuple[MemberKey, ...]:
        """What tells it from the groups of this round and another."""
        return tuple(member.key for member in self.members)

    @property
    def server(self) -> tuple[str, str]:
        """The backend and device that all its members share."""
        case = self.members[0].planned.case
        return (case.backend, case.device)


def interleaved_groups(
    finalists: Sequence[Planned],
    records: Mapping[MemberKey, Record],
    seed: int,
    memory_bytes: int | None = None,
) -> list[InterleavedGroup]:
    """The groups of one round: every finalist in at least one, each idea with its twins, ideas of one twin together.

    A group takes MEMBERS at most and what fits into `memory_bytes` by the peaks seen so far; an idea that does not fit
    beside its twins shares its group with as many as fit.
    """
    by_point: dict[tuple[object, ...], list[Planned]] = {}
    for planned in finalists:
        by_point.setdefault(planned.point, []).append(planned)
    by_twin: dict[tuple[object, ...], list[list[Planned]]] = {}
    used: set[tuple[object, ...]] = set()
    for point, ideas in by_point.items():
        twins = [t for t in twin_points(ideas[0]) if t in by_point and t != point]
        if twins:
            used |= {point, *twins}
            together = [*ideas, *(planned for twin in twins for planned in by_point[twin])]
            _place(by_twin.setdefault((twins[0],), []), together, records, memory_bytes)
    for point, alone in by_point.items():
        if point not in used:
            _place(by_twin.setdefault((point, "alone"), []), alone, records, memory_bytes)
    chosen = _controls(finalists, records, seed)
    out = []
    for number, group in enumerate((group for groups in by_twin.values() for group in groups), 1):
        members = [Member(planned) for planned in group]
        for planned in [planned for planned in group if planned.case.key in chosen]:
            chosen.discard(planned.case.key)
            members.append(Member(planned, control=True))
        out.append(InterleavedGroup(number, tuple(members)))
    return out


def raced(
    plan: Sequence[Planned], whole: Sequence[Planned], records: Mapping[MemberKey, Record], options: Options
) -> list[InterleavedGroup]:
    """The groups of a round of `plan`. What has a control stays with it: a control counts that was in all rounds."""
    keys = {planned.case.key for planned in plan}
    controlled = [p for p in whole if (p.case.key, True) in records and p.case.key not in keys]
    return interleaved_groups([*plan, *controlled], records, options.seed, options.memory_bytes)


def has_its_rounds(group: InterleavedGroup, round_: int, records: Mapping[MemberKey, Record], options: Options) -> bool:
    """Whether a group needs this round no more: all members have it, as in a resumed run, or it is past those asked.

    Past these, only what came late has rounds: what a look found after the first ones.
    """
    if has_round(group, round_, records):
        return True
    known = [records.get(member.key) for member in group.members]
    ran = [record for record in known if record is None or record.time is not None]  # a failure needs none
    return round_ > options.rounds and all(len(rounds_of(record)) >= options.late_rounds for record in ran)


def has_round(group: InterleavedGroup, round_: int, records: Mapping[MemberKey, Record]) -> bool:
    """Whether all its members had this round: in a run that goes on with one that was stopped."""
    known = [records.get(member.key) for member in group.members]
    return all(record is not None and (record.time is None or round_ in rounds_of(record)) for record in known)


def _controls(finalists: Sequence[Planned], records: Mapping[MemberKey, Record], seed: int) -> set[str]:
    """Cases to run beside themselves, drawn evenly from the backends and devices; those of earlier rounds go on."""
    places: dict[tuple[str, str], list[str]] = {}
    order = sorted((planned.case.backend, planned.case.device, planned.case.key) for planned in finalists)
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
    groups: list[list[Planned]], together: Sequence[Planned], records: Mapping[MemberKey, Record], limit: int | None
) -> None:
    """Put cases into the last of `groups`, sharing who is there already, or into a new one where they do not fit."""
    if groups:
        known = {planned.case.key for planned in groups[-1]}
        joined = [*groups[-1], *(planned for planned in together if planned.case.key not in known)]
        if len(joined) <= MEMBERS and fits(joined, records, limit):
            groups[-1] = joined
            return
    group: list[Planned] = []
    for planned in together:
        if group and not (len(group) < MEMBERS and fits([*group, planned], records, limit)):
            groups.append(group)
            group = []
        group.append(planned)
    groups.append(group)


def fits(group: Iterable[Planned], records: Mapping[MemberKey, Record], limit: int | None) -> bool:
    """Whether the processes of all of them find room in `limit` bytes together, by the peaks seen so far."""
    return limit is None or sum(_needs(planned, records) for planned in group) <= limit


def _needs(planned: Planned, records: Mapping[MemberKey, Record]) -> int:
    record = records.get((planned.case.key, False))
    peak = record.memory.host_peak_bytes if record is not None and record.memory is not None else None
    return PROCESS_BYTES + (planned.work.live_bytes if peak is None else peak)


def twin_points(planned: Planned) -> list[tuple[object, ...]]:
    """The points (`Planned.point`) of its twins on the same backend and device, the principal one first."""
    c = planned.case
    return [
        (t.workload, tuple(sorted(t.params.items())), t.mode, t.dtype or c.dtype, c.backend, c.device)
        for t in planned.twins
    ]


# -- where another round is worth most ------------------------------------------------------------------------------


def width(group: InterleavedGroup, records: Mapping[MemberKey, Record]) -> float:
    """How far the widest interval of a group reaches from its middle, as a share: of T, or of a lone member's time.

    Infinite where fewer than two processes count, 0 where no member is `ok`.
    """
    times = {member.key: processes(records.get(member.key)) for member in group.members}
    cases = [member.planned for member in group.members if not member.control and times[member.key]]
    best = _fastest(cases, {key: record for (key, control), record in records.items() if not control})
    spans = []
    paired = set()
    for point, idea in best.items():
        for twin in filter(None, (best.get(t) for t in twin_points(idea))):
            if twin is not idea:
                spans.append(_span(paired_ratios(times[idea.case.key, False], times[twin.case.key, False])))
                paired |= {point, twin.point}
    spans += [
        _span([process.centre_s for process in times[planned.case.key, False]])
        for point, planned in best.items()
        if point not in paired
    ]
    return max(spans, default=0.0)


def _fastest(cases: Iterable[Planned], records: Mapping[str, Record]) -> dict[tuple[object, ...], Planned]:
    points: dict[tuple[object, ...], list[Planned]] = {}
    for planned in cases:
        points.setdefault(planned.point, []).append(planned)
    return {point: entries[0][1] for point, same in points.items() if (entries := standing(same, records))}


def _span(values: Sequence[float]) -> float:
    if len(values) < 2:
        return math.inf
    low, high = median_intervals([values])
    return float(high[0] - low[0]) / 2 / median(values)
