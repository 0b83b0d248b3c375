"""The tables of the report's page as plain values: the lottery table, all figures, what they are filtered by."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from harness.figures.summary import Against, Row, Summary
from harness.records.text import shorten
from harness.report.matrix import together
from harness.report.wording import (
    UNKNOWN,
    Where,
    energy_cell,
    memory_cell,
    outcome_cell,
    point_cell,
    share_cell,
    significant,
    speed_up_cell,
    tax_cell,
    time_cell,
)
from harness.web import palette
from harness.web.record_details import Index

_NAMES = ("idea", "point", "backend")
_FIGURES = (
    ("best path", False), ("time", True), ("speed-up", True), ("tax", True), ("memory", True), ("energy", True),
    ("share", True), ("outcome", False),
)  # fmt: skip


def _places(where: Where) -> dict[str, bool]:
    """Columns that tell places apart, and whether they do: one that is the same in all rows only takes room."""
    return {"device": where.devices, "dtype": where.dtypes, "run": len(where.runs) > 1}


def columns(where: Where) -> list[tuple[str, bool]]:
    """The headings of all figures, and whether each is of numbers."""
    places = [name for name, differs in _places(where).items() if differs]
    return [*((name, False) for name in (*_NAMES, *places)), *_FIGURES]


def tags(row: Row, where: Where, index: Index) -> dict[str, str]:
    """What a row is filtered by; several values of one name stand on lines of their own."""
    statuses = dict.fromkeys(str(index.table[number]["status"]) for number in index.of(row))
    verdict = row.principal.verdict if row.principal else None
    tags = {"idea": row.workload, "backend": row.backend, "device": row.device, "dtype": row.dtype}
    tags |= {"outcome": "\n".join([*statuses, *([verdict] if verdict else [])])}
    return tags | ({"run": where.runs[row.run]} if len(where.runs) > 1 else {})


def filters(summary: Summary, where: Where, index: Index) -> list[tuple[str, str, list[str]]]:
    """Name, label and values of every filter."""
    values: dict[str, dict[str, None]] = defaultdict(dict)
    for row in (*summary.rows, *summary.dense):
        for name, value in tags(row, where, index).items():
            values[name] |= dict.fromkeys(value.split("\n"))
    return [(name, name, sorted(seen)) for name, seen in values.items()]


# -- the lottery table -------------------------------------------------------------------------------------------------


def matrix(summary: Summary, where: Where, index: Index) -> dict[str, Any]:
    """Ideas down, places across; a cell has the tax, and below it the speed-up or why there is none.

    Of many ideas those stand together that leave out the same of the dense path: the first says what, in `begins`.
    """
    rows, left_out = together(summary.rows)
    begun: set[str] = set()
    places = sorted({(row.run, row.backend, row.device) for row in summary.rows})
    lines: dict[tuple[str, str, str], dict[tuple[str, str, str], list[dict[str, Any]]]] = {}
    for row in rows:
        point = point_cell(row) + (f", {row.dtype}" if where.dtypes else "")
        line = lines.setdefault((row.workload, point, row.point), defaultdict(list))
        line[row.run, row.backend, row.device].append(_cell(row, where, index))
    return {
        "places": [
            {
                "name": f"{backend} {device}{where.run(run)}",
                "tags": {"backend": backend, "device": device}
                | ({"run": where.runs[run]} if len(where.runs) > 1 else {}),
            }
            for run, backend, device in places
        ],
        "matrix": [
            {
                "idea": idea,
                "point": point,
                "cells": [line.get(place, []) for place in places],
                "begins": _first(left_out.get(idea, ""), begun),
            }
            for (idea, point, _), line in lines.items()
        ],
    }  # fmt: skip


def _first(left_out: str, begun: set[str]) -> str:
    """What a group of ideas leaves out, where it begins; empty for the others of the group."""
    if not left_out or left_out in begun:
        return ""
    begun.add(left_out)
    return f"leaves out {left_out}"


def _cell(row: Row, where: Where, index: Index) -> dict[str, Any]:
    against, numbers = row.principal, index.of(row)
    tax = against.tax if against else None
    level = palette.tax_level(tax)
    said = outcome_cell(row)
    tie = " ≈" if against and against.verdict == "tie" else ""
    if tax is not None:
        shown, (below, span) = f"{significant(tax)}{tie}", _parted(f"speed-up {speed_up_cell(against)}")
    else:
        shown, below, span = UNKNOWN, shorten(said, 90), ""
    return {
        "tags": tags(row, where, index),
        "value": "" if tax is None else tax,
        "level": "none" if level is None else f"tax-{level}",
        "tax": shown,
        "below": below,
        "span": span,
        "label": f"{row.workload} {point_cell(row)}, {where.of(row)}: tax {tax_cell(against)}, {below} {span}; open it",
        "text": f"{row.path or ''} {said} {row.backend} {row.device} {row.dtype}",
        "open": numbers[0] if numbers else None,
    }


# -- all figures -------------------------------------------------------------------------------------------------------


def _text(text: str, value: object = None, kind: str = "", below: Sequence[str] = ()) -> dict[str, Any]:
    """A cell: what is read, what it sorts by ("" is unknown, None is the text), its class, small lines below."""
    return {"text": text, "value": value, "kind": kind, "below": below}


def _number(text: str, value: float | None, below: Sequence[str] = ()) -> dict[str, Any]:
    shown, interval = _parted("" if text == UNKNOWN else text)  # unknown stays empty
    return _text(shown, "" if value is None else value, "number", [*([interval] if interval else []), *below])


def _parted(cell: str) -> tuple[str, str]:
    """`1.02× [0.97, 1.05] tie` as `1.02× tie` and its interval."""
    value, bracket, rest = cell.partition(" [")
    interval, _, after = rest.partition("]")
    return value + after, f"[{interval}]" if bracket else ""


def line(row: Row, where: Where, index: Index) -> dict[str, Any]:
    """A row of all figures: its cells in the order of `columns`."""
    numbers = index.of(row)
    against, others = row.principal, row.against[1:]
    said = {"device": row.device, "dtype": row.dtype, "run": where.runs.get(row.run, row.run)}
    cells = [
        _text(row.workload, below=() if row.against else ("dense twin",)),
        _text(point_cell(row)),
        _text(row.backend, kind="nowrap"),
        *(_text(said[name], kind="nowrap") for name, differs in _places(where).items() if differs),
        _text(row.path or "", kind="path", below=(f"{row.tied} tied",) if row.tied else ()),
        _number(time_cell(row), row.time_s),
        _number(
            speed_up_cell(against),
            against.speed_up if against else None,
            [text for a in others for text in (f"{a.kind}:", *_parted(speed_up_cell(a))) if text],
        ),
        _number(
            tax_cell(against),
            against.tax if against else None,
            [text for a in others for text in (f"{a.kind}:", *_parted(tax_cell(a))) if text],
        ),
        _number(memory_cell(row), row.memory_bytes),
        _number(energy_cell(row), row.energy_j),
        _number(share_cell(row), row.roofline_share),
        _text(outcome_cell(row), kind="long"),
    ]
    return {"tags": tags(row, where, index), "open": numbers[0] if numbers else None, "cells": cells}


def all_against(row: Row) -> list[tuple[str, str]]:
    """The figures against every twin as text, the unknown ones left out."""
    return [pair for against_twin in row.against for pair in _against(against_twin)]


def _against(against: Against) -> list[tuple[str, str]]:
    taxes = ((f"{name} tax", value) for name, value in (("memory", against.memory_tax), ("energy", against.energy_tax)))
    pairs = [
        (against.kind, f"{against.twin_workload} {against.twin_path or against.twin_outcome}"),
        ("speed-up", speed_up_cell(against)),
        ("verdict", against.verdict or UNKNOWN),
        ("tax", tax_cell(against)),
        *((name, UNKNOWN if value is None else f"{significant(value)}×") for name, value in taxes),
        ("useful FLOP ratio", UNKNOWN if against.work_ratio is None else significant(against.work_ratio)),
        ("rounds in common", str(against.rounds)),
    ]
    return [(name, text) for name, text in pairs if text != UNKNOWN]
