"""The lottery across chips as text: a table each of estimated tax with ranks, temporary bytes, kernels and refusals."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harness.figures.chips import ChipCell, ChipRow, chip_name, chips_of
from harness.report.wording import UNKNOWN, quantity, significant

TITLE = "Across chips"
READS_CHIPS = (
    "across chips: nothing of it was run. Each idea stands on each chip by whichever framework's program has the least "
    "estimated tax. In brackets is its rank by estimated speed-up among the ideas that have one on every chip; moves = "
    "by how many ranks it moves between two chips at least. TPU chips are estimated by XLA's cost model with products "
    "rounded to bfloat16, GPU cards by their programs' kernels with products in float32: compare ranks, not taxes, "
    "between the two."
)


def tax(cell: ChipCell) -> str:
    """`10.0× (3)`, the rank in brackets."""
    if cell.path is None:
        return "refused"
    if cell.tax is None:
        return UNKNOWN
    rank = "" if cell.rank is None else f" ({cell.rank})"
    return f"{'≥' if cell.tax_is_bound else ''}{significant(cell.tax)}×{rank}"


def _kernels(cell: ChipCell) -> str:
    return UNKNOWN if cell.kernels is None else str(cell.kernels)


TABLES: Sequence[tuple[str, Callable[[ChipCell], str]]] = (
    ("estimated tax", tax),
    ("temporary bytes", lambda cell: quantity(cell.temp_bytes, "B")),
    ("kernels", _kernels),
    ("programs refused", lambda cell: f"{cell.refused} of {cell.cases}"),
)


def heads(rows: Sequence[ChipRow]) -> list[str]:
    """The headings of the figures' columns: a chip each."""
    return [chip_name(chip) for chip in chips_of(rows)]


def cells(rows: Sequence[ChipRow], told: Callable[[ChipCell], str]) -> list[list[str]]:
    """The figures of every row, a chip each; unknown where it was not compiled for the chip."""
    chips = chips_of(rows)
    return [[told(row.cells[chip]) if chip in row.cells else UNKNOWN for chip in chips] for row in rows]


def moves(row: ChipRow) -> str:
    """By how many ranks at least."""
    return UNKNOWN if row.shift is None else str(row.shift)
