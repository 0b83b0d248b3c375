"""Which cases go on, and in what order, purely: from the survey into the sweep, and from there into the rounds.

This is racing (Maron and Moore 1994, "Hoeffding Races"): time goes to what may still win, and what is left out is
known and said.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import median
from typing import TypeVar

from harness.planning.plan import Planned
from harness.records.record import Record, Trial
from harness.stats.process_times import centre, paired_ratios, processes

SWEEP_FACTOR = 1.6  # a formulation this many times slower than the best of the survey is not taken on a sweep
SWEEP_MOST = 2
LONG_S = 0.1  # where the best call of a survey takes as long as this,
LONG_SWEEP_FACTOR = 1.15  # this factor holds: a case of the sweep is a minute there
SURVEY_FACTOR = 1.5  # cases this close to the best of their point in the survey, where each ran alone, have a group
SURVEY_MOST = 3
LONG_GROUP_FACTOR = 1.2  # or this close where calls take LONG_CALL_S: such a member is half a minute
LONG_CALL_S = 1.0
FINAL_FACTOR = 1.06  # of those, cases this close to the best beside them in the same groups stay for the next
FINAL_MOST = 2

T = TypeVar("T")


def sweep(plan: Sequence[Planned], records: Mapping[str, Record]) -> tuple[list[Planned], list[Planned]]:
    """The cases of the points that were not surveyed, split into (those to run, those that the survey rules out).

    Of each formulation its faster execution goes on, if within SWEEP_FACTOR of the best of its family, or within
    LONG_SWEEP_FACTOR where that takes LONG_S; at most SWEEP_MOST of them. Those that skip the zeros of a matrix are
    held against each other only: what multiplies with them may win at the density of the survey and nowhere else. A
    family in which nothing ran is swept whole: nothing was learnt there.
    """
    best: dict[tuple[object, ...], dict[str, tuple[float, str]]] = defaultdict(dict)
    dense = {(planned.family, planned.case.formulation) for planned in plan if planned.multiplies_zeros}
    for planned in plan:
        time = _seconds(records.get(planned.case.key)) if planned.survey else None
        if time is not None:
            fastest = best[planned.family].get(planned.case.formulation)
            if fastest is None or time < fastest[0]:
                best[planned.family][planned.case.formulation] = (time, planned.case.execution)
    run: list[Planned] = []
    out: list[Planned] = []
    for planned in plan:
        if planned.survey:
            continue
        known = best.get(planned.family)
        if known:
            own = (planned.family, planned.case.formulation) in dense
            times = sorted(time for name, (time, _) in known.items() if own or (planned.family, name) not in dense)
            if not times:
                out.append(planned)
                continue
            factor = LONG_SWEEP_FACTOR if times[0] >= LONG_S else SWEEP_FACTOR
            limit = min(factor * times[0], times[:SWEEP_MOST][-1])
            time, execution = known.get(planned.case.formulation, (float("inf"), ""))
            (run if time <= limit and execution == planned.case.execution else out).append(planned)
        else:
            run.append(planned)
    return run, out


def _seconds(record: Record | None) -> float | None:
    """Measured, or those of the compiler's ideal chip where nothing was run; never one held against the other."""
    if record is not None and record.estimate is not None:
        return record.estimate.optimal_s
    return centre(record)


def finalists(plan: Sequence[Planned], records: Mapping[str, Record]) -> list[Planned]:
    """The cases that may be the best path of their point.

    Where groups were run, at most FINAL_MOST within FINAL_FACTOR of the best, by the ratio in the groups that they
    shared; before, at most SURVEY_MOST within SURVEY_FACTOR (LONG_GROUP_FACTOR where calls are long) by times that were
    taken one after the other, which on a busy machine is far less sure. Only of headline points and their twins: what
    has one process keeps it, and shows no interval.
    """
    points: dict[tuple[object, ...], list[tuple[float, Planned]]] = defaultdict(list)
    for planned in plan:
        time = centre(records.get(planned.case.key)) if planned.repeated else None
        if time is not None:
            points[planned.point].append((time, planned))
    out: list[Planned] = []
    for entries in points.values():
        fastest_s, best = min(entries, key=lambda entry: entry[0])
        ratios = [
            (_over(records[planned.case.key], records[best.case.key], time), planned) for time, planned in entries
        ]
        ratios.sort(key=lambda entry: entry[0])
        raced = any(trial.round > 0 for trial in _trials(records[best.case.key]))
        close = LONG_GROUP_FACTOR if fastest_s >= LONG_CALL_S else SURVEY_FACTOR
        most, factor = (FINAL_MOST, FINAL_FACTOR) if raced else (SURVEY_MOST, close)
        out += [planned for ratio, planned in ratios[:most] if ratio <= factor * ratios[0][0]]
    return out


def _over(record: Record, best: Record, time: float) -> float:
    """How many times longer it takes than the best: pair by pair where they shared a group."""
    shared = paired_ratios(processes(record), processes(best)) if record.case.key != best.case.key else [1.0]
    return median(shared) if shared else time / (centre(best) or time)


def _trials(record: Record) -> Sequence[Trial]:
    return record.time.trials if record.time is not None else ()


def shuffled(plan: Sequence[T], seed: int, round_: int) -> list[T]:
    """The order of one round: random, the same for the same seed."""
    order = list(plan)
    random.Random(f"{seed}:{round_}").shuffle(order)
    return order
