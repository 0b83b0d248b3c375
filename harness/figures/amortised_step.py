"""What a step costs on average where every so many of them the pattern of a sparse network is updated."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from harness.figures.summary import Row

STEPS = 100  # between two updates, as RigL has it (Evci et al. 2020, §3.2)
PHASE, STEP, UPDATE = "phase", "step", "update"  # the axis of a workload that has both


class AmortisedStep(msgspec.Struct, frozen=True, kw_only=True):
    """(STEPS·t_step + t_update) / (STEPS + 1), by the best path of each at one point on one backend and device.

    `speed_up` is that of the principal twin of the step over it, None where that was not measured.
    """

    step: Row
    update: Row
    time_s: float
    speed_up: float | None


def amortised_steps(rows: Iterable[Row]) -> list[AmortisedStep]:
    """One for each row of a step whose update was measured too; no interval, since the two were not timed together."""
    found = list(rows)
    updates = {_place(row): row for row in found if row.params.get(PHASE) == UPDATE}
    out = []
    for row in found:
        update = updates.get(_place(row))
        if row.params.get(PHASE) != STEP or update is None or row.time_s is None or update.time_s is None:
            continue
        time_s = (STEPS * row.time_s + update.time_s) / (STEPS + 1)
        twin = row.principal.twin_time_s if row.principal else None
        out.append(
            AmortisedStep(step=row, update=update, time_s=time_s, speed_up=None if twin is None else twin / time_s)
        )
    return out


def _place(row: Row) -> tuple[object, ...]:
    axes = tuple(sorted((name, value) for name, value in row.params.items() if name != PHASE))
    return (row.run, row.workload, axes, row.mode, row.dtype, row.backend, row.device)
