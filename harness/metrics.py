"""From the frame to the figures: best paths, their ratios to the dense twin, and the machine's own ceilings.

Pure functions in a chain: frame → best_paths → comparisons. T = t(idea)/t(twin) and W = useful FLOP(idea)/useful
FLOP(twin), both by best path on the same backend and device; speed-up = 1/T, tax = T/W.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from harness.frame import point_name, rows_of
from harness.intervals import median_intervals
from harness.statistics import paired_ratios

GROUP = ("run", "workload", "point", "mode", "dtype", "backend", "device", "seed")
_ITEMSIZE = {"float64": 8, "float32": 4}  # the rest take 2 bytes
CEILING_MATMUL, CEILING_STREAM = "dense_matmul", "stream"
SEVERITY = ("wrong", "crash", "oom", "timeout", "error", "unsupported", "estimated", "ok")  # the worst first

# A path of one process must beat those of several by more than the A/A noise of a busy machine to be the best.
SURVEY_MARGIN = 1.3

# What belongs to a path's own record, and so to nobody where no path is ok.
_OF_THE_PATH = [
    *("key", "formulation", "execution", "path", "fallback", "settings", "max_rel_error", "steady", "drift"),
    *("first_call_s", "compile_s", "convert_s", "compile_cache", "memory_bytes", "memory_source"),
    *("device_peak_bytes", "host_peak_bytes", "compiled_temp_bytes"),
    *("energy_j", "energy_net_j", "energy_low_j", "energy_high_j"),
]


def outcome(counts: Mapping[str, int]) -> str:
    """`ok` when everything is, else `ok 5 · timeout 1 · unsupported 3`: ok first, then the worst first."""
    if set(counts) == {"ok"}:
        return "ok"
    order = ("ok", *SEVERITY[:-1])
    return " · ".join(f"{status} {counts[status]}" for status in order if counts.get(status))


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
    the survey's own times do not count where a case went on to the heats, and where some path has two processes or
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

    def once(k: int) -> float:  # in the heats the machine may be at another speed: what ran alone is held against such
        return alone[k] if alone[k] == alone[k] else time[k]

    surveyed = [k for k in timed if processes[k] < 2 and once(k) == time[k]]
    if repeated and surveyed:
        survey = min(surveyed, key=once)
        if once(survey) * SURVEY_MARGIN < min(map(once, repeated)):
            return survey
    return best


def _ratio(over: float, under: float) -> float:
    """NaN where either is unknown or the twin's is 0."""
    return over / under if under else float("nan")


_COMPARED = [
    "paired",
    "time_s",
    "useful_flop",
    "path",
    "outcome",
    "memory_bytes",
    "memory_source",
    "energy_source",
    "energy_j",
    "energy_low_j",
    "energy_high_j",
    "twins",
    *GROUP,
]
_COMPARISON = {
    "idea": np.int64,
    "twin": np.int64,
    "kind": object,
    "principal": bool,
    "twin_workload": object,
    "twin_point": object,
    "twin_mode": object,
    "twin_path": object,
    "twin_outcome": object,
    "twin_time_s": np.float64,
    "work_ratio": np.float64,
    "time_ratio": np.float64,
    "memory_ratio": np.float64,
    "energy_ratio": np.float64,
    "energy_ratio_low": np.float64,
    "energy_ratio_high": np.float64,
}


def comparisons(best: pd.DataFrame) -> pd.DataFrame:
    """One row for every best path of an idea and every twin that it names, from `best_paths`.

    `idea` and `twin` are row numbers in `best` (twin −1 where it was not measured); `kind` and `principal` say which
    twin. `time_ratio` is T: the median over common heats of the ratio in that heat (by the turns that both took there,
    `statistics.paired_ratios`), its interval that over heats, unknown for one; without any common heat it is the ratio
    of the two times, and has none. `work_ratio` is W. `memory_ratio` and `energy_ratio` compare like sources only and
    are unknown otherwise; the taxes are the ratios over W. Energy bounds are the widest that the bounds of both allow.
    """
    rows = rows_of(best, _COMPARED)
    at = {tuple(row[name] for name in GROUP): k for k, row in enumerate(rows)}
    out: list[dict[str, Any]] = []
    pairs: list[list[float]] = []
    for i, idea in enumerate(rows):
        for order, ref in enumerate(idea["twins"]):
            where = {"workload": ref.workload, "point": point_name(ref.params), "mode": ref.mode}
            t = at.get(tuple((idea | where)[name] for name in GROUP), -1)
            figures, rounds = _against(idea, rows[t]) if t >= 0 else ({"twin_outcome": "not measured"}, [])
            names = {f"twin_{name}": value for name, value in where.items()}
            out.append({"idea": i, "twin": t, "kind": ref.kind, "principal": order == 0} | names | figures)
            pairs.append(rounds)
    table = pd.DataFrame(
        {name: pd.Series([row.get(name) for row in out], dtype=kind) for name, kind in _COMPARISON.items()}
    )
    table["rounds"] = np.array([len(p) for p in pairs], np.int64)
    table["time_ratio_low"], table["time_ratio_high"] = median_intervals(pairs)
    work = table["work_ratio"].where(table["work_ratio"] > 0)
    for end, other in (("", ""), ("_low", "_high"), ("_high", "_low")):
        table[f"speed_up{end}"] = 1 / table[f"time_ratio{other}"]
        table[f"tax{end}"] = table[f"time_ratio{end}"] / work
        table[f"energy_tax{end}"] = table[f"energy_ratio{end}"] / work
    table["memory_tax"] = table["memory_ratio"] / work
    return table


