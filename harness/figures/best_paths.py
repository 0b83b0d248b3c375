"""The best path of every point: of all formulations and executions on one backend and device, the fastest `ok` one."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from statistics import median
from typing import Any

import numpy as np
import pandas as pd

from harness.records.outcomes import SEVERITY, outcome
from harness.stats.intervals import median_intervals
from harness.stats.process_times import Process, paired_ratios

GROUP = ("run", "workload", "point", "mode", "dtype", "backend", "device", "seed")

# A path that had its first look only must beat the best by more than that look can err to be the best itself.
FIRST_LOOK_MARGIN = 1.3

# What belongs to a path's own record, and so to nobody where no path is ok.
_OF_THE_PATH = [
    *("key", "formulation", "execution", "path", "fallback", "settings", "max_rel_error", "steady", "drift"),
    *("first_call_s", "compile_s", "convert_s", "compile_cache", "memory_bytes", "memory_source"),
    *("device_peak_bytes", "host_peak_bytes", "compiled_temp_bytes"),
    *("energy_j", "energy_net_j", "energy_low_j", "energy_high_j"),
]


def grouped(table: pd.DataFrame) -> dict[tuple[Any, ...], list[int]]:
    """Row numbers by the values of `GROUP`: the cases that compete for one best path."""
    groups: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for index, key in enumerate(zip(*(table[name].tolist() for name in GROUP), strict=True)):
        groups[key].append(index)
    return groups


def best_paths(frame: pd.DataFrame) -> pd.DataFrame:
    """One row for every (run, workload, point, mode, dtype, backend, device, seed): its fastest `ok` path.

    The columns are the frame's, those of the path's own record; `path` is None where none is ok. Added: `outcome`
    (counts over all its cases), `cases`, `reason` and `failure_class` of the worst failure; `tied`, how many other
    paths cannot be told from the best (`Paths.inseparable`), and `rivals`, their processes.

    The smallest of many noisy times is too small (winner's curse), the more so the more formulations an idea has, and
    times of different groups are of different minutes. So what was in the last round is ranked by the ratios in the
    groups that both sides shared (`Paths.choose`).
    """
    groups = grouped(frame)
    time, paired = frame["time_s"].tolist(), frame["paired"].tolist()
    paths = Paths(time, paired)
    status, reason, failure = (frame[c].tolist() for c in ("status", "reason", "failure_class"))
    headline = frame["headline"].tolist()
    pick, found, points = [], [], []
    added: dict[str, list[Any]] = {n: [] for n in ("outcome", "cases", "reason", "failure_class", "headline")}
    for indices in groups.values():
        timed = [k for k in indices if status[k] == "ok" and time[k] == time[k]]
        best = paths.choose(timed)
        pick.append(indices[0] if best is None else best)
        found.append(best is not None)
        points.append((best, timed))
        worst = min(indices, key=lambda k: SEVERITY.index(status[k]))
        failed = status[worst] != "ok"
        added["outcome"].append(outcome(Counter(status[k] for k in indices)))
        added["cases"].append(len(indices))
        added["reason"].append(reason[worst] if failed else None)
        added["failure_class"].append(failure[worst] if failed else None)
        added["headline"].append(any(headline[k] for k in indices))
    best_frame = frame.iloc[pick].reset_index(drop=True)
    if not all(found):
        gone = ~np.array(found, bool)
        for name in _OF_THE_PATH:
            best_frame.loc[gone, name] = np.nan if best_frame[name].dtype == np.float64 else None
        best_frame.loc[gone, "energy_source"] = "none"
    rivals = paths.inseparable(points)
    best_frame["rivals"] = pd.Series([[paired[k] for k in several] for several in rivals], dtype=object)
    for name in ("outcome", "reason", "failure_class"):
        best_frame[name] = pd.Series(added[name], dtype=object)
    best_frame["cases"] = np.array(added["cases"], np.int64)
    best_frame["tied"] = np.array([len(several) for several in rivals], np.int64)
    best_frame["headline"] = np.array(added["headline"], bool)
    return best_frame.drop(columns="status")


class Paths:
    """The rows of a frame as competitors, by its columns `time_s` and `paired`."""

    def __init__(self, time: Sequence[float], paired: Sequence[Sequence[Process]]) -> None:
        self._time, self._paired = time, paired
        self._rounds = [max((process.round for process in found), default=0) for found in paired]
        self._ratios: dict[tuple[int, int], list[float]] = {}

    def contenders(self, timed: Sequence[int]) -> list[int]:
        """Of the rows `timed` those that were in the last round which any of them had: who fell behind earlier is out.

        All where there was no full round. Two groups of one round are one round.
        """
        last = max((self._rounds[k] for k in timed), default=0)
        return [k for k in timed if self._rounds[k] == last]

    def choose(self, timed: Sequence[int]) -> int | None:
        """The fastest of the rows `timed`; None of none.

        Of the `contenders` the one with the most processes in groups, and of such the fastest, is what all are held
        against: each by the median ratio in the groups that the two shared; by their times where they shared none, as
        in records of which every first look was alone. What then leads gives way to one that beats it in the groups
        those two shared, until none does.

        What has had no full round yet, as in a run that was cut short, is the best where it was FIRST_LOOK_MARGIN
        times faster in its first look, in a group that both shared or where both ran alone.
        """
        left = self.contenders(timed)
        best = self._best_of(left) if len(left) > 1 else next(iter(left), None)
        if best is None or len(left) == len(timed):
            return best
        early = {k: self._first_look(k, best) for k in timed if not self._rounds[k]}
        fastest = min(early, key=early.__getitem__, default=best)
        return fastest if early.get(fastest, 1.0) * FIRST_LOOK_MARGIN < 1 else best

    def inseparable(self, points: Sequence[tuple[int | None, Sequence[int]]]) -> list[list[int]]:
        """For each point, its best row and its `timed` ones, the other `contenders` that may be the best.

        The 95 % interval of their ratio to it, group by group, holds 1. Of what shared fewer than two groups nobody
        knows.
        """
        others = [(best, [k for k in self.contenders(timed) if k != best]) for best, timed in points]
        low, high = median_intervals(
            [self._over(k, best) for best, several in others for k in several if best is not None]
        )
        holds = iter(((low <= 1) & (high >= 1)).tolist())
        return [[k for k in several if next(holds)] for _, several in others]

    def _over(self, k: int, other: int) -> list[float]:
        """The ratios of a row to another in the groups that both shared; known ones are not made again."""
        known = self._ratios.get((k, other))
        if known is None:
            known = self._ratios[k, other] = paired_ratios(self._paired[k], self._paired[other])
        return known

    def _best_of(self, left: Sequence[int]) -> int:
        """The fastest of the rows `left`, at least one, which are all of one round."""
        time = self._time
        in_groups = {k: sum(process.group is not None for process in self._paired[k]) for k in left}
        hub = min(left, key=lambda k: (-in_groups[k], time[k]))
        if not in_groups[hub]:
            return min(left, key=time.__getitem__)

        def to_hub(k: int) -> float:
            shared = self._over(k, hub) if k != hub else [1.0]
            return median(shared) if shared else time[k] / time[hub]

        best, seen = min(left, key=to_hub), {hub}
        while best not in seen:
            seen.add(best)
            ratios = {k: median(self._over(k, best) or [1.0]) for k in left if k not in seen}
            faster = min(ratios, key=ratios.__getitem__, default=best)
            best = faster if ratios.get(faster, 1.0) < 1 else best
        return best

    def _first_look(self, k: int, other: int) -> float:
        """How many times as long a row took as another in a first look that both had alike; infinite without one."""
        shared = self._over(k, other)
        if shared:
            return median(shared)
        sides = (self._paired[row] for row in (k, other))
        a, b = ([p.centre_s for p in side if p.round == 0 and p.group is None] for side in sides)
        return a[0] / b[0] if a and b and b[0] else float("inf")
