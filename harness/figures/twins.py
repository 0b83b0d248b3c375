"""Ideas against their dense twins: T, W, speed-up and tax, each by best path on the same backend and device.

T = t(idea)/t(twin) and W = useful FLOP(idea)/useful FLOP(twin); speed-up = 1/T, tax = T/W.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice, product
from math import inf, nan
from statistics import median
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from harness.figures.best_paths import place_of
from harness.figures.frame import Rows, alone_s, rows_of
from harness.measuring.energy.model import UNEQUAL_POWER
from harness.stats.intervals import Floats, across_runs, median_intervals, pooled_intervals
from harness.stats.process_times import Pair, pair_ratio, paired_ratios, pairs, turn_ratios
from harness.stats.trend import level

if TYPE_CHECKING:
    import pandas as pd

FEWEST_PAIRS = 3  # for an interval: what two differ by says nothing


def _ratio(over: float, under: float) -> float:
    """NaN where either is unknown or the twin's is 0."""
    return over / under if under else float("nan")


# Of a twin that was not measured.
_NOT_MEASURED: Mapping[str, Any] = {
    "twin_path": None,
    "twin_outcome": "not measured",
    "twin_time_s": nan,
    "work_ratio": nan,
    "time_ratio": nan,
    "memory_ratio": nan,
    "energy_ratio": nan,
    "energy_ratio_low": nan,
    "energy_ratio_high": nan,
    "ratio_steady": None,
}
_KEYS = ("idea", "twin", "kind", "principal", "twin_workload", "twin_point", "twin_mode")
_BOUNDED = ("time_ratio_low", "time_ratio_high")
_DERIVED = tuple(f"{name}{end}" for end in ("", "_low", "_high") for name in ("speed_up", "tax", "energy_tax"))
_COLUMNS = (*_KEYS, *_NOT_MEASURED, "rounds", *_BOUNDED, *_DERIVED, "memory_tax")
_OBJECTS = frozenset({"kind", "twin_workload", "twin_point", "twin_mode", "twin_path", "twin_outcome", "ratio_steady"})
_TYPES = {"idea": np.int64, "twin": np.int64, "rounds": np.int64, "principal": bool}


def comparisons(best: pd.DataFrame) -> pd.DataFrame:
    """`compared_rows` of a frame, as a frame."""
    import pandas as pd

    rows = compared_rows(rows_of(best))
    kinds = {name: object if name in _OBJECTS else _TYPES.get(name, np.float64) for name in _COLUMNS}
    return pd.DataFrame({n: pd.Series([row[n] for row in rows], dtype=kind) for n, kind in kinds.items()})


def compared_rows(best: Rows, most: int | None = None, *, headlines: bool = False, times_only: bool = False) -> Rows:
    """One row for every best path of an idea and every twin that it names, from `best_rows`; the first `most` of them.

    With `headlines`, where any is compared: those of headline points and of their twins, and of others only what shares
    a group with its twin, whose spread is in all intervals. With `times_only` without the ratios of memory and energy.

    `idea` and `twin` are row numbers in `best` (twin −1 where it was not measured); `kind` and `principal` say which
    twin. `time_ratio` is T: the median over the `rounds`, the groups that both were in, of the ratio in that group, by
    the slices that both had there (`process_times.paired_ratios`). `work_ratio` is W. `memory_ratio` and `energy_ratio`
    compare like sources only and are unknown otherwise (`_energy`); the taxes are the ratios over W. `ratio_steady`
    says whether the ratio was level within the groups.

    The interval of T is over groups and covers the choice of the paths, too: another run may well choose another of
    those that cannot be told from the best. It reaches over the intervals of every such path of the idea against every
    such path of the twin, each from the groups that these two shared; where these are two, with the spread of all pairs
    of the run (`pooled_intervals`). What runs differ by is added to it (`across_runs`). It is unknown for one group.
    Without any common group T is the ratio of the two times, of first looks alone where a side has nothing else, and
    has no interval.
    """
    twins = _twins(best, most)
    wanted = {k for i, of in enumerate(twins) if of and best[i]["headline"] for k in (i, *of)} if headlines else set()
    out: Rows = []
    spans: list[list[list[float]]] = []  # of each row the ratios of its pairs of paths, the best two first
    seconds: list[list[float]] = []  # of each row the ratios of CPU seconds that its modelled energy is of
    for i, idea in enumerate(best):
        for order, (ref, t) in enumerate(zip(idea["twins"], twins[i], strict=False)):
            shared = pairs(idea["paired"], best[t]["paired"]) if t >= 0 else []
            if wanted and i not in wanted and not shared:
                continue
            figures, ratios, cpu = _against(idea, best[t], shared, times_only) if t >= 0 else ({}, [[]], [])
            names = (i, t, ref.kind, order == 0, ref.workload, ref.point, ref.mode)
            out.append({**dict(zip(_KEYS, names, strict=True)), **_NOT_MEASURED, **figures, "rounds": len(ratios[0])})
            spans.append(ratios)
            seconds.append(cpu)
    bounds = (
        *_envelopes([best[row["idea"]]["run"] for row in out], spans),
        *median_intervals([cpu if len(cpu) >= FEWEST_PAIRS else [] for cpu in seconds]),
    )
    for row, low, high, cpu_low, cpu_high in zip(out, *(bound.tolist() for bound in bounds), strict=True):
        apart = row["idea"] != row["twin"]
        row["time_ratio_low"], row["time_ratio_high"] = (
            across_runs(row["time_ratio"], low, high) if apart else (low, high)
        )
        if cpu_low == cpu_low:
            row["energy_ratio_low"], row["energy_ratio_high"] = cpu_low / UNEQUAL_POWER, cpu_high * UNEQUAL_POWER
        work = row["work_ratio"] if row["work_ratio"] > 0 else nan
        for end, other in (("", ""), ("_low", "_high"), ("_high", "_low")):
            ratio = row[f"time_ratio{other}"]
            row[f"speed_up{end}"] = 1 / ratio if ratio else inf
            row[f"tax{end}"] = row[f"time_ratio{end}"] / work
            row[f"energy_tax{end}"] = row[f"energy_ratio{end}"] / work
        row["memory_tax"] = row["memory_ratio"] / work
    return out


