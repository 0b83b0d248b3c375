"""Keeps what pytest-benchmark timed of the harness itself beside the tables of its benchmarks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tools.perf_tables import ABOUT, Cell, Column, Table, store

FILES = {"bench_overhead": "overhead", "bench_reports": "publish"}
COLUMNS = [
    Column(key="name", head="benchmark"),
    *(Column(key=f"{key}_s", head=f"{key}, s", format=".4g") for key in ("min", "median", "max")),
    Column(key="rounds", head="rounds", format="d"),
]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """One row a benchmark, in the file of its module."""
    timed = getattr(session.config, "_benchmarksession", None)
    rows: dict[str, list[dict[str, Cell]]] = {}
    for benchmark in getattr(timed, "benchmarks", ()):
        name = FILES.get(Path(benchmark.fullname.partition("::")[0]).stem)
        if name is not None and benchmark.stats.rounds:
            stats = benchmark.stats
            times = {"min_s": stats.min, "median_s": stats.median, "max_s": stats.max}
            rows.setdefault(name, []).append({"name": benchmark.name, **times, "rounds": stats.rounds})
    for name, measured in rows.items():
        table = Table(
            title="Times by pytest-benchmark", columns=COLUMNS, rows=measured, about=os.environ.get(ABOUT, "")
        )
        store(name, table, identity=["name"])
