"""What the model says, as text: modelled figures in tables of their own, each with the error of its class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from harness.modelling.class_errors import CHOSEN_WELL, MEDIAN_LIMIT, P95_LIMIT, REGRET, ClassError
from harness.modelling.reasons import CHOICE, REASONS
from harness.modelling.rows import DeviceNeeded, Ticket, WhatIfRow
from harness.modelling.validation import Validation
from harness.records.text import plain
from harness.report.wording import UNKNOWN, quantity, significant

if TYPE_CHECKING:  # scipy comes with it, which `whatif` does without
    from harness.modelling.recommend import Recommendation, Suited

READS = (
    "Modelled, not measured: reckoned from executed work by the rates of a device file. ± is the median error of the "
    "class in validation, 95 % within the second number. speed-up: over the dense twin on the same device. break-even: "
    "the smallest factor on one parameter alone at which the idea takes as long as its twin. helps: the parameter "
    "that, twice as good, gains the idea most against its twin."
)
NAMES = ("workload", "point", "framework", "best", "time", "±", "speed-up", "tax", "bound by", "break-even", "helps")


def table(names: Sequence[str], cells: Sequence[Sequence[str]]) -> list[str]:
    """Columns as wide as their widest cell, two blanks between."""
    rows = [list(names), *([plain(cell, 120) for cell in row] for row in cells)]
    widths = [max(len(row[k]) for row in rows) for k in range(len(names))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def whatif_text(rows: Sequence[WhatIfRow], tickets: Sequence[Ticket], everything: bool = False) -> list[str]:
    """A table a device, of headline points unless `everything`; what has no figure and why; each device's ticket."""
    out: list[str] = []
    for device in dict.fromkeys(row.device for row in rows):
        of = [row for row in rows if row.device == device and (everything or row.headline)]
        shown = [row for row in of if row.time_s is not None]
        out += [f"{device} (modelled)", *table(NAMES, [cells(row) for row in shown]), ""]
        missing = Counter(f"{row.workload} {row.mode}: {row.why}" for row in of if row.time_s is None)
        told = [f"no figure: {why}" + (f" ({count} rows)" if count > 1 else "") for why, count in missing.items()]
        told += _not_told(shown)
        out += [*told, *([""] if told else [])]
    out += ticket_lines(tickets)
    return [*out, READS]


def _not_told(rows: Sequence[WhatIfRow]) -> list[str]:
    """Which classes are too far off for a break-even, how far, and why; then in which the model chooses badly."""
    errors = {error.name: error for row in rows for error in (row.error, row.twin_error) if error is not None}
    found = [error for _, error in sorted(errors.items())]
    limits = f"at most {MEDIAN_LIMIT:.0%}, {P95_LIMIT:.0%}"
    out = [
        f"no break-even and no ticket: {error.name} is off by {error_cell(error)} ({limits}): {REASONS[error.kind]}"
        for error in found
        if not error.near
    ]
    chosen = [f"{error.name} {error.within} of {error.points}" for error in found if not error.chooses]
    if chosen:
        least = f"where the best formulation is chosen well in under {CHOSEN_WELL:.0%} of the points"
        out.append(f"no break-even and no ticket {least}: {', '.join(chosen)}: {CHOICE}")
    return out


def cells(row: WhatIfRow) -> list[str]:
    """A row under NAMES."""
    parts = sorted(row.parts.items(), key=lambda item: -item[1])[:2]
    return [
        row.workload,
        f"{_axes(row)} {row.mode}",
        row.backend,
        row.best or UNKNOWN,
        quantity(row.time_s, "s"),
        error_cell(row.error),
        _times(row.speed_up),
        _times(row.tax),
        ", ".join(f"{name} {share:.0%}" for name, share in parts) or UNKNOWN,
        _break_even(row),
        _needed(row.helps, "2× "),
    ]


def _axes(row: WhatIfRow) -> str:
    return row.point if len(row.point) <= 60 else row.point[:57] + "…"


def _times(value: float | None) -> str:
    return UNKNOWN if value is None else f"{significant(value)}×"


def _needed(needed: DeviceNeeded | None, before: str = "") -> str:
    if needed is None:
        return UNKNOWN
    if before:
        return f"{before}{needed.parameter}: {significant(needed.factor)}× faster"
    return f"{needed.parameter} ×{significant(needed.factor)}"


