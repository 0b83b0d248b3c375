"""The figures of devices that files describe: rows of their own, beside no measured or estimated ones.

Speed-up and tax are by the same formulas as measured ones, with the model's seconds: idea and twin on one device
through one framework, both by the path that the model says is the fastest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from backends.device import is_modelled as is_modelled_device
from harness.figures.not_run import at_twin, by_place, in_order, twin_of
from harness.records.outcomes import SEVERITY, outcome
from harness.records.record import Record, TwinRef
from workloads.base import Value


class ModelledRow(msgspec.Struct, frozen=True, kw_only=True):
    """One workload at one point by one framework on one modelled device; None where a figure is unknown.

    `device_name` is the name in the device's file, `path` the formulation and execution with the least time. `bound_by`
    is the term that most of its time is of, `bound_share` how much. `kind` is the path's class of calls, `median_error`
    and `p95_error` how far off the model was for that class where it was held to measurements. `outcome` counts all the
    paths; `reason` says why there is no figure, if there is none.
    """

    run: str
    workload: str
    point: str
    params: dict[str, Value]
    mode: str
    dtype: str
    backend: str
    device: str
    device_name: str | None
    headline: bool
    path: str | None
    kind: str | None
    time_s: float | None
    energy_j: float | None
    bound_by: str | None
    bound_share: float | None
    median_error: float | None
    p95_error: float | None
    twin_kind: str | None
    twin_workload: str | None
    twin_path: str | None
    twin_time_s: float | None
    work_ratio: float | None
    speed_up: float | None
    tax: float | None
    energy_ratio: float | None
    outcome: str
    cases: int
    reason: str | None


def is_modelled(record: Record) -> bool:
    """Whether the record is of a device that a file describes."""
    return is_modelled_device(record.case.device)


def modelled_rows(records: Iterable[Record], *, all_points: bool = False) -> list[ModelledRow]:
    """A row for each point of an idea on a modelled device; headline points only, unless `all_points`.

    With `all_points`, or where there is no idea, the dense computations have rows of their own too.
    """
    groups = by_place(record for record in records if is_modelled(record))
    best = {place: _best(group) for place, group in groups.items()}
    ideas = any(r.twins for group in groups.values() for r in group)
    return in_order(
        _row(group, twin_of(group), at_twin(group, best))
        for group in groups.values()
        if all_points or not ideas or any(r.headline for r in group)
    )


def _best(group: Sequence[Record]) -> Record | None:
    known = [(r.modelled.time_s, number) for number, r in enumerate(group) if r.modelled is not None]
    return group[min(known)[1]] if known else None


def _row(group: Sequence[Record], ref: TwinRef | None, twin: Record | None) -> ModelledRow:
    first, best = group[0], _best(group)
    found = None if best is None else best.modelled
    dense = None if twin is None else twin.modelled
    ratio = found.time_s / dense.time_s if found is not None and dense is not None and dense.time_s > 0 else None
    work = None
    if best is not None and twin is not None and twin.work.useful_flop:
        work = best.work.useful_flop / twin.work.useful_flop
    energy = None
    if found is not None and dense is not None and found.energy_j is not None and dense.energy_j:
        energy = found.energy_j / dense.energy_j
    worst = min(group, key=lambda r: SEVERITY.index(r.status))
    whole = sum(found.parts_s.values()) if found else 0.0
    return ModelledRow(
        run=first.run,
        workload=first.case.workload,
        point=first.case.point,
        params=first.case.params,
        mode=first.case.mode,
        dtype=first.case.dtype,
        backend=first.case.backend,
        device=first.case.device,
        device_name=found.device if found else None,
        headline=any(r.headline for r in group),
        path=_path(best),
        kind=found.kind if found else None,
        time_s=found.time_s if found else None,
        energy_j=found.energy_j if found else None,
        bound_by=found.bound_by if found else None,
        bound_share=found.parts_s.get(found.bound_by, 0.0) / whole if found and whole > 0 else None,
        median_error=found.median_error if found else None,
        p95_error=found.p95_error if found else None,
        twin_kind=None if ref is None else ref.kind,
        twin_workload=None if ref is None else ref.workload,
        twin_path=_path(twin),
        twin_time_s=dense.time_s if dense else None,
        work_ratio=work,
        speed_up=1 / ratio if ratio else None,
        tax=ratio / work if ratio and work else None,
        energy_ratio=energy,
        outcome=outcome(Counter(r.status for r in group)),
        cases=len(group),
        reason=worst.reason if best is None else None,
    )


def _path(record: Record | None) -> str | None:
    return None if record is None else f"{record.case.formulation}/{record.case.execution}"
