"""The tables of a report as titles, headings and cells of text, the same for Markdown and LaTeX."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import NamedTuple

from harness.figures.amortised_step import STEPS, amortised_steps
from harness.figures.lottery import Shift
from harness.figures.summary import Row, Summary
from harness.records.text import visible
from harness.report import blame_text, chips_text, estimates_text, modelled_rows_text
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
    """A table: its title, the headings of its columns, and its rows of cells; the first `labels` say what a row is."""

    title: str
    names: Sequence[str]
    cells: Sequence[Sequence[str]]
    labels: int = 1


def as_lines(section: Section, width: int) -> list[str]:
    """A table as plain text, each column as wide as it needs.

    Where that is wider than `width`, its labels stand in one column, below each other, as do a value and its interval.
    """
    labels = section.labels
    whole = [section.names, *section.cells]
    if sum(max(map(len, column)) + 2 for column in zip(*whole, strict=True)) - 2 <= width:
        return [section.title, *map(visible, _aligned(whole, "  "))]
    heads = [name.replace(" ", "\n") for name in section.names[labels:]]
    tall = [["\n ".join(section.names[:labels]), *heads]]
    tall += [["\n ".join(row[:labels]), *map(_stacked, row[labels:])] for row in section.cells]
    lines = [line for row in tall for line in zip_longest(*(cell.split("\n") for cell in row), fillvalue="")]
    return [section.title, *map(visible, _aligned(lines, " "))]


def _aligned(lines: Sequence[Sequence[str]], gap: str) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [gap.join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines]


def _stacked(cell: str) -> str:
    """`1.02 s [0.97, 1.05] modelled` as three lines."""
    return cell.replace(" [", "\n[").replace("] ", "]\n")


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
        *_chips(summary),
        Section(
            modelled_rows_text.TITLE,
            modelled_rows_text.NAMES,
            [modelled_rows_text.cells(row, where) for row in summary.modelled],
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


def _chips(summary: Summary) -> list[Section]:
    """The lottery across chips, a table for each figure."""
    rows = summary.chips
    out = []
    for title, told in chips_text.TABLES:
        ranked = told is chips_text.tax
        names = ["workload", "point", *chips_text.heads(rows), *(["moves"] if ranked else [])]
        found = [
            [row.workload, f"{row.point} {row.mode}", *figures, *([chips_text.moves(row)] if ranked else [])]
            for row, figures in zip(rows, chips_text.cells(rows, told), strict=True)
        ]
        out.append(Section(f"{chips_text.TITLE}: {title}", names, found))
    return out


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