def _against(idea: Mapping[str, Any], twin: Mapping[str, Any]) -> tuple[dict[str, Any], list[float]]:
    """The figures of one idea against one twin, and the time ratio of every common round."""
    rounds = paired_ratios(idea["paired"], twin["paired"])
    figures = {
        "twin_path": twin["path"],
        "twin_outcome": twin["outcome"],
        "twin_time_s": twin["time_s"],
        "work_ratio": _ratio(idea["useful_flop"], twin["useful_flop"]),
        "time_ratio": median(rounds) if rounds else _ratio(idea["time_s"], twin["time_s"]),
    }
    if idea["memory_source"] == twin["memory_source"] is not None:
        figures["memory_ratio"] = _ratio(idea["memory_bytes"], twin["memory_bytes"])
    if idea["energy_source"] == twin["energy_source"] != "none":
        figures["energy_ratio"] = _ratio(idea["energy_j"], twin["energy_j"])
        figures["energy_ratio_low"] = _ratio(idea["energy_low_j"], twin["energy_high_j"])
        figures["energy_ratio_high"] = _ratio(idea["energy_high_j"], twin["energy_low_j"])
    return figures, rounds


class Ceiling(msgspec.Struct, frozen=True, kw_only=True):
    """What the machine reached at most in this run: useful FLOP/s of a dense product, or bytes/s of a stream.

    `working_set_bytes` is the stream's, None for the product; `path` is "backend formulation/execution point".
    """

    run: str
    device: str
    dtype: str | None
    working_set_bytes: int | None
    per_s: float
    path: str


class Ceilings(msgspec.Struct, frozen=True, kw_only=True):
    """`matmul` by (run, device, dtype); `stream` by (run, device), a list in order of the working set."""

    matmul: dict[tuple[str, str, str], Ceiling]
    stream: dict[tuple[str, str], list[Ceiling]]

    def bandwidth(self, run: str, device: str, least_bytes: float) -> float | None:
        """Bytes/s that bound a case: the largest measured from the largest working set ≤ its traffic upward.

        A cache can serve what fits in it, so a case is bounded by the fastest level that may hold it (the cache-aware
        roofline, Ilic, Pratas & Sousa 2014), never by a smaller one. None when no stream ran.
        """
        sizes = self.stream.get((run, device), [])
        start = max((k for k, c in enumerate(sizes) if (c.working_set_bytes or 0) <= least_bytes), default=0)
        return max((c.per_s for c in sizes[start:]), default=None)

    def share(
        self, run: str, device: str, dtype: str, flop_per_s: float, flop: float, least_bytes: float
    ) -> float | None:
        """Useful FLOP/s over min(matmul ceiling, intensity × bandwidth); None when a ceiling or a figure is missing.

        Above 1 the ceiling or the time is wrong; the value is returned as it is.
        """
        matmul, bandwidth = self.matmul.get((run, device, dtype)), self.bandwidth(run, device, least_bytes)
        if matmul is None or bandwidth is None or flop_per_s != flop_per_s or not flop or not least_bytes:
            return None
        return flop_per_s / min(matmul.per_s, flop / least_bytes * bandwidth)


def ceilings(frame: pd.DataFrame) -> Ceilings:
    """The largest rates of the ceiling workloads in each run, over every backend, formulation and execution.

    A ceiling is what the machine can do, so it takes the fastest sample and not the median.
    """
    matmul: dict[tuple[str, str, str], Ceiling] = {}
    stream: dict[tuple[str, str, int], Ceiling] = {}
    wanted = frame["workload"].isin([CEILING_MATMUL, CEILING_STREAM]) & frame["time_min_s"].gt(0)
    for row in rows_of(frame[wanted & (frame["mode"] == "forward")]):
        run, device, dtype = str(row["run"]), str(row["device"]), str(row["dtype"])
        path = f"{row['backend']} {row['path']} {row['point']}"
        if row["workload"] == CEILING_MATMUL:
            rate = row["useful_flop"] / row["time_min_s"]
            if (run, device, dtype) not in matmul or rate > matmul[run, device, dtype].per_s:
                matmul[run, device, dtype] = Ceiling(
                    run=run, device=device, dtype=dtype, working_set_bytes=None, per_s=rate, path=path
                )
        elif "elements" in row["params"]:
            # The nominal size, so that kernels which differ by a vector share a level.
            size = int(row["params"]["elements"]) * _ITEMSIZE.get(dtype, 2)
            rate = row["least_bytes"] / row["time_min_s"]
            if (run, device, size) not in stream or rate > stream[run, device, size].per_s:
                stream[run, device, size] = Ceiling(
                    run=run, device=device, dtype=None, working_set_bytes=size, per_s=rate, path=path
                )
    by_place: dict[tuple[str, str], list[Ceiling]] = defaultdict(list)
    for run, device, size in sorted(stream):
        by_place[run, device].append(stream[run, device, size])
    return Ceilings(matmul=matmul, stream=dict(by_place))
