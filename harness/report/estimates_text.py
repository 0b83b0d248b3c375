"""What was compiled and not run, as text: the cells of its rows, and their lines in a terminal."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence

from harness.figures.estimates import EstimateRow
from harness.records.text import shorten
from harness.report.wording import UNKNOWN, Where, quantity, significant

TITLE = "Compiled for, not run"
# By how their names in a program begin.
_LIBRARIES = {
    "__cublas": "cuBLAS",
    "__cudnn": "cuDNN",
    "cusparse": "cuSPARSE",
    "cusolver": "cuSOLVER",
    "__triton": "Triton",
    "__cub": "CUB",
    "__cufft": "cuFFT",
}
NAMES = (
    "workload",
    "point",
    "backend",
    "best path",
    "ideal time",
    "estimated tax",
    "cycles",
    "tax by cycles",
    "memory",
    "kernels",
)


def cells(row: EstimateRow, where: Where) -> list[str]:
    """A row's cells, in the order of NAMES; a refusal stands where the best path would."""
    place = f"{row.backend} {row.device}{where.run(row.run)}"
    path = f"{row.path} (instead: {shorten(row.fallback, 80)})" if row.path and row.fallback else row.path
    path = path or shorten(f"{row.outcome}: {row.reason}" if row.reason else row.outcome, 120)
    return [
        row.workload,
        f"{row.point} {row.mode}",
        place,
        path,
        quantity(row.optimal_s, "s"),
        ("≥" if row.tax_is_bound else "") + _times(row.tax),
        _cycles(row),
        _bound(row),
        _memory(row),
        kernels(row),
    ]


def kernels(row: EstimateRow) -> str:
    """`21 (cuDNN 6, Triton 2)`: how many do work, and the calls of libraries among them."""
    if row.kernels is None:
        return UNKNOWN
    calls: Counter[str] = Counter()
    for name, count in row.libraries.items():
        calls[next((known for start, known in _LIBRARIES.items() if name.startswith(start)), name)] += count
    said = ", ".join(f"{name} {count}" for name, count in calls.most_common())
    return f"{row.kernels} ({said})" if said else str(row.kernels)


def _times(value: float | None) -> str:
    return UNKNOWN if value is None else f"{significant(value)}×"


def _cycles(row: EstimateRow) -> str:
    if row.cycles is None or row.covered_share is None:
        return UNKNOWN
    return f"{row.cycles} ({row.covered_share:.0%})"


def _bound(row: EstimateRow) -> str:
    return ("≥" if row.cycles_tax_is_bound else "") + _times(row.cycles_tax)


def _memory(row: EstimateRow) -> str:
    return quantity(row.total_bytes, "B") + ("" if row.fits is not False else ", does not fit")


def lines(rows: Sequence[EstimateRow], where: Where, width: int) -> list[str]:
    """The section in a terminal: a line for each workload and point, below it one for each framework and chip."""
    out = [TITLE]
    title = ""
    for row in rows:
        workload, point, place, path, ideal, tax, cycles, bound, memory, launched = cells(row, where)
        if f"{workload}: {point}" != title:
            title = f"{workload}: {point}"
            out += textwrap.wrap(title, width, subsequent_indent="  ")
        told = f"kernels {launched}" if row.of_card else f"cycles {cycles}, tax {bound}"
        figures = f"{ideal}, tax {tax}; {told}; {memory}" if row.path else ""
        said = f"{place} {path}: {figures}" if figures else f"{place}: {path}"
        out += textwrap.wrap(said, width, initial_indent=" ", subsequent_indent="   ")
    return out
