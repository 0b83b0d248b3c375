"""The rows of the main table, as frozen facts that every format prints."""

from __future__ import annotations

import msgspec

from workloads.base import Value


class Against(msgspec.Struct, frozen=True, kw_only=True):
    """One idea's best path held against one twin's; every figure is None where it is unknown.

    `kind` says which twin ("same_shape", "equal_work", …); `twin_outcome` is "not measured" where it has no record.
    `rounds` is in how many groups both were. `verdict` is the idea's: faster, slower or tie (its interval holds 1, or
    the difference is inside the A/A noise). `detectable` is the difference, a share, that would be called in 4 of 5
    runs (`stats.power.detectable`), None without an interval. `ratio_steady` is False where the ratio had a trend
    within the groups, None where their slices are too few to tell. What follows is where the tax comes from (`Blame`).
    """

    kind: str
    twin_workload: str
    twin_point: str
    twin_mode: str
    twin_path: str | None
    twin_time_s: float | None
    twin_outcome: str
    rounds: int
    work_ratio: float | None
    speed_up: float | None
    speed_up_low: float | None
    speed_up_high: float | None
    verdict: str | None
    tax: float | None
    tax_low: float | None
    tax_high: float | None
    memory_ratio: float | None
    memory_tax: float | None
    energy_ratio: float | None
    energy_tax: float | None
    energy_tax_low: float | None
    energy_tax_high: float | None
    detectable: float | None
    ratio_steady: bool | None
    hardware_tax: float | None
    hardware_tax_low: float | None
    hardware_tax_high: float | None
    software_tax: float | None
    software_tax_low: float | None
    software_tax_high: float | None
    bound_by: str | None
    overwork_flop: float | None
    overwork_bytes: float | None
    wasted: float | None
    slow: float | None


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One workload at one point on one backend and device, by its best path; None where a figure is unknown.

    `path` is None where no path is ok; `reason` is the worst failure's, of any of the row's cases. `label` has the axes
    in which the rows of this workload differ, `point` has all. `tied` counts other paths that cannot be told from the
    best. `steady` is False where a window had a trend from slice to slice, None where its slices are too few to tell.
    `roofline_share` above 1 is kept and marked by `share_suspect`. `against` has a figure for every twin, the principal
    one first; a dense row has none.
    """

    run: str
    workload: str
    point: str
    label: str
    params: dict[str, Value]
    mode: str
    dtype: str
    backend: str
    device: str
    headline: bool
    path: str | None
    formulation: str | None
    execution: str | None
    tied: int
    time_s: float | None
    time_low_s: float | None
    time_high_s: float | None
    processes: int
    steady: bool | None
    first_call_s: float | None
    convert_s: float | None
    compile_cache: str | None
    memory_bytes: int | None
    memory_source: str | None
    energy_j: float | None
    energy_net_j: float | None
    energy_low_j: float | None
    energy_high_j: float | None
    energy_source: str
    flop_per_s: float | None
    bytes_per_s: float | None
    roofline_share: float | None
    share_suspect: bool
    outcome: str
    cases: int
    reason: str | None
    failure_class: str | None
    fallback: str | None
    against: list[Against]

    @property
    def principal(self) -> Against | None:
        """The figures against the principal twin."""
        return self.against[0] if self.against else None
