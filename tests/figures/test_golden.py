"""The stored runs have the same figures for ever: what a report says of them is held against what it said once.

`golden/RUN.json` was made by the code of commit e9fc2df, before the rooms, from the same records (the `value` of a
break-even was called `density` there), and that of `quick-tpu-aot-v5e` anew when that run was; that of `standard-cpu`
anew when a path of few groups stopped taking the place of one that had been in all. Each line is what
`lines` makes of one row or finding. A change that is meant to change a figure makes them anew and says so: `python
tests/figures/test_golden.py RUN…`. Intervals are those of the groups of one run here, as they were then.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import msgspec
import pytest

from harness.figures.summary import summarise
from harness.records.store import load
from harness.stats import intervals

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = Path(__file__).parent / "golden"
RUNS = ("quick-cpu", "standard-cpu", "quick-tpu-aot-v5e")

_WHERE = ("workload", "point", "mode", "dtype", "backend", "device")
_ROW = (
    *("path", "tied", "outcome", "cases", "processes", "time_s", "time_low_s", "time_high_s", "first_call_s"),
    *("memory_bytes", "energy_j", "energy_low_j", "energy_high_j", "flop_per_s", "bytes_per_s", "roofline_share"),
)
_AGAINST = (
    *("kind", "twin_workload", "twin_point", "twin_path", "twin_time_s", "rounds", "work_ratio", "verdict"),
    *("speed_up", "speed_up_low", "speed_up_high", "tax", "tax_low", "tax_high"),
    *("memory_tax", "energy_tax", "energy_tax_low", "energy_tax_high"),
)
_FINDINGS = {
    "ceilings": ("device", "dtype", "working_set_bytes", "per_s", "path"),
    "break_even": (*_WHERE, "verdict", "value", "low", "high", "crossings"),
    "amortisation": (*_WHERE, "kind", "path", "against", "extra_s", "gain_s", "calls"),
    "portability": ("backend", "device", "ok", "total", "cells", "cells_share", "verdicts", "classes"),
    "lottery": ("workload", "point", "mode", "dtype", "ranks", "speed_ups", "shift"),
    "failures": ("status", "failure_class", "cases", "backends", "workloads"),
    "estimates": (
        *(*_WHERE, "path", "outcome", "optimal_s", "tax", "cycles", "covered_share", "cycles_tax"),
        *("cycles_tax_is_bound", "total_bytes", "fits"),
    ),
    "datasheets": ("device", "name", "peak_flop_per_s", "bandwidth_bytes_per_s", "memory_bytes", "tdp_w"),
}


def lines(summary):
    """A summary (as plain values) as lists of figures, one a row, an order that does not matter sorted away."""
    out = {name: summary[name] for name in ("records", "outcomes", "noise")}
    for name in ("rows", "dense"):
        out[name] = [
            [[row[n] for n in _WHERE], [row[n] for n in _ROW], *([a[n] for n in _AGAINST] for a in row["against"])]
            for row in summary[name]
        ]
    for name, fields in _FINDINGS.items():
        out[name] = [[finding[n] for n in fields] for finding in summary[name]]
    return {name: sorted(value, key=json.dumps) if isinstance(value, list) else value for name, value in out.items()}


def of_run(name):
    summary = summarise(load(ROOT / "results" / name).records, all_points=True)
    return lines(msgspec.json.decode(msgspec.json.encode(summary)))


def differing(found, expected, at=""):
    """Where two nested values differ, floats by more than what the order of a sum changes."""
    if isinstance(expected, float) and isinstance(found, int | float):
        return [] if found == pytest.approx(expected, rel=1e-7, abs=0) else [f"{at}: {found}, was {expected}"]
    if isinstance(expected, dict) and isinstance(found, dict) and found.keys() == expected.keys():
        return [text for name in expected for text in differing(found[name], expected[name], f"{at}.{name}")]
    if isinstance(expected, list) and isinstance(found, list) and len(found) == len(expected):
        return [t for k, (f, e) in enumerate(zip(found, expected, strict=True)) for t in differing(f, e, f"{at}[{k}]")]
    return [] if found == expected else [f"{at}: {found}, was {expected}"]


def _rounded(value):
    """Floats to nine digits: more than the tolerance asks for."""
    if isinstance(value, float):
        return float(f"{value:.9g}")
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list) else value


def write(name, figures):
    parts = []
    for key, value in _rounded(figures).items():
        rows = [json.dumps(row, ensure_ascii=False) for row in value] if isinstance(value, list) else []
        parts.append(f"{json.dumps(key)}: " + ("[\n" + ",\n".join(rows) + "\n]" if rows else json.dumps(value)))
    (GOLDEN / f"{name}.json").write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")


@pytest.mark.usefixtures("one_run")
@pytest.mark.parametrize("name", RUNS)
def test_a_stored_run_has_the_figures_that_it_always_had(name):
    expected = json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))
    assert differing(of_run(name), expected) == []


def test_every_record_under_results_can_be_read():
    runs = sorted({path.parent for path in (ROOT / "results").glob("*/records.jsonl")})
    assert {run.name for run in runs} >= set(RUNS)
    for run in runs:
        found = load(run)
        assert found.warnings == []
        assert found.records


def test_a_figure_that_changed_is_seen():
    was = {"rows": [["w", 1.0, None]], "noise": 0.01}
    assert differing({"rows": [["w", 1.0 + 1e-9, None]], "noise": 0.01}, was) == []
    assert differing({"rows": [["w", 1.0001, None]], "noise": 0.01}, was) == [".rows[0][1]: 1.0001, was 1.0"]
    assert differing({"rows": [["w", None, None]], "noise": 0.01}, was) == [".rows[0][1]: None, was 1.0"]
    assert len(differing({"rows": [], "noise": 0.01}, was)) == 1
    assert len(differing({"rows": [["v", 1.0, None]]}, was)) == 1


if __name__ == "__main__":
    intervals.RUN_SD = 0.0  # as the fixture `one_run` has it
    for run in sys.argv[1:] or RUNS:
        write(run, of_run(run))
