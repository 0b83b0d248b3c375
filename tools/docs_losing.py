"""Which formulations lose, and by how much: a table for each workload, mode and point at which all ran everywhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tools import docs_sources as sources
from tools.docs_pages import Block, table

if TYPE_CHECKING:
    from harness.records.record import Record
    from workloads.base import Workload

FRAMEWORKS = ("torch", "jax", "tensorflow")
_COMMON = {"pattern": "magnitude", "grads": "both"}  # the same throughout
_Found = dict[tuple[str, str], list["Record"]]  # by formulation and backend


def losing(_: Block) -> str:
    """Every table from the stored run of `standard`."""
    from workloads.discovery import workloads

    stored = sources.run(sources.STANDARD).records
    out = []
    for name, workload in sorted(workloads()[0].items()):
        found = tables(workload, stored)
        if found and name != "stream":
            out += [f"## {name}", "", *found]
    return "\n".join(out).strip()


def tables(workload: Workload, records: Iterable[Record]) -> list[str]:
    """Lines of a table for each mode and point at which every formulation that was tried ran in every framework."""
    by_point: dict[tuple[str, str], _Found] = {}
    ran: set[tuple[str, str]] = set()
    for record in records:
        case = record.case
        if case.workload == workload.name and not record.control:
            point = ", ".join(f"{k}={v}" for k, v in case.params.items() if _COMMON.get(k) != v)
            at = by_point.setdefault((case.mode, point), {})
            at.setdefault((case.formulation, case.backend), []).append(record)
            ran.add((case.mode, case.formulation))
    out: list[str] = []
    for (mode, point), cases in sorted(by_point.items()):
        tried = [n for n in _known(workload, mode, cases) if (mode, n) in ran]
        if len(tried) > 1 and all((name, framework) in cases for name in tried for framework in FRAMEWORKS):
            out += [f"`{mode}`, {point}", "", _table(tried, cases), ""]
    return out


def _known(workload: Workload, mode: Any, cases: Mapping[tuple[str, str], Sequence[Record]]) -> list[str]:
    params = next(iter(cases.values()))[0].case.params
    return [name for name, f in workload.formulations[mode].items() if f.applies(params)]


def _table(names: Sequence[str], cases: _Found) -> str:
    """Time over the best of the framework: a ratio, `best`, or the status of what has no time."""
    times = {place: _fastest(records) for place, records in cases.items()}
    best = {f: min((t for (_, g), t in times.items() if g == f and t is not None), default=None) for f in FRAMEWORKS}
    rows = [[f"`{n}`", *(_cell(times[n, f], best[f], cases[n, f]) for f in FRAMEWORKS)] for n in names]
    return table(["formulation", *FRAMEWORKS], rows)


def _fastest(records: Iterable[Record]) -> float | None:
    from harness.stats.process_times import centre

    return min((time for record in records if (time := centre(record)) is not None), default=None)


def _cell(seconds: float | None, best: float | None, records: Sequence[Record]) -> str:
    if seconds is None or best is None:
        return min({record.status for record in records} - {"unsupported"}, default="–")
    ratio = seconds / best
    return "best" if ratio == 1 else f"{ratio:.1f}" if ratio < 9.95 else f"{ratio:.0f}"
