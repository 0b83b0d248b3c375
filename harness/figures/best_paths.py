"""The best path of every point: of all formulations and executions on one backend and device, the fastest `ok` one."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from harness.records.outcomes import SEVERITY, outcome

GROUP = ("run", "workload", "point", "mode", "dtype", "backend", "device", "seed")

# A path of one process must beat those of several by more than the A/A noise of a busy machine to be the best.
SURVEY_MARGIN = 1.3

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
    (counts over all its cases), `cases`, `reason` and `failure_class` of the worst failure, and `tied`, how many other
    paths have an interval that overlaps the best one's.

    The smallest of many noisy times is too small (winner's curse), the more so the more formulations an idea has. So
    the survey's own times do not count where a case went on to the groups, and where some path has two processes or
    more that count, the best is chosen among those. One of a single process wins only when it was more than 1.3 times
    faster than all of them in the survey, where each ran alone at about the same time: more than noise makes it, which
    happens when a run was cut short.
    """
    groups = grouped(frame)
    time, processes, alone = frame["time_s"].tolist(), frame["processes"].tolist(), frame["alone_s"].tolist()
    low, high = frame["time_low_s"].tolist(), frame["time_high_s"].tolist()
    status, reason, failure = (frame[c].tolist() for c in ("status", "reason", "failure_class"))
    headline = frame["headline"].tolist()
    pick, found = [], []
    added: dict[str, list[Any]] = {n: [] for n in ("outcome", "cases", "reason", "failure_class", "tied", "headline")}
    for indices in groups.values():
        timed = [k for k in indices if status[k] == "ok" and time[k] == time[k]]
        best = choose(timed, time, processes, alone)
        pick.append(indices[0] if best is None else best)
        found.append(best is not None)
        worst = min(indices, key=lambda k: SEVERITY.index(status[k]))
        failed = status[worst] != "ok"
        added["outcome"].append(outcome(Counter(status[k] for k in indices)))
        added["cases"].append(len(indices))
        added["reason"].append(reason[worst] if failed else None)
        added["failure_class"].append(failure[worst] if failed else None)
        added["tied"].append(
            0 if best is None else sum(k != best and low[k] <= high[best] and low[best] <= high[k] for k in timed)
        )
        added["headline"].append(any(headline[k] for k in indices))
    best_frame = frame.iloc[pick].reset_index(drop=True)
    if not all(found):
        gone = ~np.array(found, bool)
        for name in _OF_THE_PATH:
            best_frame.loc[gone, name] = np.nan if best_frame[name].dtype == np.float64 else None
        best_frame.loc[gone, "energy_source"] = "none"
    for name in ("outcome", "reason", "failure_class"):
        best_frame[name] = pd.Series(added[name], dtype=object)
    for name in ("cases", "tied"):
        best_frame[name] = np.array(added[name], np.int64)
    best_frame["headline"] = np.array(added["headline"], bool)
    return best_frame.drop(columns="status")


def choose(timed: Sequence[int], time: Sequence[float], processes: Sequence[int], alone: Sequence[float]) -> int | None:
    """The fastest of the rows `timed`, by the rule of `best_paths`; None of none."""
    repeated = [k for k in timed if processes[k] >= 2]
    best = min(repeated or timed, key=time.__getitem__, default=None)

    def once(k: int) -> float:  # in the groups the machine may be at another speed: what ran alone is held against such
        return alone[k] if alone[k] == alone[k] else time[k]

    surveyed = [k for k in timed if processes[k] < 2 and once(k) == time[k]]
    if repeated and surveyed:
        survey = min(surveyed, key=once)
        if once(survey) * SURVEY_MARGIN < min(map(once, repeated)):
            return survey
    return best
