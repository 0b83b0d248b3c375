"""What the machine makes of nothing: how far a case is from itself, side by side in a group and some minutes apart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from math import ceil, inf
from statistics import median

from harness.records.record import Record
from harness.stats.process_times import pair_ratio, pairs, processes

ENOUGH_ROUNDS = 5  # of a control, where some were measured in many more because their groups' intervals were wide
_TAIL = 0.95


def noise_floor(records: Sequence[Record]) -> float | None:
    """The A/A noise of the runs: how far from 1 the ratio of a case to itself came, as a share; None without controls.

    Of few controls the largest is taken, of many the 95th percentile: a difference inside it is what this machine makes
    of nothing.
    """
    return floor_of(paired_floors(records))


def floor_of(ratios: Sequence[float]) -> float | None:
    """The A/A noise as a share, from the ratio that each control had (`paired_floors`)."""
    floors = [max(ratio, 1 / ratio if ratio else inf) - 1 for ratio in ratios]
    return sorted(floors)[floor_place(len(floors))] if floors else None


def floor_place(controls: int) -> int:
    """Which of so many controls, in rising order and counted from 0, is the noise floor."""
    return ceil(round(_TAIL * (controls - 1), 9))


def paired_floors(records: Sequence[Record]) -> list[float]:
    """For each A/A control the ratio of the case to itself, paired group by group as an idea is with its twin.

    A control counts that was in all rounds, as many as the most of any in its run, or in ENOUGH_ROUNDS: the median of
    two groups where rows have three strays further than what the run reports.
    """
    measured = [r for r in records if r.status == "ok" and r.time is not None]
    controls = {(r.run, r.case.key): r for r in measured if r.control}
    cases = {place: r for r in measured if not r.control and (place := (r.run, r.case.key)) in controls}
    found: dict[str, list[tuple[int, float]]] = defaultdict(list)  # of each run: rounds, and the median ratio
    for (run, key), record in controls.items():
        twin = cases.get((run, key))
        if twin is not None:
            shared = pairs(processes(record), processes(twin))
            if shared:
                rounds = len({control.round for control, _ in shared})
                found[run].append((rounds, median(pair_ratio(a, b) for a, b in shared)))
    out: list[float] = []
    for several in found.values():
        least = min(max(rounds for rounds, _ in several), ENOUGH_ROUNDS)
        out += [ratio for rounds, ratio in several if rounds >= least]
    return out
