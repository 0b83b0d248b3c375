"""Which cases go on, and in what order, purely: into the sweep after the first look, and from there into the rounds.

This is racing (Maron and Moore 1994, "Hoeffding Races"): time goes to what may still win, and what is left out is
known and said.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias, TypeVar

from harness.planning.foresight import Foresight
from harness.planning.plan import Planned
from harness.planning.standing import rounds_of, standing
from harness.records.record import Record
from harness.stats.process_times import centre

SWEEP_FACTOR = 1.6  # a formulation this many times slower than the best of the survey is not taken on a sweep
SWEEP_MOST = 2
SWEEP_EXPECTED = 1.25  # nor is one to a point at which earlier runs say that it is this many times slower than another
LONG_S = 0.1  # where the best call of a survey takes as long as this,
LONG_SWEEP_FACTOR = 1.15  # this factor holds: a case of the sweep is a minute there
LOOK_FACTOR = 1.15  # cases this close to the best of their point by a look have rounds
LOOK_MOST = 3
LONG_LOOK_FACTOR = 1.1  # or this close where calls take LONG_CALL_S: such a member is half a minute
LONG_CALL_S = 1.0
FINAL_FACTOR = 1.06  # of those, cases this close to the best in the rounds stay for the next
FINAL_MOST = 2
KNOWN_ROUNDS, KNOWN_FACTOR = 3, 1.3  # what had so many rounds is not given up for a newcomer that leads by less

T = TypeVar("T")
Surveyed: TypeAlias = tuple[float, str, float]  # time over the best of its point, by which execution, seconds of that


class Swept(NamedTuple):
    """The cases of the points that were not surveyed: what is run, what the survey rules out, what is known better.

    Another case that is run at the point of a `beaten` one is expected to be SWEEP_EXPECTED times faster there.
    """

    run: list[Planned]
    ruled_out: list[Planned]
    beaten: list[Planned]


def sweep(plan: Sequence[Planned], records: Mapping[str, Record], foresight: Foresight | None = None) -> Swept:
    """The cases of the points that were not surveyed, by what their survey and `foresight` say of them.

    Of each formulation its faster execution goes on, if within SWEEP_FACTOR of the best of its family, or within
    LONG_SWEEP_FACTOR where that takes LONG_S; at most SWEEP_MOST of them. Those that skip the zeros of a matrix are
    held against each other only: what multiplies with them may win at the density of the survey and nowhere else. A
    family in which nothing ran is swept whole: nothing was learnt there. A point at which none of those is planned has
    what came next, or it would have no time at all.
    """
    dense = {(planned.family, planned.case.formulation) for planned in plan if planned.multiplies_zeros}
    best = _fastest_executions([planned for planned in plan if planned.survey], records)
    run: list[Planned] = []
    out: list[Planned] = []
    for planned in plan:
        if planned.survey:
            continue
        known = best.get(planned.family)
        if known:
            own = (planned.family, planned.case.formulation) in dense
            times = sorted(time for name, (time, _, _) in known.items() if own or (planned.family, name) not in dense)
            if not times:
                out.append(planned)
                continue
            seconds = min(seconds for time, _, seconds in known.values() if time == times[0])
            factor = LONG_SWEEP_FACTOR if seconds >= LONG_S else SWEEP_FACTOR
            limit = min(factor * times[0], times[:SWEEP_MOST][-1])
            time, execution, _ = known.get(planned.case.formulation, (float("inf"), "", 0.0))
            (run if time <= limit and execution == planned.case.execution else out).append(planned)
        else:
            run.append(planned)
    next_best = _of_points_without(run, out, best)
    run, out = [*run, *next_best], [planned for planned in out if planned not in next_best]
    slower = set() if foresight is None else _expected_slower(run, foresight)
    going_on = [p for p in run if p.case.key not in slower]
    return Swept(going_on, out, [p for p in run if p.case.key in slower])


def _of_points_without(
    run: Sequence[Planned], out: Sequence[Planned], best: Mapping[tuple[object, ...], Mapping[str, Surveyed]]
) -> list[Planned]:
    """Of each point of which nothing is run the case that came first in the survey."""
    there = {planned.point for planned in run}
    points: dict[tuple[object, ...], list[tuple[float, bool, int, Planned]]] = defaultdict(list)
    for number, planned in enumerate(out):
        if planned.point not in there:
            time, execution, _ = best[planned.family].get(planned.case.formulation, (float("inf"), "", 0.0))
            points[planned.point].append((time, execution != planned.case.execution, number, planned))
    return [min(known)[-1] for known in points.values()]


def _expected_slower(run: Sequence[Planned], foresight: Foresight) -> set[str]:
    """The keys of the cases that another of their point is expected to beat."""
    points: dict[tuple[object, ...], dict[str, float]] = defaultdict(dict)
    for planned in run:
        expected = foresight.expected(planned)
        if expected is not None:
            points[planned.point][planned.case.key] = expected
    return {
        key for known in points.values() for key, value in known.items() if value > SWEEP_EXPECTED * min(known.values())
    }


def _fastest_executions(
    surveyed: Sequence[Planned], records: Mapping[str, Record]
) -> dict[tuple[object, ...], dict[str, Surveyed]]:
    """By family and formulation: its time over the best of its point, by which execution, and the seconds of that."""
    points: dict[tuple[object, ...], list[Planned]] = defaultdict(list)
    for planned in surveyed:
        points[planned.point].append(planned)
    best: dict[tuple[object, ...], dict[str, Surveyed]] = defaultdict(dict)
    for cases in points.values():
        for ratio, planned in standing(cases, records):
            known = best[planned.family].get(planned.case.formulation)
            if known is None or ratio < known[0]:
                seconds = centre(records[planned.case.key]) or 0.0
                best[planned.family][planned.case.formulation] = (ratio, planned.case.execution, seconds)
    return best


def finalists(plan: Sequence[Planned], records: Mapping[str, Record]) -> list[Planned]:
    """The cases that may be the best path of their point: of headline points and their twins.

    By `standing`. Of what had rounds, those within FINAL_FACTOR of the best stay; of what was only looked at, those
    within LOOK_FACTOR (LONG_LOOK_FACTOR where calls are long) join; at most LOOK_MOST while any has only been looked
    at, FINAL_MOST after. What has one process keeps it, and shows no interval. Beside newcomers stays the best of those
    that had KNOWN_ROUNDS, since few rounds may have been lucky ones.
    """
    points: dict[tuple[object, ...], list[Planned]] = defaultdict(list)
    for planned in plan:
        if planned.repeated:
            points[planned.point].append(planned)
    out: list[Planned] = []
    for cases in points.values():
        entries = standing(cases, records)
        if not entries:
            continue
        seconds = centre(records[entries[0][1].case.key]) or 0.0
        look = LONG_LOOK_FACTOR if seconds >= LONG_CALL_S else LOOK_FACTOR
        raced = bool(rounds_of(records[entries[0][1].case.key]))  # by a look alone nothing that had rounds is dropped
        close = [
            planned
            for ratio, planned in entries
            if ratio <= (FINAL_FACTOR if raced and rounds_of(records[planned.case.key]) else look)
        ]
        all_raced = all(rounds_of(records[planned.case.key]) for planned in close)
        chosen = close[: FINAL_MOST if all_raced else LOOK_MOST]
        out += chosen
        known = [p for ratio, p in entries if ratio <= KNOWN_FACTOR and _known(records[p.case.key])]
        if known and not any(_known(records[planned.case.key]) for planned in chosen):
            out.append(known[0])
    return out


def _known(record: Record) -> bool:
    return len(rounds_of(record)) >= KNOWN_ROUNDS


def shuffled(plan: Sequence[T], seed: int, round_: int) -> list[T]:
    """The order of one round: random, the same for the same seed."""
    order = list(plan)
    random.Random(f"{seed}:{round_}").shuffle(order)
    return order
