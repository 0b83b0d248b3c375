"""Records as a pandas DataFrame, one row a record; every statistic is derived here from the raw samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np
import pandas as pd

from harness.records.points import point_name
from harness.records.record import Record
from harness.stats.intervals import median_intervals
from harness.stats.process_times import alone_s, processes

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
    "alone_s": "median of the process that ran alone, in the survey or sweep, s: the groups may be of another hour",
    "processes": "fresh processes whose samples count: those of the groups, or of the survey where there were none",
    "samples": "samples of all processes",
    "steady": "whether every process settled",
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
    "paired": "the same processes, each a statistics.Process, which knows the slices of its window: what pairs are of",
    "twins": "the dense paths the case is held against, the principal one first",
    "settings": "settings read back from the framework, a dict",
    "started_at": "start of the first process, UTC",
}

_NUMBERS = frozenset(name for name in COLUMNS if name.endswith(("_s", "_bytes", "_j")) and name != "process_s") | {
    "max_rel_error",
    "drift",
    "useful_flop",
    "intensity",
}
_COUNTS = frozenset({"seed", "processes", "samples"})


def first_line(text: str | None) -> str | None:
    """The first line of `text` that says anything."""
    return next((line.strip() for line in (text or "").splitlines() if line.strip()), None)


def rows_of(table: pd.DataFrame, columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """The rows of a frame as dicts of plain Python values, for loops that pandas would make slower."""
    names = list(table.columns if columns is None else columns)
    values = zip(*(table[name].tolist() for name in names), strict=True)
    return [dict(zip(names, row, strict=True)) for row in values]


def frame(records: Sequence[Record]) -> pd.DataFrame:
    """One row a record, with the columns of `COLUMNS`; empty for no records."""
    rows = [_row(record) for record in records]
    columns: dict[str, Any] = {}
    for name, values in zip(COLUMNS, zip(*rows, strict=True) if rows else [()] * len(COLUMNS), strict=True):
        if name in _NUMBERS:
            columns[name] = np.array(values, np.float64)  # None becomes NaN
        elif name in _COUNTS:
            columns[name] = np.array(values, np.int64)
        else:
            columns[name] = pd.Series(list(values), dtype=object)
    table = pd.DataFrame(columns)
    table["headline"] = table["headline"].astype(bool)
    table["time_low_s"], table["time_high_s"] = median_intervals(list(table["process_s"]))
    with np.errstate(divide="ignore", invalid="ignore"):
        for name, over, under in (
            ("flop_per_s", "useful_flop", "time_s"),
            ("bytes_per_s", "least_bytes", "time_s"),
            ("intensity", "useful_flop", "least_bytes"),
        ):
            ratio = table[over].to_numpy() / table[under].to_numpy()
            table[name] = np.where(np.isfinite(ratio), ratio, np.nan)
    return table


def _row(record: Record) -> tuple[Any, ...]:
    """The values of `COLUMNS` in their order; the derived ones are filled in for all rows at once."""
    case, time, memory, energy, work = record.case, record.time, record.memory, record.energy, record.work
    paired = processes(record)  # none unless ok: wrong output has no time, whatever the record holds
    samples = [process.samples_s for process in paired]
    process_s = [process.centre_s for process in paired]
    rounds = [process.key for process in paired]
    device_bytes, host_bytes, memory_bytes, memory_source = None, None, None, None
    if memory is not None:
        device_bytes, host_bytes = memory.device_peak_bytes, memory.host_peak_bytes
        memory_bytes = host_bytes if device_bytes is None else device_bytes
        if memory_bytes is not None:
            memory_source = f"{'host' if device_bytes is None else 'device'}: {memory.source}"
    return (
        record.run,
        case.key,
        case.workload,
        case.formulation,
        case.execution,
        f"{case.formulation}/{case.execution}",
        case.params,
        point_name(case.params),
        case.mode,
        case.dtype,
        case.backend,
        case.device,
        case.seed,
        record.headline,
        record.status,
        first_line(record.reason),
        record.failure_class,
        record.fallback,
        record.verdict.max_rel_error if record.verdict else None,
        median(process_s) if process_s else None,
        None,
        None,
        min(map(min, samples)) if samples else None,
        alone_s(record),
        len(samples),
        sum(map(len, samples)),
        time.steady if time else None,
        time.drift if time else None,
        time.first_call_s if time else None,
        time.compile_s if time else None,
        time.convert_s if time else None,
        time.trials[0].compile_cache if time and time.trials else None,
        device_bytes,
        host_bytes,
        memory.compiled_temp_bytes if memory else None,
        memory_bytes,
        memory_source,
        energy.gross_j if energy else None,
        energy.net_j if energy else None,
        energy.low_j if energy else None,
        energy.high_j if energy else None,
        energy.source if energy else "none",
        work.useful_flop,
        work.least_bytes,
        work.live_bytes,
        None,
        None,
        None,
        rounds,
        process_s,
        paired,
        record.twins,
        record.settings,
        record.started_at,
    )
