"""The first thing that a report shows: ideas down, backends across, in a cell speed-up and tax by best path.

Plain text within the width given: no word and no number is broken, and backends that do not fit stand in a block of
their own below.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from harness.figures.chips import ChipCell, chip_name, chips_of
from harness.figures.estimates import EstimateRow
from harness.figures.modelled import ModelledRow
from harness.figures.summary import Row, Summary
from harness.records.text import shorten
from harness.report import chips_text, estimates_text, modelled_rows_text
from harness.report.constants import Either, axes_text, constants, headlines, twins_line, varying
from harness.report.wording import UNKNOWN, Where, reads_estimated, significant
from workloads.discovery import workloads

TITLE = "What each idea gains and costs against its dense twin"
_GAP = 2  # blanks between columns
_LEAST_LABEL, _MOST_LABEL = 22, 30
_FEW = 8  # ideas that are seen at a glance: more are put together by what they leave out of the dense path
_MARKS = {
    "≈": "≈ is a tie",
    "?": "? cannot be told from noise here",
    "–": "– was not measured",
    "word": "a word says why there is no figure",
}


class Figures(NamedTuple):
    """What a cell shows: two figures under the two headings of its place, or a word across both."""

    first: str
    second: str
    word: str = ""


class Grid(NamedTuple):
    """A matrix before it is laid out: `rows` are (group, label), `cells` by (row, place) has one or more each.

    `begins` has the line that stands above the row with that number.
    """

    heads: tuple[str, str]
    rows: Sequence[tuple[str, str]]
    places: Sequence[str]
    cells: Mapping[tuple[int, int], Sequence[Figures]]
    begins: Mapping[int, str] = {}


def matrix(summary: Summary, where: Where, width: int) -> list[str]:
    """The matrix of what was measured and, apart, that of what was compiled for a chip; each with how to read it."""
    out: list[str] = []
    shown = headlines(summary.rows)
    if shown:
        grid = _measured(shown, where)
        out += [TITLE, *laid_out(grid, width), "", *_wrapped(_reading(shown, where), width)]
        out += [*_wrapped(_legend(grid), width), *_facts(shown, width)]
    for cards, second in ((False, "by cycles"), (True, "kernels")):
        compiled = [row for row in headlines(summary.estimates) if row.of_card is cards]
        if compiled:
            grid = _grid(compiled, where, ("tax", second), [_estimated(row) for row in compiled])
            said = "kernels" if cards else "tax by cycles"
            out += [*([""] if out else []), f"{estimates_text.TITLE}: estimated tax, and {said}"]
            out += [*laid_out(grid, width), ""]
            for words in reads_estimated(row.device for row in compiled):
                out += _wrapped(words, width)
            out += _facts(compiled, width)
    reckoned = headlines(summary.modelled)
    if reckoned:
        grid = _grid(reckoned, where, ("speed-up", "tax"), [_modelled(row) for row in reckoned])
        out += [*([""] if out else []), f"{modelled_rows_text.TITLE}: speed-up, and tax"]
        out += [*laid_out(grid, width), "", *_wrapped(modelled_rows_text.READS_MODELLED, width)]
        out += _facts(reckoned, width)
    if summary.chips:
        out += ["", f"{chips_text.TITLE}: estimated tax, and rank by estimated speed-up"]
        out += [*laid_out(_chips(summary), width), "", *_wrapped(chips_text.READS_CHIPS, width)]
    return out


def ideas(rows: Sequence[Row], where: Where, width: int) -> list[str]:
    """The matrix of measured rows by itself, as it stands while a run goes on."""
    return [TITLE, *laid_out(_measured(rows, where), width)]


# -- what stands in it -------------------------------------------------------------------------------------------------


def _grid(rows: Sequence[Either], where: Where, heads: tuple[str, str], figures: Sequence[Figures]) -> Grid:
    axes = varying(rows)
    places = list(dict.fromkeys((row.run, row.backend, row.device) for row in sorted(rows, key=_place)))
    devices = len({row.device for row in rows}) > 1
    dtypes = len({row.dtype for row in rows}) > 1
    names: dict[tuple[str, str, str], int] = {}
    labels: list[tuple[str, str]] = []
    cells: dict[tuple[int, int], list[Figures]] = {}
    for row, found in zip(rows, figures, strict=True):
        number = names.setdefault((row.workload, row.mode, row.dtype + row.point), len(names))
        if number == len(labels):
            group = f"{row.workload} {row.mode}" + (f" {row.dtype}" if dtypes else "")
            labels.append((group, axes_text(row.params, axes[row.workload])))
        cells.setdefault((number, places.index((row.run, row.backend, row.device))), []).append(found)
    titles = [backend + (f" {device}" if devices else "") + where.run(run) for run, backend, device in places]
    return Grid(heads, labels, titles, cells)


def _chips(summary: Summary) -> Grid:
    """Ideas down, chips across, whatever the framework."""
    axes = varying(summary.estimates)
    chips = chips_of(summary.chips)
    dtypes = len({row.dtype for row in summary.chips}) > 1
    labels = [
        (f"{row.workload} {row.mode}" + (f" {row.dtype}" if dtypes else ""), axes_text(row.params, axes[row.workload]))
        for row in summary.chips
    ]
    cells = {
        (number, place): [_on_chip(row.cells[chip])]
        for number, row in enumerate(summary.chips)
        for place, chip in enumerate(chips)
        if chip in row.cells
    }
    return Grid(("tax", "rank"), labels, [chip_name(chip) for chip in chips], cells)


def _on_chip(cell: ChipCell) -> Figures:
    if cell.path is None:
        return Figures("", "", "refused")
    tax = UNKNOWN if cell.tax is None else ("≥" if cell.tax_is_bound else "") + significant(cell.tax)
    return Figures(tax, UNKNOWN if cell.rank is None else str(cell.rank))


def together(rows: Sequence[Row]) -> tuple[list[Row], dict[str, str]]:
    """The rows of many ideas, those together that leave out the same of the dense path; and what each idea leaves out.

    Of few ideas the rows as they are, and nothing.
    """
    known = workloads()[0]
    left_out = {row.workload: known[row.workload].leaves_out for row in rows if row.workload in known}
    if len(left_out) <= _FEW:
        return list(rows), {}
    order = list(dict.fromkeys(left_out.get(row.workload, "") for row in rows))
    return sorted(rows, key=lambda row: order.index(left_out.get(row.workload, ""))), left_out


def _measured(rows: Sequence[Row], where: Where) -> Grid:
    """Of many ideas, those together that leave out the same of the dense path, below a line that says what."""
    rows, left_out = together(rows)
    grid = _grid(rows, where, ("speed-up", "tax"), [_figures(row) for row in rows])
    begins: dict[str, int] = {}
    for number, (group, _) in enumerate(grid.rows if left_out else ()):
        begins.setdefault(left_out.get(group.partition(" ")[0], ""), number)
    return grid._replace(begins={number: f"leaves out {what}" for what, number in begins.items() if what})


def _place(row: Either) -> tuple[str, str, str]:
    return row.run, row.device, row.backend


def _figures(row: Row) -> Figures:
    against = row.principal
    if row.path is None or against is None:
        return Figures("", "", _outcome(row.outcome))
    if against.speed_up is None:
        return Figures("", "", "no twin")
    sure = {"tie": "≈", None: "?"}.get(against.verdict, "")
    tax = UNKNOWN if against.tax is None else significant(against.tax)
    return Figures(f"{sure}{significant(against.speed_up)}×", tax)


def _estimated(row: EstimateRow) -> Figures:
    if row.path is None:
        return Figures("", "", _outcome(row.outcome))
    tax = UNKNOWN if row.tax is None else ("≥" if row.tax_is_bound else "") + significant(row.tax)
    if row.of_card:
        return Figures(tax, UNKNOWN if row.kernels is None else str(row.kernels))
    bound = "≥" if row.cycles_tax_is_bound else ""
    return Figures(tax, UNKNOWN if row.cycles_tax is None else f"{bound}{significant(row.cycles_tax)}")


def _modelled(row: ModelledRow) -> Figures:
    if row.path is None:
        return Figures("", "", _outcome(row.outcome))
    if row.speed_up is None:
        return Figures("", "", "no twin")
    return Figures(f"{significant(row.speed_up)}×", UNKNOWN if row.tax is None else significant(row.tax))


def _outcome(counts: str) -> str:
    """The worst outcome of `timeout 1 · unsupported 3`, in a word."""
    return counts.partition(" ")[0]


def _reading(rows: Sequence[Row], where: Where) -> str:
    """One cell as a sentence, of a row that is no tie where there is one."""
    known = [
        (row, a) for row in rows if (a := row.principal) and row.path and a.speed_up is not None and a.tax is not None
    ]
    if not known:
        return "speed-up = the dense twin's time over the idea's; tax = what a useful FLOP costs off the dense path."
    told, against = max(known, key=lambda pair: (pair[1].verdict in ("faster", "slower"), pair[1].speed_up))
    axes = axes_text(told.params, varying(rows)[told.workload])
    name = f"{told.workload} {told.mode}" + (f" {axes}" if axes else "")
    return (
        f"How to read a cell: {name} on {where.of(told)} is {significant(against.speed_up or 0)} times as fast as its "
        f"dense twin, {against.twin_workload} ({against.kind.replace('_', ' ')}), and a useful FLOP costs "
        f"{significant(against.tax or 0)} times what it costs there. Both by their best path."
    )


def _legend(grid: Grid) -> str:
    found = [figures for several in grid.cells.values() for figures in several]
    signs = "".join(figures.first + figures.second for figures in found)
    complete = len(grid.cells) == len(grid.rows) * len(grid.places)
    there = {"≈": "≈" in signs, "?": "?" in signs, "–": UNKNOWN in signs or not complete}
    there["word"] = any(figures.word for figures in found)
    said = [words for mark, words in _MARKS.items() if there[mark]]
    return f"{'; '.join(said)}." if said else ""


def _facts(rows: Sequence[Either], width: int) -> list[str]:
    lines = [constants(rows), twins_line(rows)]
    return [part for line in lines if line for part in _wrapped(line, width)]


# -- how it is laid out ------------------------------------------------------------------------------------------------


def laid_out(grid: Grid, width: int) -> list[str]:
    """The lines of a matrix, in blocks of as many places as fit beside the labels."""
    labels = _labels(grid)
    first, second = _widths(grid)
    cell = first + _GAP + second
    room = width - _LEAST_LABEL - _GAP
    titles = [[word if len(word) <= room else shorten(word, room) for word in place.split()] for place in grid.places]
    cell = max([cell, *(len(word) for words in titles for word in words)])
    beside = [label for _, label in labels if label not in grid.begins.values()]
    aside = _aside(beside, cell, len(titles), width)
    many = max(1, (width - aside) // (cell + _GAP))
    out: list[str] = []
    for start in range(0, len(titles), many):
        block = range(start, min(start + many, len(titles)))
        out += [""] if start else []
        out += _headings([titles[k] for k in block], grid.heads, (first, second), cell, aside)
        for number, label in labels:
            several = [] if number is None else [_cell(grid, number, k, second, cell) for k in block]
            out += _row(label, several, aside, width)
    return [line.rstrip() for line in out]


def _labels(grid: Grid) -> list[tuple[int | None, str]]:
    """A line for each row, the rows of a group of several indented below a line of its own (None)."""
    out: list[tuple[int | None, str]] = []
    for group, members in groupby(enumerate(grid.rows), key=lambda pair: pair[1][0]):
        numbered = [(number, label) for number, (_, label) in members]
        if numbered[0][0] in grid.begins:
            out += [(None, ""), (None, grid.begins[numbered[0][0]])]
        if len(numbered) == 1:
            number, label = numbered[0]
            out.append((number, f"{group} {label}".rstrip()))
        else:
            out += [(None, group), *((number, f"  {label}") for number, label in numbered)]
    return out


def _widths(grid: Grid) -> tuple[int, int]:
    found = [figures for several in grid.cells.values() for figures in several]
    first = max([len(grid.heads[0]), *(len(figures.first) for figures in found)])
    second = max([len(grid.heads[1]), *(len(figures.second) for figures in found)])
    words = max((len(figures.word) for figures in found), default=0)
    return max(first, words - _GAP - second), second


def _aside(labels: Iterable[str], cell: int, places: int, width: int) -> int:
    """Columns for the labels: as many as they need, less where all places then stand in one block."""
    longest = min(max(map(len, labels), default=0), _MOST_LABEL, width - cell - _GAP)
    fits = width - places * (cell + _GAP)
    return fits if _LEAST_LABEL <= fits < longest else longest


def _headings(
    titles: Sequence[Sequence[str]], heads: tuple[str, str], widths: tuple[int, int], cell: int, aside: int
) -> list[str]:
    wrapped = [textwrap.wrap(" ".join(words), cell, break_on_hyphens=False) or [""] for words in titles]
    out = []
    for depth in range(max(map(len, wrapped))):
        names = [lines[depth] if depth < len(lines) else "" for lines in wrapped]
        out.append(" " * aside + "".join(" " * _GAP + name.rjust(cell) for name in names))
    both = f"{heads[0].rjust(widths[0])}{' ' * _GAP}{heads[1].rjust(widths[1])}".rjust(cell)
    return [*out, "idea".ljust(aside) + "".join(" " * _GAP + both for _ in titles)]


def _cell(grid: Grid, row: int, place: int, second: int, cell: int) -> list[str]:
    found = grid.cells.get((row, place), [Figures("", UNKNOWN)])
    return [(f.word or f"{f.first}{' ' * _GAP}{f.second.rjust(second)}").rjust(cell) for f in found]


def _row(label: str, cells: Sequence[Sequence[str]], aside: int, width: int) -> list[str]:
    """The label beside the cells, wrapped between words; what has no room there stands on lines of its own above."""
    indent = len(label) - len(label.lstrip())
    lines = textwrap.wrap(
        label.strip(),
        aside if cells else width,
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent + 1),
        break_long_words=False,
        break_on_hyphens=False,
    ) or [" " * indent]
    above: list[str] = []
    while cells and lines and max(map(len, lines)) > aside:
        above += textwrap.wrap(lines.pop(0), width, initial_indent=" " * indent, subsequent_indent=" " * (indent + 1))
    out = []
    for depth in range(max([len(lines), *map(len, cells)])):
        said = lines[depth] if depth < len(lines) else ""
        blank = " " * (len(cells[0][0]) if cells else 0)
        out.append(said.ljust(aside) + "".join(" " * _GAP + (c[depth] if depth < len(c) else blank) for c in cells))
    return [*above, *out]


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, subsequent_indent="  ", break_on_hyphens=False)
