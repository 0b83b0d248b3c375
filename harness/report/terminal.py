"""The report in a terminal: a matrix of all ideas first, then what it rests on; readable at 80 columns."""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import NamedTuple

from harness.figures.summary import Against, Row, Summary
from harness.records.text import shorten, visible
from harness.report import blame_text, estimates_text, modelled_rows_text
from harness.report.matrix import matrix
from harness.report.notes import disturbed, footer, short
from harness.report.wording import (
    NO_IDEA,
    NOTHING,
    UNKNOWN,
    Where,
    cells_share,
    detectable_cell,
    energy_cell,
    memory_cell,
    outcome_cell,
    point_cell,
    share_cell,
    speed_up_cell,
    tax_cell,
    time_cell,
    verdict_cell,
)

RAN = ("ok", "compiled for")  # as it was asked
_INTERVAL = re.compile(r"\[[^][]{1,40}\]")
_WIDE = 168  # columns from which every figure has a column of its own and intervals stand beside their values


class _Column(NamedTuple):
    """A column of the table: its heading, its width in characters, and what it says of a row."""

    name: str
    width: int
    cell: Callable[[Row], str]


def terminal(summary: Summary, width: int | None = None) -> str:
    """The answer in words, the matrix, a short footer; then all tables and notes where the summary has all points.

    For a terminal `width` columns wide, its own width (or COLUMNS) unless said; readable from 80. Plain text without
    colour, the same in a terminal, a pipe and a file.
    """
    if not summary.records:
        return f"{NOTHING}\n"
    width = width or shutil.get_terminal_size().columns
    where = Where([*summary.rows, *summary.dense])
    out = [line for said in disturbed(summary) for line in textwrap.wrap(said, width, subsequent_indent="  ")]
    for said in summary.answer:
        out += textwrap.wrap(said, width, subsequent_indent="  ", break_on_hyphens=False)
    out += [""] if summary.answer else []
    out += matrix(summary, where, width) or textwrap.wrap(NO_IDEA, width)
    out.append("")
    if summary.all_points:
        out += _details(summary, where, width)
    elif not summary.rows and summary.dense:
        out += [*_dense(summary, where, width), ""]
    for line in footer(summary) if summary.all_points else short(summary):
        whole = _INTERVAL.sub(lambda found: found[0].replace(" ", "\u00a0"), line)  # an interval is not cut in two
        wrapped = textwrap.wrap(whole, width, subsequent_indent="  ", break_on_hyphens=False)
        out += [part.replace("\u00a0", " ") for part in wrapped]
    return "\n".join(visible(line.rstrip()) for line in out) + "\n"


def _details(summary: Summary, where: Where, width: int) -> list[str]:
    """The tables of every point. Rows stand under a line with their workload and point.

    Below 168 columns an interval stands under its value.
    """
    out = []
    if summary.rows:
        ideas = _wide_columns(where) if width >= _WIDE else _narrow_columns(where)
        out += ["Ideas against their dense twin", *_sections(summary.rows, ideas, where, width), ""]
    blamed = [row for row, _ in blame_text.told(summary.rows)]
    if blamed:
        lines = _sections(blamed, [_Column("backend", 12, where.of), *_BLAME], where, width)
        out += [blame_text.TITLE, *lines, *textwrap.wrap(blame_text.READS, width, subsequent_indent="  "), ""]
    if summary.dense:
        out += [*_dense(summary, where, width), ""]
    if summary.estimates:
        out += [*estimates_text.lines(summary.estimates, where, width), ""]
    if summary.modelled:
        out += [*modelled_rows_text.lines(summary.modelled, where, width), ""]
    return [*out, *_what_ran_where(summary, where, width), ""]


def _dense(summary: Summary, where: Where, width: int) -> list[str]:
    first = _Column("backend, best path", 38, lambda row: f"{where.of(row)} {row.path}")
    columns = _DENSE if width >= _WIDE else _DENSE_NARROW
    return ["Dense twins", *_sections(summary.dense, [first, *columns], where, width)]


def _wide_columns(where: Where) -> list[_Column]:
    return [
        _Column("backend", 16, where.of),
        _Column("best path", 26, lambda row: str(row.path)),
        _Column("time", 23, time_cell),
        _Column("speed-up", 23, lambda row: speed_up_cell(row.principal)),
        _Column("finds", 7, lambda row: detectable_cell(row.principal)),
        _Column("tax", 20, lambda row: tax_cell(row.principal)),
        _Column("memory", 9, memory_cell),
        _Column("energy", 29, energy_cell),
        _Column("share", 7, share_cell),
    ]


