"""What was reckoned on devices that files describe, as text: the cells of its rows, and their lines in a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from harness.figures.modelled import ModelledRow
from harness.records.text import shorten
from harness.report.wording import UNKNOWN, Where, quantity, significant

TITLE = "Modelled, not measured"
READS_MODELLED = (
    "modelled: reckoned from executed work by the rates in a device's file; nothing of it was run, and it is ranked "
    "with nothing that was measured or estimated. ± = the model's median error, and its 95th percentile, where "
    "measured cases of the same class and framework were held to it. bound by = the term that most of the time is of."
)
NAMES = (
    "workload",
    "point",
    "backend",
    "modelled device",
    "modelled path",
    "modelled time",
    "±",
    "modelled speed-up",
    "modelled tax",
    "modelled energy",
    "bound by",
)


def cells(row: ModelledRow, where: Where) -> list[str]:
    """A row's cells, in the order of NAMES; why there is no figure stands where the path would."""
    path = row.path or shorten(f"{row.outcome}: {row.reason}" if row.reason else row.outcome, 120)
    bound = UNKNOWN if row.bound_by is None or row.bound_share is None else f"{row.bound_by} {row.bound_share:.0%}"
    return [
        row.workload,
        f"{row.point} {row.mode}",
        f"{row.backend}{where.run(row.run)}",
        row.device,
        path,
        quantity(row.time_s, "s"),
        error_cell(row),
        _times(row.speed_up),
        _times(row.tax),
        quantity(row.energy_j, "J"),
        bound,
    ]


def error_cell(row: ModelledRow) -> str:
    """`12 %, 35 %`: median and 95th percentile."""
    if row.median_error is None or row.p95_error is None:
        return UNKNOWN
    return f"{row.median_error:.0%}, {row.p95_error:.0%}"


def _times(value: float | None) -> str:
    return UNKNOWN if value is None else f"{significant(value)}×"


def lines(rows: Sequence[ModelledRow], where: Where, width: int) -> list[str]:
    """The section in a terminal: a line for each workload and point, below it one for each framework and device."""
    out = [TITLE]
    title = ""
    for row in rows:
        workload, point, backend, device, path, time, error, gain, tax, energy, bound = cells(row, where)
        if f"{workload}: {point}" != title:
            title = f"{workload}: {point}"
            out += textwrap.wrap(title, width, subsequent_indent="  ")
        said = f"{backend} {device}: {path}"
        if row.path:
            spent = "" if energy == UNKNOWN else f"; {energy}"
            said = f"{backend} {device} {path}: {time} (± {error}), speed-up {gain}, tax {tax}; {bound}{spent}"
        out += textwrap.wrap(said, width, initial_indent=" ", subsequent_indent="   ")
    return out