def _break_even(row: WhatIfRow) -> str:
    if row.break_even is not None or row.speed_up is None or row.own_twin:
        return _needed(row.break_even)
    if not row.near_enough:
        return "not told: too far off"
    return "pays already" if row.speed_up >= 1 else "none alone"


def error_cell(error: ClassError | None) -> str:
    """`12 %, 35 %`: median and 95th percentile."""
    return UNKNOWN if error is None else f"{error.median_error:.0%}, {error.p95_error:.0%}"


def ticket_lines(tickets: Sequence[Ticket]) -> list[str]:
    """Which ideas hold the ticket on each device, and how ranks moved from the first."""
    out = []
    for number, ticket in enumerate(tickets):
        held = ", ".join(f"{name} {significant(speed)}×" for name, speed, _ in ticket.ranks if speed > 1)
        moved = [f"{name} {gain:+d}" for name, _, gain in ticket.ranks if gain]
        shift = f"; ranks moved from {tickets[0].device}: {', '.join(moved)}" if number and moved else ""
        none = "no idea pays" if ticket.ranks else "none is told"
        untold = f"; not told, too far off: {', '.join(ticket.untold)}" if ticket.untold else ""
        out.append(f"ticket on {ticket.device}: {held or none}{shift}{untold}")
    return [*out, ""] if out else []


def validation_text(device: str, validation: Validation) -> list[str]:
    """Errors by class, with one factor learnt from other shapes or workloads beside them; regret; what was left out."""
    shapes, loads = ({e.name: e for e in validation.held_out(what)} for what in ("shape", "workload"))
    names = (
        "class",
        "cases",
        "median",
        "95 %",
        "reckoned/measured",
        "leave a shape out",
        "a workload",
        "chosen well",
        "break-even",
    )
    choices = {c.name: f"{c.within} of {c.points}" for c in validation.regret_by_class()}
    told = [
        [
            error.name,
            str(error.cases),
            f"{error.median_error:.0%}",
            f"{error.p95_error:.0%}",
            significant(error.bias),
            _median(shapes, error.name),
            _median(loads, error.name),
            choices.get(error.name, UNKNOWN),
            "told" if error.breaks_even else f"not told: {_above(error)}",
        ]
        for error in validation.classes()
    ]
    regrets = validation.regrets()
    within = sum(regret <= REGRET for regret in regrets)
    out = [f"{device}, held to what was measured", *table(names, told), ""]
    if regrets:
        out.append(
            f"the formulation that the model chooses takes at most {REGRET:g}× the best in {within} of {len(regrets)} "
            f"points"
        )
    out += [f"no figure: {why} ({count} measured cases)" for why, count in validation.left_out.items()]
    return [*out, ""]


def _above(error: ClassError) -> str:
    """Which of the aims a class misses."""
    errors = [] if error.near else [f"above {MEDIAN_LIMIT:.0%} or {P95_LIMIT:.0%}"]
    return ", ".join([*errors, *([] if error.chooses else [f"chosen well in under {CHOSEN_WELL:.0%}"])])


def _median(errors: Mapping[str, ClassError], name: str) -> str:
    return f"{errors[name].median_error:.0%}" if name in errors else UNKNOWN


SUITED = ("device", "framework", "point", "octaves away", "path", "speed-up", "time", "energy", "bound by", "±")


def recommendation_text(found: Recommendation) -> list[str]:
    """The answer, then a table for each of the three lists."""
    out = [*found.answer, ""]
    for kind in ("measured", "estimated", "modelled"):
        several: list[Suited] = getattr(found, kind)
        if several:
            out += [kind, *table(SUITED, [_suited(row) for row in several]), ""]
    return out


def _suited(row: Suited) -> list[str]:
    span = row.speed_up_low is not None and row.speed_up_high is not None
    between = f" [{row.speed_up_low:.2f}, {row.speed_up_high:.2f}]" if span else ""
    return [
        row.where,
        row.backend,
        f"{row.point} {row.mode}",
        f"{row.distance:.2g}",
        row.path or UNKNOWN,
        _times(row.speed_up) + between,
        quantity(row.time_s, "s"),
        quantity(row.energy_j, "J"),
        row.bound_by or UNKNOWN,
        UNKNOWN if row.error is None else f"{row.error:.0%}",
    ]