def _narrow_columns(where: Where) -> list[_Column]:
    return [
        _Column("backend\nbest path", 23, lambda row: f"{where.of(row)}\n{row.path}"),
        _Column("time", 12, lambda row: _stacked(time_cell(row))),
        _Column("speed-up\nfinds", 14, _gain),
        _Column("tax", 14, lambda row: _stacked(tax_cell(row.principal))),
        _Column("memory, share\nenergy", 13, _held_and_spent),
    ]


def _blamed(cell: Callable[[Against], str]) -> Callable[[Row], str]:
    return lambda row: UNKNOWN if row.principal is None else cell(row.principal)


_BLAME = [
    _Column("tax", 7, _blamed(lambda a: _stacked(tax_cell(a)).partition("\n")[0])),
    _Column("hardware", 13, _blamed(lambda a: _stacked(blame_text.hardware_cell(a)))),
    _Column("software", 15, _blamed(lambda a: _stacked(blame_text.software_cell(a)))),
    _Column("wasted\nslow", 8, _blamed(lambda a: "\n".join(blame_text.figures(a)[3:5]))),
    _Column("FLOP\nbytes", 8, _blamed(lambda a: "\n".join(blame_text.figures(a)[5:7]))),
    _Column("bound", 9, _blamed(lambda a: a.bound_by or UNKNOWN)),
]
_DENSE = [_Column("time", 25, time_cell), _Column("memory", 9, memory_cell), _Column("share", 7, share_cell)]
_DENSE_NARROW = [_Column("time", 22, time_cell), *_DENSE[1:]]


def _gain(row: Row) -> str:
    cell, finds = _stacked(speed_up_cell(row.principal)), detectable_cell(row.principal)
    return cell if finds == UNKNOWN else f"{cell}\n{finds}"


def _held_and_spent(row: Row) -> str:
    memory, share = memory_cell(row), share_cell(row)
    gap = " " if len(memory) + len(share) < 13 else "\n"
    return f"{memory}{gap}{share}\n{_stacked(energy_cell(row))}"


def _stacked(cell: str) -> str:
    """`1.02× [0.97, 1.05] tie` as `1.02× tie` above its interval."""
    value, bracket, rest = cell.partition(" [")
    interval, closed, after = rest.partition("]")
    return f"{value}{after}\n[{interval}{closed}" if bracket else cell


def _sections(rows: Sequence[Row], columns: Sequence[_Column], where: Where, width: int) -> list[str]:
    """A line for each workload and point, below it its rows; one in which no path ran has its reason instead."""
    out = _lines([column.name for column in columns], columns)
    title = ""
    for row in rows:
        name = f"{row.workload}: {point_cell(row)}"
        if name != title:
            out += textwrap.wrap(name, width, subsequent_indent="  ")
            title = name
        said = shorten(outcome_cell(row), 300)
        if row.path is not None:
            out += _lines([column.cell(row) for column in columns], columns)
        if row.path is None or said != "ok":
            text = f"{where.of(row)}: {said}" if row.path is None else said
            out += textwrap.wrap(
                text, width, initial_indent=" " if row.path is None else "   ", subsequent_indent="   "
            )
    return out


def _lines(cells: Sequence[str], columns: Sequence[_Column]) -> list[str]:
    """Cells side by side, each wrapped to its column, the first one indented."""
    wrapped = []
    for number, (cell, column) in enumerate(zip(cells, columns, strict=True)):
        indent = " " if number == 0 else ""
        parts = [textwrap.wrap(part, column.width - len(indent)) for part in cell.split("\n")]
        wrapped.append([(indent + line).ljust(column.width) for part in parts for line in part])
    blank = [" " * column.width for column in columns]
    return [
        " ".join(line or empty for line, empty in zip(together, blank, strict=True))
        for together in zip_longest(*wrapped, fillvalue="")
    ]


def _what_ran_where(summary: Summary, where: Where, width: int) -> list[str]:
    """The share of every place, and below it each formulation that did not run there as it was asked to."""
    out = ["What ran where"]
    for p in summary.portability:
        place = f"{p.backend} {p.device}{where.run(p.run)}"
        out += textwrap.wrap(f"{place}: formulations ok: {cells_share(p)}", width, subsequent_indent="  ")
        executions: dict[tuple[str, str], list[str]] = {}  # what has the same words in several executions is one line
        for c in summary.matrix:
            if (c.run, c.backend, c.device) == (p.run, p.backend, p.device) and c.verdict not in RAN:
                name = f"{c.workload}/{c.formulation} {c.mode}"
                executions.setdefault((name, verdict_cell(c)), []).append(c.execution)
        for (name, said), modes in executions.items():
            line = f"{name} {', '.join(modes)}: {said}"
            out += textwrap.wrap(line, width, initial_indent="  ", subsequent_indent="    ")
    return out
