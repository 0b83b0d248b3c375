"""What the machine makes of nothing: how far a case is from itself, side by side in a group and some minutes apart."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import numpy as np

from harness.records.record import Record
from harness.stats.process_times import paired_ratios, processes

LEAST_GROUPS = 4  # of a case, to hold the earlier ones against the later


def noise_floor(records: Sequence[Record]) -> float | None:
    """The A/A noise of the runs: how far from 1 the ratio of a case to itself came, as a share; None without controls.

    Of few controls the largest is taken, of many the 95th percentile: a difference inside it is what this machine makes
    of nothing.
    """
    floors = [max(ratio, 1 / ratio) - 1 for ratio in paired_floors(records)]
    return float(np.quantile(floors, 0.95, method="higher")) if floors else None


def paired_floors(records: Sequence[Record]) -> list[float]:
    """For each A/A control the ratio of the case to itself, paired group by group as an idea is with its twin.

    A control that fell behind early has fewer groups than what the run reports: those of less than half the most are
    left out.
    """
    cases = {(r.run, r.case.key, r.control): r for r in records if r.status == "ok" and r.time is not None}
    found: list[list[float]] = []
    for (run, key, control), record in cases.items():
        twin = cases.get((run, key, False))
        if control and twin is not None:
            found.append(paired_ratios(processes(record), processes(twin)))
    most = max(map(len, found), default=0)
    return [median(ratios) for ratios in found if ratios and 2 * len(ratios) >= most]


def drift_floor(records: Sequence[Record]) -> float | None:
    """How far apart a case's earlier groups lie from its later ones, as a share; None where no case has LEAST_GROUPS.

    The noise of times that are not taken in pairs: of two runs, or of two backends. The 95th percentile of all cases.
    """
    floors = []
    for record in records:
        times = [process.centre_s for process in processes(record)]
        if len(times) >= LEAST_GROUPS:
            ratio = median(times[: len(times) // 2]) / median(times[-(len(times) // 2) :])
            floors.append(max(ratio, 1 / ratio) - 1)
    return float(np.quantile(floors, 0.95, method="higher")) if floors else None
