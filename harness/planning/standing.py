"""Where the cases of one point stand against each other, by what they were measured to take in groups they shared."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import TypeAlias

import numpy as np

from harness.planning.plan import Planned
from harness.records.record import Record

Observed: TypeAlias = tuple[int, float, float]
LOOK_WEIGHT = 0.2  # of a look, in which a window is a fifth of a round's
ROBUST_STEPS, SAME = 12, 0.01  # deviations below one percent are not told apart
SPEED_WEIGHT = 1e-3  # that the machine had one speed in all groups, where nothing else joins two of them


def standing(cases: Sequence[Planned], records: Mapping[str, Record]) -> list[tuple[float, Planned]]:
    """Each case that is `ok` with its time over the fastest's, the fastest (1.0) first, by `relative_times`."""
    known = [planned for planned in cases if planned.case.key in records]
    ratios = relative_times(records[planned.case.key] for planned in known)
    entries = [(ratios[planned.case.key], planned) for planned in known if planned.case.key in ratios]
    return sorted(entries, key=lambda entry: entry[0])


def relative_times(records: Iterable[Record]) -> dict[str, float]:
    """The times of the cases of one point over the fastest's (1.0), by key, of those that are `ok`.

    Log times are fitted as the sum of a case's and a group's effect (the two-way additive model; Scheffé 1959, "The
    Analysis of Variance", chapter 4). So cases that never met are held against each other through
    those that both met, and a slow hour of the machine is the group's. Of a chip that is only compiled for, the
    compiler's ideal seconds count. A look in which all had rounds since says nothing any more.
    """
    known = list(records)
    estimated = [(r, r.estimate.optimal_s) for r in known if r.estimate is not None and r.estimate.optimal_s]
    if estimated:
        logs = [math.log(seconds) for _, seconds in estimated]
        timed = [record for record, _ in estimated]
    else:
        seen = [(record, times) for record in known if (times := observed(record))]
        timed = [record for record, _ in seen]
        logs = _fitted(_telling([times for _, times in seen]))
    fastest = min(logs, default=0.0)
    return {record.case.key: math.exp(log - fastest) for record, log in zip(timed, logs, strict=True)}


def with_times(records: Iterable[Record]) -> list[Record]:
    """Those of the cases of one point that `relative_times` has in its order."""
    known = list(records)
    return [r for r in known if r.estimate is not None and r.estimate.optimal_s] or [r for r in known if observed(r)]


def rounds_of(record: Record | None) -> set[int]:
    """The rounds in which a process of it was, with its full window; none of what was only looked at."""
    return set() if record is None or record.time is None else {t.round for t in record.time.trials if t.round}


def observed(record: Record) -> list[Observed]:
    """Of each process of an `ok` case its group (−round where it ran alone), median of its samples in s, and weight."""
    if record.status != "ok" or record.time is None:
        return []
    pairs = zip(record.time.trials, record.time.samples_s, strict=False)
    return [
        (trial.heat or -trial.round, median(samples), 1.0 if trial.round else LOOK_WEIGHT)
        for trial, samples in pairs
        if samples
    ]


def _telling(cases: Sequence[Sequence[Observed]]) -> list[list[Observed]]:
    """Without the looks of which every case had rounds."""
    only = [times for times in cases if all(weight < 1 for _, _, weight in times)]
    looks = {group for times in only for group, _, _ in times}
    return [[time for time in times if time[2] == 1 or time[0] in looks] for times in cases]


def _fitted(cases: Sequence[Sequence[Observed]]) -> list[float]:
    """The effect of each case, in log seconds: least absolute deviations, by reweighted least squares (Schlossmacher
    1973), so that one disturbed group does not decide.
    """
    times = [(number, *time) for number, observations in enumerate(cases) for time in observations]
    if len(times) == len(cases) and all(cases):  # one of each: nothing says that its group was slow
        return [math.log(seconds) for _, _, seconds, _ in times]
    groups = {group: len(cases) + at for at, group in enumerate(dict.fromkeys(group for _, group, _, _ in times))}
    design = np.zeros((len(times) + len(groups), len(cases) + len(groups)))
    for row, (number, group, _, _) in enumerate(times):
        design[row, [number, groups[group]]] = 1.0
    design[len(times) :, len(cases) :] = np.eye(len(groups))
    logs = np.array([*(math.log(seconds) for _, _, seconds, _ in times), *[0.0] * len(groups)])
    given = np.array([*(weight for *_, weight in times), *[SPEED_WEIGHT] * len(groups)])
    is_observed = np.arange(len(given)) < len(times)
    weights, effects, transposed = given.copy(), np.zeros(len(cases) + len(groups)), design.T
    for _ in range(ROBUST_STEPS):
        weighted = transposed * weights  # by the normal equations, which each group's own row makes regular
        effects = np.linalg.solve(weighted @ design, weighted @ logs)
        off = np.maximum(np.abs(logs - design @ effects), SAME)
        now = np.where(is_observed, given * SAME / off, given)
        if (now == weights).all():  # nothing moves any more
            break
        weights = now
    return [float(effect) for effect in effects[: len(cases)]]
