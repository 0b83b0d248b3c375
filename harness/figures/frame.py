"""Records as a table, one row a record; every statistic is derived here from the raw samples.

A table is a list of dicts, which the figures are made from, or the same as a pandas DataFrame, for whoever wants one:
`frame` and `rows_of` turn one into the other. A leaderboard makes figures of thousands of small tables, and what pandas
does for each column of each of them took most of its time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import inf, nan
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from harness.records.record import Record
from harness.records.text import first_line
from harness.stats.intervals import median_intervals
from harness.stats.process_times import Process, every_process, middle, that_count

if TYPE_CHECKING:  # it takes as long to import as a report to make, and few want a frame
    import pandas as pd

Rows: TypeAlias = list[dict[str, Any]]
Table: TypeAlias = "pd.DataFrame | Rows"

# Name → meaning and unit. Unknown numbers are NaN, unknown text is None.
COLUMNS: Mapping[str, str] = {
    "run": "run the record belongs to",
    "key": "short name of the case, the same in every run and on every machine",
    "workload": "workload",
    "formulation": "formulation",
    "execution": "execution: eager, graph or compiled",
    "path": "formulation/execution",
    "params": "axes of the workload, a dict",
    "point": "the same axes as one string, in alphabetical order",
    "mode": "forward or train_step",
    "dtype": "NumPy name of the dtype",
    "backend": "backend",
    "device": "device",
    "seed": "seed of the inputs",
    "headline": "whether the point has its row in the main table",
    "status": "outcome",
    "reason": "first line of why the outcome is not ok",
    "failure_class": "class of the failure (Mince et al. 2023)",
    "fallback": "what the framework silently ran instead",
    "max_rel_error": "largest error against the float64 reference, relative to the largest value",
    "time_s": "time of one call: median over processes of the processes' medians, s; only of an ok case",
    "time_low_s": "lower end of its 95 % interval over processes, s; unknown for one process",
    "time_high_s": "upper end, s",
    "time_min_s": "fastest sample, s",
    "alone_s": "median of a first look that was alone, not in a group, s: the groups may be of another hour",
    "processes": "fresh processes whose samples count: of full rounds, or of the first look where there were none",
    "samples": "samples of all processes",
    "steady": "whether the samples of every process settled, as it saw them itself; tables go by slices",
    "drift": "largest slope over a window, share of the median",
    "first_call_s": "first call of the first process until every output is ready, s",
    "compile_s": "compilation where the framework tells, s",
    "convert_s": "putting the operands on the device in the formulation's format, s",
    "compile_cache": "whether the first process found a cold or a warm compile cache",
    "device_peak_bytes": "peak of the device allocator, bytes",
    "host_peak_bytes": "what the operands hold and one call takes on top at its peak, on the host, bytes",
    "compiled_temp_bytes": "temporaries of the compiled code, bytes, where the compiler tells",
    "memory_bytes": "the device's peak, or the host's where the device has no allocator of its own, bytes",
    "memory_source": "what `memory_bytes` is and how it was read",
    "energy_j": "gross energy of one call, J",
    "energy_net_j": "energy of one call above idle, J",
    "energy_low_j": "lower bound of the energy, J",
    "energy_high_j": "upper bound of the energy, J",
    "energy_source": "counter, sampled, modelled or none",
    "useful_flop": "FLOP that the mathematics needs, by formula",
    "least_bytes": "least traffic of a layer-by-layer execution, bytes, by formula",
    "live_bytes": "least memory alive at once, bytes, by formula",
    "flop_per_s": "useful FLOP over time_s, FLOP/s",
    "bytes_per_s": "least bytes over time_s, bytes/s",
    "intensity": "useful FLOP over least bytes, FLOP/byte",
    "rounds": "group (or round) of each process, in the order of process_s: times of one group are pairs",
    "process_s": "median of each process, s",
    "paired": "all processes, of the first look too, each a `Process` with its group and its slices: what pairs are of",
    "executed": "what one call really does, counted; None in records of before it was",
    "twins": "the dense paths the case is held against, the principal one first",
    "settings": "settings read back from the framework, a dict",
    "started_at": "start of the first process, UTC",
}

# What cases that compete for one best path have in common: in a row `place` has their values.
GROUP = ("run", "workload", "point", "mode", "dtype", "backend", "device", "seed")
_NUMBERS = frozenset(name for name in COLUMNS if name.endswith(("_s", "_bytes", "_j")) and name != "process_s") | {
    "max_rel_error",
    "drift",
    "useful_flop",
    "intensity",
}
_COUNTS = frozenset({"seed", "processes", "samples", "cases", "tied"})
# The columns that are derived where they are asked for, of a record that has nothing of them.
_LATER = (
    *("reason", "failure_class", "fallback", "max_rel_error", "alone_s", "samples", "steady", "drift"),
    *("first_call_s", "compile_s", "convert_s", "compile_cache", "device_peak_bytes", "host_peak_bytes"),
    *("compiled_temp_bytes", "memory_bytes", "memory_source", "energy_j", "energy_net_j", "energy_low_j"),
    *("energy_high_j", "energy_source", "live_bytes", "flop_per_s", "bytes_per_s", "intensity", "rounds", "settings"),
    "started_at",
)
_DETAILS: Mapping[str, Any] = {name: nan if name in _NUMBERS else None for name in _LATER}


def frame(records: Sequence[Record]) -> pd.DataFrame:
    """One row a record, with the columns of `COLUMNS`; empty for no records."""
    return as_frame(case_rows(records), COLUMNS)


def rows_of(table: Table) -> Rows:
    """The rows of a table as dicts of plain Python values, with their `place`; those of a list are its own."""
    if isinstance(table, list):
        return table
    names = [str(name) for name in table.columns]
    values = zip(*(table[name].tolist() for name in names), strict=True)
    rows = [dict(zip(names, row, strict=True)) for row in values]
    if set(GROUP) <= set(names):
        rows = [{**row, "place": tuple(row[name] for name in GROUP)} for row in rows]
    return rows


def as_frame(rows: Rows, columns: Iterable[str]) -> pd.DataFrame:
    """The rows as a frame of these columns: numbers as float64, counts as int64, all else as it is."""
    import pandas as pd

    def column(name: str) -> Any:
        values = [row[name] for row in rows]
        if name in _NUMBERS:
            return np.array(values, np.float64)
        if name in _COUNTS:
            return np.array(values, np.int64)
        return np.array(values, bool) if name == "headline" else pd.Series(values, dtype=object)

    return pd.DataFrame({name: column(name) for name in columns})


def case_rows(records: Sequence[Record]) -> Rows:
    """One dict a record, by the names of `COLUMNS`; what few rows are asked for is in it once it was (`whole`)."""
    rows: Rows = [_CaseRow(record) for record in records]
    lows, highs = median_intervals([row["process_s"] for row in rows])
    for row, low, high in zip(rows, lows.tolist(), highs.tolist(), strict=True):
        row["time_low_s"], row["time_high_s"] = low, high
    return rows


def whole(row: dict[str, Any]) -> dict[str, Any]:
    """A copy of a row, with all of its columns."""
    if isinstance(row, _CaseRow):
        row.complete()
    return dict(row)


class _CaseRow(dict[str, Any]):
    """The row of a record. Of most cases nobody asks more than where they stand and how long they took."""

    __slots__ = ("_record",)

    def __init__(self, record: Record) -> None:
        self._record: Record | None = record
        case, work = record.case, record.work
        super().__init__(case.columns)
        self["place"] = (record.run, *case.place, case.seed)
        self["run"] = record.run
        self["key"] = case.key
        self["headline"] = record.headline
        self["status"] = record.status
        self["useful_flop"] = float(work.useful_flop)
        self["least_bytes"] = float(work.least_bytes)
        self["executed"] = record.executed
        self["twins"] = record.twins
        self["paired"] = paired = every_process(record)  # none unless ok: wrong output has no time, whatever it says
        if len(paired) == 1:  # as of most cases
            only = paired[0].centre_s
            self["process_s"], self["processes"], self["time_s"] = [only], 1, only
            self["time_min_s"] = min(paired[0].samples_s)
        else:
            counted = that_count(paired)
            self["process_s"] = process_s = [process.centre_s for process in counted]
            self["processes"] = len(process_s)
            self["time_s"] = middle(process_s) if process_s else nan
            self["time_min_s"] = min([min(process.samples_s) for process in counted]) if process_s else nan

    def copy(self) -> _CaseRow:
        """Another row of the same record."""
        other = _CaseRow.__new__(_CaseRow)
        other.update(self)
        other._record = self._record
        return other

    def __missing__(self, name: str) -> Any:
        if self._record is None:
            raise KeyError(name)
        self.complete()
        return self[name]

    def complete(self) -> None:
        """Derive the other columns; what was written over stays."""
        record, self._record = self._record, None
        if record is not None:
            self.update({**_DETAILS, **_details(record, self["time_s"], self["paired"]), **self})


def _details(record: Record, time_s: float, paired: Sequence[Process]) -> dict[str, Any]:
    """The columns that only best paths and frames are asked for."""
    counted = that_count(paired)
    flop, bytes_ = float(record.work.useful_flop), float(record.work.least_bytes)
    row: dict[str, Any] = {
        "reason": first_line(record.reason),
        "failure_class": record.failure_class,
        "fallback": record.fallback,
        "max_rel_error": _number(record.verdict.max_rel_error if record.verdict else None),
        "live_bytes": float(record.work.live_bytes),
        "intensity": _over(flop, bytes_),
        "settings": record.settings,
        "started_at": record.started_at,
        "flop_per_s": _over(flop, time_s),
        "bytes_per_s": _over(bytes_, time_s),
        "alone_s": alone_s(paired),
        "samples": sum(len(process.samples_s) for process in counted),
        "rounds": [p.round if p.group is None else p.group for p in counted],
    }
    time = record.time
    if time is not None:
        row["steady"], row["drift"], row["first_call_s"] = time.steady, time.drift, time.first_call_s
        row["compile_s"], row["convert_s"] = _number(time.compile_s), time.convert_s
        row["compile_cache"] = time.trials[0].compile_cache if time.trials else None
    _memory(row, record)
    _energy(row, record)
    return row


def alone_s(paired: Sequence[Process]) -> float:
    """The column of this name, from that of all processes."""
    for process in paired:
        if process.round == 0 and process.group is None:
            return process.centre_s
    return nan


def _over(amount: float, under: float) -> float:
    """A ratio, unknown where it is no number of finite size."""
    ratio = amount / under if under else nan
    return ratio if abs(ratio) < inf else nan


def _number(value: float | None) -> float:
    return nan if value is None else float(value)


def _memory(row: dict[str, Any], record: Record) -> None:
    """The device's peak, or the host's where the device has no allocator of its own."""
    memory = record.memory
    if memory is None:
        return
    device, host = memory.device_peak_bytes, memory.host_peak_bytes
    row["device_peak_bytes"], row["host_peak_bytes"] = _number(device), _number(host)
    row["compiled_temp_bytes"] = _number(memory.compiled_temp_bytes)
    held = host if device is None else device
    if held is not None:
        row["memory_bytes"] = float(held)
        row["memory_source"] = f"{'host' if device is None else 'device'}: {memory.source}"


def _energy(row: dict[str, Any], record: Record) -> None:
    energy = record.energy
    row["energy_source"] = "none" if energy is None else energy.source
    if energy is not None:
        row["energy_j"], row["energy_net_j"] = _number(energy.gross_j), _number(energy.net_j)
        row["energy_low_j"], row["energy_high_j"] = _number(energy.low_j), _number(energy.high_j)
