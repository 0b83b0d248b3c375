"""What a step costs, in seconds and joules: of the best path of the measured run, in each framework."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from harness.figures.best_paths import best_rows
from harness.figures.frame import case_rows
from harness.records.record import EnergySource, Record
from harness.stats.intervals import none_if_nan
from harness.stats.process_times import that_count
from workloads.base import Params


class StepCost(msgspec.Struct, frozen=True, kw_only=True):
    """What a step costs on a backend, by the best path of the measured run. `spread` is of log seconds over processes.

    `energy_*` are joules a step by `energy_source`, None where they are unknown.
    """

    workload: str
    backend: str
    formulation: str
    execution: str
    kept: str | None
    time_s: float
    time_low_s: float | None
    time_high_s: float | None
    processes: int
    spread: float | None
    energy_j: float | None
    energy_low_j: float | None
    energy_high_j: float | None
    energy_source: EnergySource


def step_costs(records: Sequence[Record], axes: Mapping[str, Params]) -> dict[tuple[str, str], StepCost]:
    """What a step costs by workload and backend: of train steps at `axes`, which has those of each workload."""
    out: dict[tuple[str, str], StepCost] = {}
    measured = [r for r in records if not r.control and r.case.mode == "train_step"]
    for row in best_rows(case_rows(measured)):
        if row["path"] is None or axes.get(row["workload"]) != row["params"]:
            continue
        logs = [math.log(process.centre_s) for process in that_count(row["paired"])]
        out[row["workload"], row["backend"]] = StepCost(
            workload=row["workload"],
            backend=row["backend"],
            formulation=row["formulation"],
            execution=row["execution"],
            kept=_kept(row["settings"]),
            time_s=row["time_s"],
            time_low_s=none_if_nan(row["time_low_s"]),
            time_high_s=none_if_nan(row["time_high_s"]),
            processes=len(logs),
            spread=float(np.std(logs, ddof=1)) if len(logs) > 1 else None,
            energy_j=none_if_nan(row["energy_j"]),
            energy_low_j=none_if_nan(row["energy_low_j"]),
            energy_high_j=none_if_nan(row["energy_high_j"]),
            energy_source=row["energy_source"],
        )
    return out


def _kept(settings: object) -> str | None:
    kept = settings.get("kept") if isinstance(settings, Mapping) else None
    return kept if isinstance(kept, str) else None
