"""The report as the JSON of pytest-benchmark, which `pytest-benchmark compare` reads: a benchmark an ok case."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from statistics import fmean, median, median_low, quantiles, stdev
from typing import Any

import msgspec

from harness.figures.summary import Row
from harness.records.points import point_name
from harness.records.record import Record
from harness.records.store import RunInfo
from harness.report.flat_table import flat, modelled_flat
from harness.report.published import Published
from harness.stats.process_times import counted

VERSION = "5.3.1"  # of pytest-benchmark, whose layout this is

_Place = tuple[object, ...]


def pytest_benchmark(published: Published) -> str:
    """JSON with the raw samples of every case that is ok, seconds a call; A/A controls are left out.

    Where a case went on from the survey to the groups, the samples are those of the groups, as in every report.

    `stats` are those of the pooled samples, as pytest-benchmark makes them. The harness's own figures stand in
    `extra_info`: memory, energy with its source, and for a best path the row of the report with its intervals. How
    many cases ended otherwise, and so have no benchmark, is said in `hwlottery.left_out`; what was modelled has rows in
    `hwlottery.modelled`.
    """
    rows = {_place_of_row(row): row for row in (*published.summary.dense, *published.summary.rows)}
    timed = [r for r in published.records if r.status == "ok" and not r.control and r.time and counted(r.time)]
    content = {
        "machine_info": _machine(published.runs[0]) if published.runs else {},
        "commit_info": _commit(published.runs),
        "benchmarks": [_benchmark(record, rows.get(_place(record))) for record in timed],
        "datetime": published.runs[0].started_at if published.runs else None,
        "version": VERSION,
        "hwlottery": {
            "left_out": {k: v for k, v in published.summary.outcomes.items() if k != "ok"},
            "noise": published.summary.noise,
            "modelled": [modelled_flat(row) for row in published.summary.modelled],
            "runs": [{"run": info.run, "machine": info.machine, "versions": info.versions} for info in published.runs],
        },
    }
    return msgspec.json.format(msgspec.json.encode(content), indent=1).decode() + "\n"


def _place(record: Record) -> _Place:
    c = record.case
    return (
        *(record.run, c.workload, point_name(c.params), c.mode, c.dtype),
        *(c.backend, c.device, c.formulation, c.execution),
    )


def _place_of_row(row: Row) -> _Place:
    return (
        *(row.run, row.workload, row.point, row.mode, row.dtype),
        *(row.backend, row.device, row.formulation, row.execution),
    )


def _benchmark(record: Record, row: Row | None) -> dict[str, Any]:
    case, time = record.case, record.time
    assert time is not None
    calls = [trial.calls_per_sample for trial in time.trials] or [1]
    processes = [samples for _, samples in counted(time)]
    return {
        "group": f"{case.workload}/{point_name(case.params)}",
        "name": str(case),
        "fullname": f"{record.run}::{case}",
        "params": msgspec.to_builtins(case),
        "param": case.key,
        "extra_info": {
            "run": record.run,
            "case": msgspec.to_builtins(case),
            "status": record.status,
            "processes": len(processes),
            "calls_per_sample": calls,
            "energy": msgspec.to_builtins(record.energy),
            "memory": msgspec.to_builtins(record.memory),
            "row": None if row is None else flat(row),
        },
        "options": {},
        "stats": _stats([s for samples in processes for s in samples], median_low(calls)),
    }


def _stats(samples: Sequence[float], iterations: int) -> dict[str, Any]:
    ordered, n = sorted(samples), len(samples)
    q1, _, q3 = quantiles(ordered, n=4, method="inclusive") if n > 1 else [ordered[0]] * 3
    mean, deviation, total = fmean(ordered), stdev(ordered) if n > 1 else 0.0, sum(ordered)
    low, high = q1 - 1.5 * (q3 - q1), q3 + 1.5 * (q3 - q1)
    far = sum(abs(s - mean) > deviation for s in ordered)
    beyond = sum(not low <= s <= high for s in ordered)
    return {
        "min": ordered[0],
        "max": ordered[-1],
        "mean": mean,
        "stddev": deviation,
        "rounds": n,
        "median": median(ordered),
        "iqr": q3 - q1,
        "q1": q1,
        "q3": q3,
        "iqr_outliers": beyond,
        "stddev_outliers": far,
        "outliers": f"{far};{beyond}",
        "ld15iqr": ordered[bisect_left(ordered, low)],
        "hd15iqr": ordered[bisect_right(ordered, high) - 1],
        "ops": n / total if total else 0,
        "total": total,
        "data": list(samples),
        "iterations": iterations,
    }


def _machine(info: RunInfo) -> Mapping[str, Any]:
    facts = info.machine
    system, _, release = str(facts.get("os") or "").partition(" ")
    return {
        "node": None,  # nobody's host name stands in a record
        "processor": facts.get("cpu"),
        "machine": facts.get("architecture"),
        "python_implementation": None,
        "python_version": facts.get("python"),
        "release": release or None,
        "system": system or None,
        "cpu": {"brand_raw": facts.get("cpu"), "arch": facts.get("architecture"), "count": facts.get("cores_logical")},
    }


def _commit(runs: Sequence[RunInfo]) -> Mapping[str, Any]:
    return {
        "id": "unversioned",
        "time": None,
        "author_time": None,
        "dirty": None,
        "project": "hwlottery",
        "branch": "(unknown)",
        "sources": runs[0].sources if runs else {},
    }
