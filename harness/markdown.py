"""The report in Markdown: tables of the ideas, their twins, amortisation and ranks, and the notes below them."""

from __future__ import annotations

from collections.abc import Sequence

from harness.table import Row, Summary
from harness.wording import (
    NO_IDEA,
    NOTHING,
    UNKNOWN,
    Where,
    energy_cell,
    footer,
    memory_cell,
    outcome_cell,
    point_cell,
    share_cell,
    speed_up_cell,
    tax_cell,
    time_cell,
)

_IDEA = ("workload", "point", "backend", "best path", "time", "speed-up", "tax", "memory", "energy", "share", "outcome")
_DENSE = ("workload", "point", "backend", "best path", "time", "memory", "share")


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


def markdown(summary: Summary) -> str:
    """A section of tables and one of notes, as GitHub reads them; |, * and < of others are escaped."""
    if not summary.records:
        return f"{NOTHING}\n"
    where = Where([*summary.rows, *summary.dense])
    out = []
    if summary.rows:
        cells = [_cells(r, where) for r in summary.rows]
        out += ["## Ideas against their dense twin", _markdown(_IDEA, cells)]
    else:
        out.append(NO_IDEA)
    others = [(r, one) for r in summary.rows for one in r.against[1:]]
    if others:
        cells = [[r.workload, point_cell(r), where.of(r), a.kind, speed_up_cell(a), tax_cell(a)] for r, a in others]
        names: tuple[str, ...] = ("workload", "point", "backend", "twin", "speed-up", "tax")
        out += ["## Against their other twins", _markdown(names, cells)]
    if summary.dense:
        out += ["## Dense twins", _markdown(_DENSE, [_dense_cells(r, where) for r in summary.dense])]
    if summary.amortisation:
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
        out += ["## Amortisation", _markdown(names, cells)]
    if summary.lottery:
        places = list(summary.lottery[0].ranks)
        cells = [
            [s.workload, f"{s.point} {s.mode}", *(_or_unknown(s.ranks[p]) for p in places), _or_unknown(s.shift)]
            for s in summary.lottery
        ]
        out += ["## Rank by speed-up", _markdown(("workload", "point", *places, "shift"), cells)]
    out += ["## Notes", "\n".join(f"- {_escape(line)}" for line in footer(summary))]
    return "\n\n".join(out) + "\n"


def _or_unknown(value: int | None) -> str:
    return UNKNOWN if value is None else str(value)


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*").replace("<", "&lt;")


def _markdown(names: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    lines = [names, ["---"] * len(names), *([_escape(c) for c in row] for row in cells)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