def _twins(best: Rows, most: int | None) -> list[list[int]]:
    """Of each row the numbers of the first `most` of its twins' rows, −1 of a twin that was not measured."""
    at = {place_of(row): k for k, row in enumerate(best)}
    out = []
    for row in best:
        run, _, _, _, dtype, *where = place_of(row)
        refs = row["twins"][:most]
        out.append([at.get((run, ref.workload, ref.point, ref.mode, ref.dtype or dtype, *where), -1) for ref in refs])
    return out


def _envelopes(runs: Sequence[str], spans: Sequence[Sequence[Sequence[float]]]) -> tuple[Floats, Floats]:
    """From the lowest to the highest bound of each row's intervals; NaN where the first, the best paths', has none."""
    owners = np.repeat(np.arange(len(spans)), [len(several) for several in spans])
    low, high = pooled_intervals(
        [ratios for several in spans for ratios in several], [runs[k] for k in owners.tolist()]
    )
    lowest, highest = np.full(len(spans), np.inf), np.full(len(spans), -np.inf)
    np.fmin.at(lowest, owners, low)
    np.fmax.at(highest, owners, high)
    unknown = np.array([len(several[0]) < 2 for several in spans], bool)
    return np.where(unknown, np.nan, lowest), np.where(unknown, np.nan, highest)


_Figures: TypeAlias = tuple[dict[str, Any], list[list[float]], list[float]]


def _against(idea: Mapping[str, Any], twin: Mapping[str, Any], shared: Sequence[Pair], times_only: bool) -> _Figures:
    """The figures of one idea against one twin, of which `shared` are the pairs of processes.

    Then the ratios of every pair of their paths, the best two first, and last the ratios of their CPU seconds, where
    the ratio of their energies is that of these (`_energy`).
    """
    ratios = [[pair_ratio(over, under) for over, under in shared]]
    if idea is not twin and len(shared) > 1:
        paths = product([idea["paired"], *idea["rivals"]], [twin["paired"], *twin["rivals"]])
        ratios += [paired_ratios(over, under) for over, under in islice(paths, 1, None)]
    figures = {
        "twin_path": twin["path"],
        "twin_outcome": twin["outcome"],
        "twin_time_s": twin["time_s"],
        "work_ratio": _ratio(idea["useful_flop"], twin["useful_flop"]),
        "time_ratio": median(ratios[0]) if shared else _unpaired(idea, twin),
        "ratio_steady": level(turn_ratios(over, under) for over, under in shared),
    }
    if times_only:
        return figures, ratios, []
    if idea["memory_source"] == twin["memory_source"] is not None:
        figures["memory_ratio"] = _ratio(idea["memory_bytes"], twin["memory_bytes"])
    seconds: list[float] = []
    if idea["energy_source"] == twin["energy_source"] == "modelled" and idea is not twin:
        seconds = [a.cpu_s / b.cpu_s for a, b in shared if a.cpu_s > 0 and b.cpu_s > 0]
    if idea["energy_source"] == twin["energy_source"] != "none":
        figures |= _energy(idea, twin, seconds)
    return figures, ratios, seconds


def _unpaired(idea: Mapping[str, Any], twin: Mapping[str, Any]) -> float:
    """The ratio of two times that were never taken together.

    What was measured alone is held against the other alone: in groups the machine may be at another speed.
    """
    sides = (idea, twin)
    if any(all(process.group is None for process in side["paired"]) for side in sides):
        alone = _ratio(*(alone_s(side["paired"]) for side in sides))
        if alone == alone:
            return alone
    return _ratio(idea["time_s"], twin["time_s"])


def _energy(idea: Mapping[str, Any], twin: Mapping[str, Any], seconds: Sequence[float]) -> dict[str, float]:
    """The ratio of two energies of one source, with its bounds.

    Of counters and of polled power the bounds are the widest that the bounds of both allow. A modelled energy is CPU
    time times the watts of a core, which nobody knows but which are one machine's: they cancel, and the ratio is that
    of CPU `seconds`, pair by pair. What does not cancel is that a core takes more for one code than for another, by
    UNEQUAL_POWER at most either way: around the interval over groups, where there are FEWEST_PAIRS.
    """
    ratio = _ratio(idea["energy_j"], twin["energy_j"])
    if idea["energy_source"] != "modelled":
        low = _ratio(idea["energy_low_j"], twin["energy_high_j"])
        high = _ratio(idea["energy_high_j"], twin["energy_low_j"])
    else:
        ratio = median(seconds) if seconds else ratio
        unequal = 1.0 if idea is twin else UNEQUAL_POWER
        low, high = ratio / unequal, ratio * unequal
    return {"energy_ratio": ratio, "energy_ratio_low": low, "energy_ratio_high": high}
