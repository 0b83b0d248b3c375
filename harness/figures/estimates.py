"""The figures of what was compiled and not run: rows of their own, so that none of them stands beside a measured one.

The estimated tax is the measured one's formula with the compiler's numbers: the ratio of idea and twin compiled for
the same chip by the same framework, over the ratio of their useful FLOP.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from backends.device import GPU_AHEAD, Device, is_ahead_of_time
from harness.figures.not_run import at_twin, by_place, in_order, twin_of
from harness.records.outcomes import SEVERITY, outcome
from harness.records.record import Estimate, Record, TwinRef
from workloads.base import Value

LONG_COMPILE_S = 60.0


class EstimateRow(msgspec.Struct, frozen=True, kw_only=True):
    """One workload at one point by one framework, compiled for one chip; None where a figure is unknown.

    `path` is the formulation with the least `optimal_s`, the time of an ideal chip by XLA's cost model. `cycles` is
    what the compiler reckoned with for those instructions, `covered_share` of all, that carry a number; `uncovered`
    counts the others by kind. Both taxes hold against the principal twin: `tax` by `optimal_s`, `cycles_tax` by the
    cycles of this same path, which is a lower bound (`cycles_tax_is_bound`) where only the twin is covered in full,
    and unknown where the twin is not. Of a GPU (`of_card`) `optimal_s` is added up over the kernels: there it is `tax`
    that is a lower bound or unknown so, and a path that is covered in full goes before one that is not. `outcome`
    counts all the formulations, `refused` those that did not compile; `reason` is a refusal's, if none compiled, and
    `fallback` what the path's framework put in place of what was asked. `long_compilations` has the formulations that
    took the compiler over LONG_COMPILE_S, with the seconds.
    """

    run: str
    workload: str
    point: str
    params: dict[str, Value]
    mode: str
    dtype: str
    backend: str
    device: str
    headline: bool
    path: str | None
    route: str | None
    optimal_s: float | None
    cycles: int | None
    covered_share: float | None
    uncovered: dict[str, int]
    flop: float | None
    bytes_accessed: float | None
    temp_bytes: int | None
    total_bytes: int | None
    fits: bool | None
    kernels: int | None
    libraries: dict[str, int]
    compile_s: float | None
    compiler: str | None
    twin_kind: str | None
    twin_workload: str | None
    twin_path: str | None
    work_ratio: float | None
    tax: float | None
    tax_is_bound: bool
    cycles_tax: float | None
    cycles_tax_is_bound: bool
    outcome: str
    cases: int
    reason: str | None
    refused: int
    fallback: str | None
    long_compilations: dict[str, float]

    @property
    def of_card(self) -> bool:
        """Whether it was compiled for a GPU."""
        return Device.parse(self.device).kind == GPU_AHEAD

    @property
    def speed_up(self) -> float | None:
        """The twin's estimated time over the idea's, an upper bound where the tax is a lower one; None is unknown."""
        return None if not self.tax or not self.work_ratio else 1 / (self.tax * self.work_ratio)


def is_estimated(record: Record) -> bool:
    """Whether the record is of a device that is compiled for and not run."""
    return is_ahead_of_time(record.case.device)


def estimate_rows(records: Iterable[Record], *, all_points: bool = False) -> list[EstimateRow]:
    """A row for each point of an idea that was compiled for a chip; headline points only, unless `all_points`.

    With `all_points`, or where no idea was compiled, the dense computations have rows of their own too.
    """
    groups = by_place(record for record in records if is_estimated(record))
    best = {place: _best(group) for place, group in groups.items()}
    return in_order(
        _row(group, best[place], twin_of(group), at_twin(group, best))
        for place, group in groups.items()
        if all_points or any(r.headline for r in group)
    )


def _best(group: Sequence[Record]) -> Record | None:
    """The one that an ideal chip would run fastest; one of whose time a part is unknown last."""

    def seconds(record: Record) -> tuple[bool, float]:
        known = None if record.estimate is None else record.estimate.optimal_s
        return not _whole(record.estimate), float("inf") if known is None else known

    return min((r for r in group if r.estimate is not None), key=seconds, default=None)


def _row(group: Sequence[Record], best: Record | None, ref: TwinRef | None, twin: Record | None) -> EstimateRow:
    first = group[0]
    found = None if best is None else best.estimate
    dense = None if twin is None else twin.estimate
    work = None
    if best is not None and twin is not None and twin.work.useful_flop:
        work = best.work.useful_flop / twin.work.useful_flop
    tax, cycles_tax, cycles_bound = _taxes(found, dense, work)
    worst = min(group, key=lambda r: SEVERITY.index(r.status))
    return EstimateRow(
        run=first.run,
        workload=first.case.workload,
        point=first.case.point,
        params=first.case.params,
        mode=first.case.mode,
        dtype=first.case.dtype,
        backend=first.case.backend,
        device=first.case.device,
        headline=any(r.headline for r in group),
        path=None if best is None else best.case.formulation,
        route=None if found is None else found.route,
        optimal_s=None if found is None else found.optimal_s,
        cycles=None if found is None else found.cycles,
        covered_share=None if found is None else found.covered_share,
        uncovered={} if found is None else found.uncovered,
        flop=None if found is None else found.flop,
        bytes_accessed=None if found is None else found.bytes_accessed,
        temp_bytes=None if found is None else found.temp_bytes,
        total_bytes=None if found is None else found.argument_bytes + found.output_bytes + found.temp_bytes,
        fits=None if found is None else found.fits,
        kernels=None if found is None else found.kernels,
        libraries={} if found is None else found.libraries,
        compile_s=None if found is None else found.compile_s,
        compiler=None if found is None else found.compiler,
        twin_kind=None if ref is None else ref.kind,
        twin_workload=None if ref is None else ref.workload,
        twin_path=None if twin is None else twin.case.formulation,
        work_ratio=work,
        tax=tax,
        tax_is_bound=tax is not None and not _whole(found),
        cycles_tax=cycles_tax,
        cycles_tax_is_bound=cycles_bound,
        outcome=outcome(Counter(r.status for r in group)),
        cases=len(group),
        reason=worst.reason if best is None else None,
        refused=sum(r.estimate is None for r in group),
        fallback=None if best is None else best.fallback,
        long_compilations={
            r.case.formulation: r.estimate.compile_s
            for r in group
            if r.estimate and r.estimate.compile_s > LONG_COMPILE_S
        },
    )


def _whole(estimate: Estimate | None) -> bool:
    """Whether its `optimal_s` is of the whole program: XLA's cost model gives it so or not at all, kernels may lack."""
    return estimate is None or estimate.launch_s is None or estimate.covered_share == 1


def _taxes(idea: Estimate | None, twin: Estimate | None, work: float | None) -> tuple[float | None, float | None, bool]:
    """By the ideal chip's time, and by cycles where those of the twin are whole; whether that is a lower bound."""
    if idea is None or twin is None or not work:
        return None, None, False
    tax = None
    if idea.optimal_s is not None and twin.optimal_s and _whole(twin):
        tax = idea.optimal_s / twin.optimal_s / work
    if idea.cycles is None or not twin.cycles or twin.covered_share != 1:
        return tax, None, False
    return tax, idea.cycles / twin.cycles / work, idea.covered_share != 1
