"""What runs where: of everything that was tried, what ran as asked, as something else, or not at all, and why.

Classes of failure after Mince et al. 2023, "The Grand Illusion: The Myth of Software Portability and Implications for
ML Progress" (arXiv:2309.07181), which counts the functions of a framework that survive a move to other hardware. Here
a formulation takes the place of a function: it may run, run as something else without a word, or fail.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import msgspec

from harness.figures.ceilings import CEILINGS_ALONE
from harness.figures.explanation import alike, explained
from harness.figures.frame import Table, rows_of
from harness.records.record import ANSWERED, Record
from harness.records.text import first_line

CellVerdict = Literal["ok", "in part", "something else", "compiled for", "failed"]


class PortabilityCell(msgspec.Struct, frozen=True, kw_only=True):
    """One formulation of a workload on one backend and device, over all of its points.

    `verdict`: `ok` everywhere; ok `in part` of its cases; ran, but as `something else`, which `fallback` names;
    `compiled for` the device and not run; or `failed` in every case. `status`, `failure_class` and `reason` are the
    most frequent failure's, the reason in the framework's words, one line; None where nothing failed.
    """

    run: str
    workload: str
    formulation: str
    mode: str
    dtype: str
    backend: str
    execution: str
    device: str
    verdict: CellVerdict
    cases: int
    cases_ok: int
    status: str | None
    failure_class: str | None
    fallback: str | None
    reason: str | None


def matrix(records: Sequence[Record]) -> list[PortabilityCell]:
    """Workloads × formulations × backends × executions × devices; ceilings and controls are not counted."""
    groups: dict[tuple[str, ...], list[Record]] = defaultdict(list)
    for record in records:
        c = record.case
        if c.workload not in CEILINGS_ALONE and not record.control:
            place = (record.run, c.workload, c.mode, c.formulation, c.dtype, c.backend, c.execution, c.device)
            groups[place].append(record)
    return [_cell(groups[key]) for key in sorted(groups)]


def _cell(group: Sequence[Record]) -> PortabilityCell:
    case = group[0].case
    ran: list[Record] = []
    failed: list[Record] = []
    for r in group:
        (ran if r.status in ("ok", "estimated") else failed).append(r)
    others = list(dict.fromkeys(r.fallback for r in ran if r.fallback))
    worst = _most_frequent(failed)
    if not ran:
        verdict: CellVerdict = "failed"
    elif others:
        verdict = "something else"
    elif all(r.status == "estimated" for r in ran):
        verdict = "compiled for"
    else:
        verdict = "in part" if failed else "ok"
    return PortabilityCell(
        run=group[0].run,
        workload=case.workload,
        formulation=case.formulation,
        mode=case.mode,
        dtype=case.dtype,
        backend=case.backend,
        execution=case.execution,
        device=case.device,
        verdict=verdict,
        cases=len(group),
        cases_ok=sum(r.status == "ok" for r in group),
        status=None if worst is None else worst.status,
        failure_class=None if worst is None else worst.failure_class,
        fallback="; ".join(others) or None,
        reason=None if worst is None else first_line(worst.reason),
    )


def _most_frequent(failed: Sequence[Record]) -> Record | None:
    if len(failed) < 2:
        return failed[0] if failed else None
    counts = Counter((r.status, r.failure_class, alike(r.reason)) for r in failed)
    return max(failed, key=lambda r: counts[r.status, r.failure_class, alike(r.reason)])


class Missing(msgspec.Struct, frozen=True, kw_only=True):
    """A workload's mode with no path at some or all of its points: how many points ran, and the worst reason."""

    workload: str
    mode: str
    points: int
    points_ok: int
    outcome: str
    reason: str | None


class Portability(msgspec.Struct, frozen=True, kw_only=True):
    """How much of what was tried runs on one backend and device.

    `ok` of `total` pairs of workload and mode have an `ok` path at one point at least; `missing` has those that lack
    one at some point, those without any first. Ceilings are not counted. Beside them the cells of the matrix: `cells`
    in all, by `verdicts`, how many of them fail by the `classes` of failure, and `cells_share`, those that are ok.
    Where nothing is run, what compiles is ok.
    """

    run: str
    backend: str
    device: str
    ok: int
    total: int
    share: float
    missing: list[Missing]
    cells: int
    cells_share: float | None
    verdicts: dict[str, int]
    classes: dict[str, int]


def portability(best: Table, cells: Iterable[PortabilityCell] = ()) -> list[Portability]:
    """Share of workloads that run on every backend and device, and why the others do not; `cells` is the matrix."""
    tried_cells: dict[tuple[str, ...], list[PortabilityCell]] = defaultdict(list)
    for cell in cells:
        tried_cells[cell.run, cell.backend, cell.device].append(cell)
    places: dict[tuple[str, ...], dict[tuple[str, str], list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for row in rows_of(best):
        if row["workload"] in CEILINGS_ALONE:
            continue
        places[row["run"], row["backend"], row["device"]][row["workload"], row["mode"]].append(row)
    out = []
    for (run, backend, device), tried in sorted(places.items()):
        missing = []
        for (workload, mode), rows in sorted(tried.items()):
            lacking = [row for row in rows if row["path"] is None and "estimated" not in row["outcome"]]
            if lacking:
                missing.append(
                    Missing(
                        workload=workload,
                        mode=mode,
                        points=len(rows),
                        points_ok=len(rows) - len(lacking),
                        outcome=lacking[0]["outcome"],
                        reason=next((row["reason"] for row in lacking if row["reason"]), None),
                    )
                )
        missing.sort(key=lambda m: m.points_ok > 0)
        ok = len(tried) - sum(m.points_ok == 0 for m in missing)
        here = tried_cells[run, backend, device]
        verdicts = Counter(cell.verdict for cell in here)
        out.append(
            Portability(
                run=run,
                backend=backend,
                device=device,
                ok=ok,
                total=len(tried),
                share=ok / len(tried),
                missing=missing,
                cells=len(here),
                cells_share=(verdicts["ok"] + verdicts["compiled for"]) / len(here) if here else None,
                verdicts=dict(verdicts.most_common()),
                classes=dict(Counter(c.failure_class or "other" for c in here if c.verdict == "failed").most_common()),
            )
        )
    return out


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Cases that failed alike: `reason` is the first one's first line, numbers aside the same in all of them."""

    status: str
    failure_class: str | None
    reason: str
    cases: int
    backends: list[str]
    workloads: list[str]
    example: str
    why: str | None = None
    do: str | None = None
    link: str | None = None
    rule: str | None = None


def explain_outcomes(records: Sequence[Record]) -> list[Failure]:
    """Every case that is not `ok` or `estimated`, grouped by reason, the largest group first."""
    groups: dict[tuple[str, ...], list[Record]] = defaultdict(list)
    for record in records:
        if record.status not in ANSWERED:
            groups[record.status, record.failure_class or "", alike(record.reason)].append(record)
    out = []
    for group in groups.values():
        told = explained(first_line(group[0].reason) or "")
        known = told.rule is not None
        out.append(
            Failure(
                status=group[0].status,
                failure_class=group[0].failure_class,
                reason=first_line(group[0].reason) or "no reason was recorded",
                cases=len(group),
                backends=sorted({r.case.backend for r in group}),
                workloads=sorted({r.case.workload for r in group}),
                example=str(group[0].case),
                why=told.why.partition(": ")[2] if known else None,
                do=told.do if known else None,
                link=told.link,
                rule=told.rule,
            )
        )
    return sorted(out, key=lambda f: (-f.cases, f.status, f.reason))
