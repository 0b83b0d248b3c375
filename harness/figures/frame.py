"""Records as a pandas DataFrame, one row a record; every statistic is derived here from the raw samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np
import pandas as pd

from harness.records.record import Record
from harness.records.text import first_line
from harness.stats.intervals import median_intervals
from harness.stats.process_times import every_process, that_count

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
    """The values of `COLUMNS` in their order; the derived ones, filled in for all rows at once, are None."""
    values = {**_case(record), **_outcome(record), **_times(record), **_memory(record), **_energy(record)}
    work = record.work
    values |= {"useful_flop": work.useful_flop, "least_bytes": work.least_bytes, "live_bytes": work.live_bytes}
    values |= {"twins": record.twins, "settings": record.settings, "started_at": record.started_at}
    return tuple(map(values.get, COLUMNS))


def _case(record: Record) -> dict[str, Any]:
    case = record.case
    return {
        "run": record.run,
        "key": case.key,
        "workload": case.workload,
        "formulation": case.formulation,
        "execution": case.execution,
        "path": f"{case.formulation}/{case.execution}",
        "params": case.params,
        "point": case.point,
        "mode": case.mode,
        "dtype": case.dtype,
        "backend": case.backend,
        "device": case.device,
        "seed": case.seed,
        "headline": record.headline,
    }


def _outcome(record: Record) -> dict[str, Any]:
    return {
        "status": record.status,
        "reason": first_line(record.reason),
        "failure_class": record.failure_class,
        "fallback": record.fallback,
        "max_rel_error": record.verdict.max_rel_error if record.verdict else None,
    }


def _times(record: Record) -> dict[str, Any]:
    paired = every_process(record)  # none unless ok: wrong output has no time, whatever the record holds
    counted = that_count(paired)
    samples = [process.samples_s for process in counted]
    process_s = [process.centre_s for process in counted]
    values: dict[str, Any] = {
        "time_s": median(process_s) if process_s else None,
        "time_min_s": min(map(min, samples)) if samples else None,
        "alone_s": next((p.centre_s for p in paired if p.round == 0 and p.group is None), None),
        "processes": len(samples),
        "samples": sum(map(len, samples)),
        "rounds": [p.round if p.group is None else p.group for p in counted],
        "process_s": process_s,
        "paired": paired,
    }
    time = record.time
    if time is not None:
        values |= {"steady": time.steady, "drift": time.drift, "first_call_s": time.first_call_s}
        values |= {"compile_s": time.compile_s, "convert_s": time.convert_s}
        values |= {"compile_cache": time.trials[0].compile_cache if time.trials else None}
    return values


def _memory(record: Record) -> dict[str, Any]:
    """The device's peak, or the host's where the device has no allocator of its own."""
    memory = record.memory
    if memory is None:
        return {}
    device, host = memory.device_peak_bytes, memory.host_peak_bytes
    held = host if device is None else device
    return {
        "device_peak_bytes": device,
        "host_peak_bytes": host,
        "compiled_temp_bytes": memory.compiled_temp_bytes,
        "memory_bytes": held,
        "memory_source": None if held is None else f"{'host' if device is None else 'device'}: {memory.source}",
    }


def _energy(record: Record) -> dict[str, Any]:
    energy = record.energy
    if energy is None:
        return {"energy_source": "none"}
    return {
        "energy_j": energy.gross_j,
        "energy_net_j": energy.net_j,
        "energy_low_j": energy.low_j,
        "energy_high_j": energy.high_j,
        "energy_source": energy.source,
    }
