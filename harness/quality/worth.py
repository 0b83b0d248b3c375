"""What an idea is worth: time to quality = steps to the target × seconds a step, and energy the same way.

Steps are counted once, without a framework (`arrivals`); seconds and joules of a step come from the interleaved run.
Both are independent, so that their intervals add in squares on logarithms.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
from scipy.stats import t

from harness.figures.best_paths import best_rows
from harness.figures.frame import case_rows
from harness.quality.arrivals import VALID_IMAGES, Steps, steps_of, steps_ratio, target_of, trainings
from harness.quality.facts import EndToEnd, Fact
from harness.quality.learners import LEARNERS
from harness.quality.training import first_at
from harness.records.record import EnergySource, Record
from harness.stats.intervals import CONFIDENCE, none_if_nan
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


class Worth(msgspec.Struct, frozen=True, kw_only=True):
    """A learner on a backend. A figure is None where it is unknown or nothing bounds it.

    `run_low_s` to `run_high_s` holds 95 of 100 single runs that arrive; `inside` of `end_to_end` runs lay in it,
    `never` of them did not arrive, and `alike` saw the target at the evaluation that was counted without a framework,
    or like it never. The ratios are over the twin's own.
    """

    idea: str
    baseline: str
    backend: str
    target: float
    seeds: int
    reached: int
    success_low: float
    success_high: float
    steps: float | None
    seconds: float | None
    seconds_low: float | None
    seconds_high: float | None
    energy_j: float | None
    energy_low_j: float | None
    energy_high_j: float | None
    energy_source: str
    steps_ratio: float | None
    steps_ratio_low: float | None
    steps_ratio_high: float | None
    time_ratio: float | None
    run_low_s: float | None
    run_high_s: float | None
    end_to_end: int
    inside: int
    never: int
    alike: int


PUBLISHED = (
    *("idea", "baseline", "backend", "target", "seeds", "reached", "success_low", "success_high", "steps", "seconds"),
    *("seconds_low", "seconds_high", "energy_j", "energy_source"),
)  # of `quality --json`, in this order


# -- seconds and joules ------------------------------------------------------------------------------------------------
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


def product(
    a: tuple[float | None, float | None, float | None], b: tuple[float | None, float | None, float | None]
) -> tuple[float | None, float | None, float | None]:
    """The product of two independent figures with their intervals, which add in squares on logarithms.

    An end is None where either has none.
    """
    if a[0] is None or b[0] is None:
        return None, None, None
    middle = a[0] * b[0]
    ends: list[float | None] = []
    for end, sign in ((1, -1), (2, 1)):
        one, other = a[end], b[end]
        if not one or not other:
            ends.append(None)
            continue
        half = math.hypot(math.log(one / a[0]), math.log(other / b[0]))
        ends.append(middle * math.exp(sign * half))
    return middle, ends[0], ends[1]


def run_interval(steps: Steps, cost: StepCost) -> tuple[float, float] | None:
    """Seconds between which 95 of 100 single runs lie that arrive; None where too few did, or one process was timed.

    Student's prediction interval on logarithms, of steps and of seconds apart; the halves add in squares. It begins one
    evaluation earlier.
    """
    logs = [math.log(k) for k in steps.arrived if k is not None]
    if len(logs) < 3 or cost.spread is None or cost.processes < 2:
        return None
    centre = math.log(cost.time_s) + float(np.mean(logs))
    half = math.hypot(_ahead(len(logs)) * float(np.std(logs, ddof=1)), _ahead(cost.processes) * cost.spread)
    low, high = math.exp(centre - half), math.exp(centre + half)
    return max(low - steps.every * cost.time_s, 0.0), high


def _ahead(n: int) -> float:
    return float(t.ppf((1 + CONFIDENCE) / 2, n - 1)) * math.sqrt(1 + 1 / n)


def arrival_s(fact: EndToEnd) -> float | None:
    """Seconds of all steps until an end-to-end run was seen at the target; None where it never was."""
    at = first_at(fact.correct, fact.target)
    return None if at is None else sum(fact.chunks_s[:at])


# -- rows --------------------------------------------------------------------------------------------------------------
def worths(facts: Mapping[str, Fact], costs: Mapping[tuple[str, str], StepCost]) -> list[Worth]:
    """A row for every learner and backend that was measured, each twin before its ideas."""
    counted = {name: steps_of(training) for name, training in trainings(facts, "count").items()}
    targets = {name: target_of(training) for name, training in trainings(facts, "target").items()}
    runs = [f for f in facts.values() if isinstance(f, EndToEnd)]
    out = []
    for backend in dict.fromkeys(place for _, place in costs):
        for name, steps in counted.items():
            cost = costs.get((name, backend))
            baseline = LEARNERS[name].baseline
            if cost is not None and baseline in counted:
                own = [r for r in runs if (r.learner, r.backend, r.status) == (name, backend, "ok")]
                out.append(
                    _worth(steps, cost, counted[baseline], costs.get((baseline, backend)), targets[baseline], own)
                )
    return out


def _worth(
    steps: Steps, cost: StepCost, twin: Steps, twin_cost: StepCost | None, target: int, runs: Sequence[EndToEnd]
) -> Worth:
    n = (steps.steps, steps.steps_low, steps.steps_high)
    seconds = product(n, (cost.time_s, cost.time_low_s, cost.time_high_s))
    energy = product(n, (cost.energy_j, cost.energy_low_j, cost.energy_high_j))
    ratio = (1.0, 1.0, 1.0) if steps is twin else steps_ratio(steps, twin)
    between = run_interval(steps, cost)
    ends = [arrival_s(run) for run in runs]
    inside = sum(between[0] <= end <= between[1] for end in ends if end is not None) if between else 0
    time_ratio = None if ratio[0] is None or twin_cost is None else ratio[0] * cost.time_s / twin_cost.time_s
    return Worth(
        idea=steps.learner,
        baseline=twin.learner,
        backend=cost.backend,
        target=target / VALID_IMAGES,
        seeds=len(steps.arrived),
        reached=steps.reached,
        success_low=steps.success_low,
        success_high=steps.success_high,
        steps=steps.steps,
        seconds=seconds[0],
        seconds_low=seconds[1],
        seconds_high=seconds[2],
        energy_j=energy[0],
        energy_low_j=energy[1],
        energy_high_j=energy[2],
        energy_source=cost.energy_source,
        steps_ratio=ratio[0],
        steps_ratio_low=ratio[1],
        steps_ratio_high=ratio[2],
        time_ratio=time_ratio,
        run_low_s=between[0] if between else None,
        run_high_s=between[1] if between else None,
        end_to_end=len(runs),
        inside=inside,
        never=sum(end is None for end in ends),
        alike=sum(first_at(run.correct, run.target) == run.counted for run in runs),
    )
