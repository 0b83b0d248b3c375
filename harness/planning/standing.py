"""Where the cases of one point stand against each other, by what they were measured to take in groups they shared."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import numpy as np

from harness.planning.plan import Planned
from harness.records.record import Record
from harness.stats.process_times import middle

Observed: TypeAlias = tuple[int, float, float]
LOOK_WEIGHT = 0.2  # of a look, in which a window is a fifth of a round's
ROBUST_STEPS, SAME = 12, 0.01  # deviations below one percent are not told apart
SPEED_WEIGHT = 1e-3  # that the machine had one speed in all groups, where nothing else joins two of them


def standing(cases: Sequence[Planned], records: Mapping[str, Record]) -> list[tuple[float, Planned]]:
    """Each case that is `ok` with its time over the fastest's, the fastest (1.0) first, by `relative_times`."""
    return standings([cases], records)[0]


def standings(points: Sequence[Sequence[Planned]], records: Mapping[str, Record]) -> list[list[tuple[float, Planned]]]:
    """The `standing` of the cases of each of several points, sooner than one by one."""
    known = [[planned for planned in cases if planned.case.key in records] for cases in points]
    times = _relative_times([[records[planned.case.key] for planned in cases] for cases in known])
    out = []
    for cases, ratios in zip(known, times, strict=True):
        entries = [(ratios[planned.case.key], planned) for planned in cases if planned.case.key in ratios]
        out.append(sorted(entries, key=lambda entry: entry[0]))
    return out


def relative_times(records: Iterable[Record]) -> dict[str, float]:
    """The times of the cases of one point over the fastest's (1.0), by key, of those that are `ok`.

    Log times are fitted as the sum of a case's and a group's effect (the two-way additive model; Scheffé 1959, "The
    Analysis of Variance", chapter 4). So cases that never met are held against each other through
    those that both met, and a slow hour of the machine is the group's. Of a chip that is only compiled for, the
    compiler's ideal seconds count. A look in which all had rounds since says nothing any more.
    """
    return _relative_times([list(records)])[0]


def _relative_times(points: Sequence[Sequence[Record]]) -> list[dict[str, float]]:
    """`relative_times` of each of several points."""
    keys: list[list[str]] = []
    ideal: list[list[float]] = []
    times: list[list[list[Observed]]] = []
    for records in points:
        estimated = [(r.case.key, r.estimate.optimal_s) for r in records if r.estimate and r.estimate.optimal_s]
        seen = [] if estimated else [(r.case.key, found) for r in records if (found := observed(r))]
        keys.append([key for key, _ in estimated or seen])
        ideal.append([math.log(seconds) for _, seconds in estimated])
        times.append(_telling([found for _, found in seen]))
    out = []
    for names, by_compiler, fitted in zip(keys, ideal, _fitted(times), strict=True):
        logs = by_compiler or fitted
        fastest = min(logs, default=0.0)
        out.append({key: math.exp(log - fastest) for key, log in zip(names, logs, strict=True)})
    return out


def rounds_of(record: Record | None) -> set[int]:
    """The rounds in which a process of it was, with its full window; none of what was only looked at."""
    return set() if record is None or record.time is None else {t.round for t in record.time.trials if t.round}


def observed(record: Record) -> list[Observed]:
    """Of each process of an `ok` case its group (−round where it ran alone), median of its samples in s, and weight."""
    if record.status != "ok" or record.time is None:
        return []
    pairs = zip(record.time.trials, record.time.samples_s, strict=False)
    return [
        (trial.heat or -trial.round, middle(samples), 1.0 if trial.round else LOOK_WEIGHT)
        for trial, samples in pairs
        if samples
    ]


def _telling(cases: Sequence[Sequence[Observed]]) -> list[list[Observed]]:
    """Without the looks of which every case had rounds."""
    only = [times for times in cases if all(weight < 1 for _, _, weight in times)]
    looks = {group for times in only for group, _, _ in times}
    return [[time for time in times if time[2] == 1 or time[0] in looks] for times in cases]


def _fitted(points: Sequence[Sequence[Sequence[Observed]]]) -> list[list[float]]:
    """Of each point the effect of each of its cases, in log seconds.

    What was observed once is met by its own effect whatever its group's is, and says nothing of that: it is left out of
    the fit, and is what the group leaves of its time. Where each case was observed once, nothing says that any group
    was slow.
    """
    telling = [[times for times in cases if len(times) > 1] for cases in points]
    found = iter(_least_deviations([cases for cases in telling if cases]) if any(telling) else [])
    out: list[list[float]] = []
    for cases, several in zip(points, telling, strict=True):
        effects, of_groups = next(found) if several else ([], {})
        left = iter(effects)
        out.append(
            [math.log(t[0][1]) - of_groups.get(t[0][0], 0.0) if len(t) == 1 else next(left) for t in cases],
        )
    return out


def _least_deviations(
    points: Sequence[Sequence[Sequence[Observed]]],
) -> list[tuple[list[float], dict[int, float]]]:
    """The effects of the cases of each point, in order, and of its groups, in log seconds.

    By least absolute deviations, by reweighted least squares (Schlossmacher 1973), so that one disturbed group does not
    decide. All points at once: each has its own rows and unknowns, and what it has less than the largest is left at
    zero.
    """
    tables = []
    for cases in points:
        times = [(number, *time) for number, observations in enumerate(cases) for time in observations]
        groups = {group: len(cases) + at for at, group in enumerate(dict.fromkeys(group for _, group, _, _ in times))}
        tables.append((times, groups, len(cases) + len(groups)))
    rows, unknowns = max(len(times) + len(groups) for times, groups, _ in tables), max(size for *_, size in tables)
    design = np.zeros((len(points), rows, unknowns))
    logs, given = np.zeros((2, len(points), rows))
    is_observed = np.zeros((len(points), rows), bool)
    spare = np.zeros((len(points), unknowns, unknowns))
    for k, (times, groups, size) in enumerate(tables):
        n, own = len(times), np.arange(len(groups))
        design[k, np.arange(n), [number for number, *_ in times]] = 1.0
        design[k, np.arange(n), [groups[group] for _, group, _, _ in times]] = 1.0
        design[k, n + own, size - len(groups) + own] = 1.0
        logs[k, :n] = [math.log(seconds) for _, _, seconds, _ in times]
        given[k, :n], given[k, n : n + len(groups)] = [weight for *_, weight in times], SPEED_WEIGHT
        is_observed[k, :n] = True
        spare[k, np.arange(size, unknowns), np.arange(size, unknowns)] = 1.0
    weights, transposed = given, design.transpose(0, 2, 1)
    for _ in range(ROBUST_STEPS):
        weighted = transposed * weights[:, None]  # by the normal equations, which each group's own row makes regular
        effects = np.linalg.solve(weighted @ design + spare, weighted @ logs[..., None])
        off = np.maximum(np.abs(logs - (design @ effects)[..., 0]), SAME)
        now = np.where(is_observed, given * SAME / off, given)
        if (now == weights).all():  # nothing moves any more
            break
        weights = now
    out = []
    for found, cases, (_, groups, _) in zip(effects[..., 0].tolist(), points, tables, strict=True):
        out.append((found[: len(cases)], {group: found[at] for group, at in groups.items()}))
    return out
