"""Which formulations lose, and by how much, in the stored run of `standard`: a page of docs/results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.figures.ceilings import CEILINGS_ALONE

ROOT = Path(__file__).resolve().parent.parent
STORED = ROOT / "results" / "standard-cpu"
PAGE = ROOT / "docs" / "results" / "losing-formulations.md"
FRAMEWORKS = ("torch", "jax", "tensorflow")
COMMON = {"pattern": "magnitude", "grads": "both"}  # the same throughout
HEAD = """# Formulations that lose

What a formulation takes over the best of its framework, each in its best execution, in the stored run
`results/standard-cpu`. `best` is the fastest of its column, `-` is unsupported. Most ran in one process, alone: a
difference under a fifth is noise.

This page is written by `python tools/docs.py --write`. What was measured besides stands in [the notes](notes.md).
"""

Cases = Mapping[tuple[str, str], Sequence[Any]]  # the records of (formulation, framework)


def page(workloads: Mapping[str, Any], records: Sequence[Any]) -> str:
    """The whole page: a section for each workload that has a point at which its formulations can be compared."""
    chosen = [workload for name, workload in sorted(workloads.items()) if name not in CEILINGS_ALONE]
    sections = [section(workload, records) for workload in chosen]
    return "\n".join([HEAD, *(text for text in sections if text)])


def section(workload: Any, records: Iterable[Any]) -> str:
    """A table for each mode and point at which every formulation that the run knew ran in every framework."""
    points: dict[tuple[str, str], dict[tuple[str, str], list[Any]]] = {}
    for record in records:
        c = record.case
        if c.workload == workload.name and not record.control:
            point = ", ".join(f"{k}={v}" for k, v in c.params.items() if COMMON.get(k) != v)
            points.setdefault((c.mode, point), {}).setdefault((c.formulation, c.backend), []).append(record)
    ran = {(mode, name) for (mode, _), cases in points.items() for name, _ in cases}
    tables = [
        table
        for (mode, point), cases in sorted(points.items())
        if (table := _table(mode, point, cases, _tried(workload, mode, cases, ran)))
    ]
    return "\n".join([f"## {workload.name}\n", *tables, *_left_out(workload, points, ran)]) if tables else ""


def _tried(workload: Any, mode: str, cases: Cases, ran: set[tuple[str, str]]) -> list[str]:
    params = next(iter(cases.values()))[0].case.params
    return [n for n, f in workload.formulations[mode].items() if (mode, n) in ran and f.applies(params)]


def _table(mode: str, point: str, cases: Cases, tried: Sequence[str]) -> str | None:
    from harness.stats.process_times import centre

    if len(tried) < 2 or any((name, framework) not in cases for name in tried for framework in FRAMEWORKS):
        return None
    times = {place: min((t for r in rs if (t := centre(r)) is not None), default=None) for place, rs in cases.items()}
    best = {f: min((t for (_, g), t in times.items() if g == f and t is not None), default=None) for f in FRAMEWORKS}
    head = f"| formulation | {' | '.join(FRAMEWORKS)} |"
    lines = [f"`{mode}`, {point}\n", head, "| --- |" + " ---: |" * len(FRAMEWORKS)]
    for name in tried:
        cells = [_cell(times[name, f], best[f], cases[name, f]) for f in FRAMEWORKS]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _cell(seconds: float | None, best: float | None, records: Sequence[Any]) -> str:
    """The ratio, or the status of a formulation that has no time."""
    if seconds is None or best is None:
        statuses = {record.status for record in records} - {"unsupported"}
        return min(statuses, default="-")
    ratio = seconds / best
    return "best" if ratio == 1 else f"{ratio:.1f}" if ratio < 9.95 else f"{ratio:.0f}"


def _left_out(workload: Any, points: Mapping[tuple[str, str], Cases], ran: set[tuple[str, str]]) -> list[str]:
    """A sentence on the formulations that apply at a point of the stored run, which does not have them."""
    apply = {
        (mode, name)
        for (mode, _), cases in points.items()
        for name, formulation in workload.formulations[mode].items()
        if formulation.applies(next(iter(cases.values()))[0].case.params)
    }
    known = [(mode, name) for mode, by in workload.formulations.items() for name in by]
    missing = [f"`{name}` ({mode})" for mode, name in known if (mode, name) in apply - ran]
    if not missing:
        return []
    count = f"{len(missing)} formulation is" if len(missing) == 1 else f"{len(missing)} formulations are"
    return [f"{count} left out, since the stored run is older: {', '.join(missing)}.\n"]


def made() -> str:
    """The page, from the stored run."""
    from harness.records.store import load
    from workloads.discovery import workloads

    return page(workloads()[0], load(STORED).records)
