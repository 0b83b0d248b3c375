"""Where the tax comes from, as cells of text."""

from __future__ import annotations

from collections.abc import Sequence

from harness.figures.summary import Against, Row
from harness.report.wording import UNKNOWN, Where, point_cell, significant, spread, tax_cell, times

TITLE = "Where the tax comes from"
NAMES = (
    "workload",
    "point",
    "backend",
    "tax",
    "hardware tax",
    "software tax",
    "wasted",
    "slow",
    "FLOP",
    "bytes",
    "bound",
)
READS = (
    "tax = hardware tax × software tax. hardware tax: what the ceilings of this machine, measured in this run, ask for "
    "the useful work, against the twin's: no software takes it away in the ways that are written here. software tax: "
    "the rest. Where a run has no ceiling of gathers, scatters, launches and vector units, what the machine lacks for "
    "them counts as software's. Of the rest, `wasted` is work that is executed and not needed, `slow` the same work "
    "done more slowly than the twin does its own. FLOP, bytes: executed over useful. bound: what binds the useful work."
)


def told(rows: Sequence[Row]) -> list[tuple[Row, Against]]:
    """The rows of which something is known, with their principal twin; a workload that is its own twin has no tax."""
    pairs = [(row, row.principal) for row in rows]
    return [
        (row, against)
        for row, against in pairs
        if against is not None
        and (against.twin_workload, against.twin_point, against.twin_mode) != (row.workload, row.point, row.mode)
        and (against.hardware_tax is not None or against.overwork_flop is not None)
    ]


def cells(row: Row, against: Against, where: Where) -> list[str]:
    """A row under NAMES."""
    return [row.workload, point_cell(row), where.of(row), *figures(against)]


def figures(against: Against) -> list[str]:
    """The cells behind the names of the row."""
    return [
        tax_cell(against),
        hardware_cell(against),
        software_cell(against),
        *(_factor(value) for value in (against.wasted, against.slow, against.overwork_flop, against.overwork_bytes)),
        against.bound_by or UNKNOWN,
    ]


def hardware_cell(against: Against) -> str:
    """The hardware tax; its interval where it is more than a point."""
    low, high = against.hardware_tax_low, against.hardware_tax_high
    return times(against.hardware_tax, *((None, None) if low == high else (low, high)))


def software_cell(against: Against) -> str:
    """The software tax with its interval."""
    return times(against.software_tax, *spread(against.software_tax_low, against.software_tax_high, against.rounds))


def _factor(value: float | None) -> str:
    return UNKNOWN if value is None else f"{significant(value)}×"
