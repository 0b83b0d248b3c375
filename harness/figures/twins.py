"""Ideas against their dense twins: T, W, speed-up and tax, each by best path on the same backend and device.

T = t(idea)/t(twin) and W = useful FLOP(idea)/useful FLOP(twin); speed-up = 1/T, tax = T/W.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Any

import numpy as np
import pandas as pd

from harness.figures.best_paths import GROUP
from harness.figures.frame import rows_of
from harness.stats.intervals import median_intervals
from harness.stats.process_times import paired_ratios


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
    twin. `time_ratio` is T: the median over common interleaved groups of the ratio in that group, by the slices that
    both had there (`process_times.paired_ratios`). Its interval is that over groups, unknown for one. Without any
    common group T is the ratio of the two times and has no interval. `work_ratio` is W. `memory_ratio` and
    `energy_ratio` compare like sources only and are unknown otherwise; the taxes are the ratios over W. Energy bounds
    are the widest that the bounds of both allow.
    """
    rows = rows_of(best, _COMPARED)
    at = {tuple(row[name] for name in GROUP): k for k, row in enumerate(rows)}
    out: list[dict[str, Any]] = []
    pairs: list[list[float]] = []
    for i, idea in enumerate(rows):
        for order, ref in enumerate(idea["twins"]):
            where = {"workload": ref.workload, "point": ref.point, "mode": ref.mode}
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
