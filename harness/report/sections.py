"""The tables of a report as titles, headings and cells of text, the same for Markdown and LaTeX."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from harness.figures.amortised_step import STEPS, amortised_steps
from harness.figures.lottery import Shift
from harness.figures.summary import Row, Summary
from harness.report import blame_text, estimates_text
from harness.report.wording import (
    UNKNOWN,
    Where,
    cells_share,
    energy_cell,
    memory_cell,
    outcome_cell,
    point_cell,
    quantity,
    share_cell,
    significant,
    speed_up_cell,
    tax_cell,
    time_cell,
    verdict_cell,
)
from harness.stats.ranks import RankInterval


class Section(NamedTuple):
    """A table: its title, the headings of its columns, and its rows of cells."""

    title: str
    names: Sequence[str]
    cells: Sequence[Sequence[str]]


_IDEA = ("workload", "point", "backend", "best path", "time", "speed-up", "tax", "memory", "energy", "share", "outcome")
_DENSE = ("workload", "point", "backend", "best path", "time", "memory", "share")


def sections(summary: Summary) -> list[Section]:
    """The tables of ideas, then dense twins, updates, amortisation, ranks, what ran where; none without a row."""
    where = Where([*summary.rows, *summary.dense])
    others = [(r, against_twin) for r in summary.rows for against_twin in r.against[1:]]
    out = [
        Section("Ideas against their dense twin", _IDEA, [_cells(r, where) for r in summary.rows]),
        Section(
            "Against their other twins",
            ("workload", "point", "backend", "twin", "speed-up", "tax"),
            [[r.workload, point_cell(r), where.of(r), a.kind, speed_up_cell(a), tax_cell(a)] for r, a in others],
        ),
        Section(
            blame_text.TITLE, blame_text.NAMES, [blame_text.cells(*p, where) for p in blame_text.told(summary.rows)]
        ),
        Section("Dense twins", _DENSE, [_dense_cells(r, where) for r in summary.dense]),
        Section(
            estimates_text.TITLE,
            estimates_text.NAMES,
            [estimates_text.cells(estimate, where) for estimate in summary.estimates],
        ),
        _updates(summary, where),
        _amortisation(summary),
        _ranks(summary),
        *(_portability(summary, where) if summary.all_points else []),
    ]
    return [section for section in out if section.cells]


def _cells(row: Row, where: Where) -> list[str]:
    return [
        row.workload,
        point_cell(row),
        where.of(row),
        row.path or UNKNOWN,
        time_cell(row),
        speed_up_cell(row.principal),
        tax_cell(row.principal),
        memory_cell(row),
        energy_cell(row),
        share_cell(row),
        outcome_cell(row),
    ]


def _dense_cells(row: Row, where: Where) -> list[str]:
    best = row.path or outcome_cell(row)
    return [row.workload, point_cell(row), where.of(row), best, time_cell(row), memory_cell(row), share_cell(row)]


def _updates(summary: Summary, where: Where) -> Section:
    cells = [
        [
            found.step.workload,
            found.step.label,
            where.of(found.step),
            quantity(found.step.time_s, "s"),
            quantity(found.update.time_s, "s"),
            quantity(found.time_s, "s"),
            UNKNOWN if found.speed_up is None else f"{significant(found.speed_up)}×",
        ]
        for found in amortised_steps(summary.rows)
    ]
    names = ("workload", "point", "backend", "step", "update", f"a step of {STEPS} and an update", "speed-up")
    return Section("A step with its share of the updates", names, cells)


def _amortisation(summary: Summary) -> Section:
    cells = [
        [
            a.workload,
            a.point,
            a.mode,
            f"{a.backend} {a.device}",
            a.kind + (f" ({a.cache} cache)" if a.kind == "compile" and a.cache else ""),
            f"{a.path} against {a.against}",
            "never" if a.calls is None else str(a.calls),
        ]
        for a in summary.amortisation
    ]
    names = ("workload", "point", "mode", "backend", "what is paid once", "path", "calls until paid back")
    return Section("Amortisation", names, cells)


def _ranks(summary: Summary) -> Section:
    places = list(summary.lottery[0].ranks) if summary.lottery else []
    cells = [
        [s.workload, f"{s.point} {s.mode}", *(_or_unknown(s.ranks[p]) for p in places), _moved(s)]
        for s in summary.lottery
    ]
    return Section("Rank by speed-up", ("workload", "point", *places, "shift"), cells)


def _or_unknown(rank: RankInterval | None) -> str:
    return UNKNOWN if rank is None else str(rank)


def _moved(shift: Shift) -> str:
    """By how many ranks at least; unknown for an idea that lacks a place."""
    if not shift.ranked:
        return UNKNOWN
    return "cannot tell" if shift.shift is None else str(shift.shift)


def _portability(summary: Summary, where: Where) -> list[Section]:
    """The share that runs in each place, and the matrix with a column a place, unknown where it was not tried."""
    shares = [
        [
            f"{p.backend} {p.device}{where.run(p.run)}",
            f"{p.ok} of {p.total}",
            cells_share(p),
            ", ".join(f"{name} {count}" for name, count in p.classes.items()) or "none",
        ]
        for p in summary.portability
    ]
    places = list(dict.fromkeys(f"{c.backend} {c.device}{where.run(c.run)}" for c in summary.matrix))
    rows: dict[tuple[str, ...], dict[str, str]] = {}
    for c in summary.matrix:
        row = rows.setdefault((c.workload, c.mode, c.formulation, c.execution, c.dtype), {})
        row[f"{c.backend} {c.device}{where.run(c.run)}"] = verdict_cell(c)
    return [
        Section("Portability", ("place", "workloads and modes", "formulations ok", "classes of failure"), shares),
        Section(
            "What ran where",
            ("workload", "mode", "formulation", "execution", "dtype", *places),
            [[*names, *(row.get(place, UNKNOWN) for place in places)] for names, row in sorted(rows.items())],
        ),
    ]
