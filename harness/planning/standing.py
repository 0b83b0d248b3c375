"""Where the cases of one point stand against each other, by what they were measured to take in groups they shared."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median

import numpy as np

from harness.planning.plan import Planned
from harness.records.record import Record

LOOK_WEIGHT = 0.2  # of a look, in which a window is a fifth of a round's
SPEED_WEIGHT = 0.05  # that the machine had one speed in all groups, where nothing else joins two of them


def standing(cases: Sequence[Planned], records: Mapping[str, Record]) -> list[tuple[float, Planned]]:
    """Each case that is `ok` with its time over the fastest's, the fastest (1.0) first.

    Log times are fitted as the sum of a case's and a group's effect (the two-way additive model; Scheffé 1959, "The
    Analysis of Variance", chapter 4), by least squares. So cases that never met are held against each other through
    those that both met, and a slow hour of the machine is the group's. Of a chip that is only compiled for, the
    compiler's ideal seconds count.
    """
    known = [(planned, records[planned.case.key]) for planned in cases if planned.case.key in records]
    estimated = [(p, r.estimate.optimal_s) for p, r in known if r.estimate is not None and r.estimate.optimal_s]
    if estimated:
        logs = [math.log(seconds) for _, seconds in estimated]
        timed = [planned for planned, _ in estimated]
    else:
        seen = [(p, observed(r)) for p, r in known]
        timed = [planned for planned, times in seen if times]
        logs = _fitted([times for _, times in seen if times])
    fastest = min(logs, default=0.0)
    return sorted(
        ((math.exp(log - fastest), planned) for log, planned in zip(logs, timed, strict=True)),
        key=lambda entry: entry[0],
    )


def observed(record: Record) -> list[tuple[int, float, float]]:
    """Of each process of an `ok` case its group (0 where it ran alone), the median of its samples in s, its weight."""
    if record.status != "ok" or record.time is None:
        return []
    pairs = zip(record.time.trials, record.time.samples_s, strict=False)
    return [
        (trial.heat or 0, median(samples), 1.0 if trial.round else LOOK_WEIGHT) for trial, samples in pairs if samples
    ]


def _fitted(cases: Sequence[Sequence[tuple[int, float, float]]]) -> list[float]:
    """The effect of each case, in log seconds."""
    if not cases:
        return []
    groups = {group: at for at, group in enumerate(dict.fromkeys(g for times in cases for g, _, _ in times))}
    rows, values = [], []
    for number, times in enumerate(cases):
        for group, seconds, weight in times:
            row = np.zeros(len(cases) + len(groups))
            row[number] = row[len(cases) + groups[group]] = math.sqrt(weight)
            rows.append(row)
            values.append(math.sqrt(weight) * math.log(seconds))
    for at in groups.values():
        row = np.zeros(len(cases) + len(groups))
        row[len(cases) + at] = math.sqrt(SPEED_WEIGHT)
        rows.append(row)
        values.append(0.0)
    effects, *_ = np.linalg.lstsq(np.array(rows), np.array(values), rcond=None)
    return [float(effect) for effect in effects[: len(cases)]]
