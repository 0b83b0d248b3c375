"""What an idea is worth: time to quality = steps to the target × seconds a step, and energy the same way.

The target is AlgoPerf's (Dahl et al. 2023, arXiv:2306.07179): the median, over seeds of the tuned twin, of the best
validation accuracy. Steps are counted once, without a framework; seconds and joules of a step come from the interleaved
run. Both are independent, so that their intervals add in squares on logarithms. Runs that never arrive count: the
expected running time is ERT = (steps of all runs)/(runs that arrived), as in COCO (Hansen et al. 2021,
doi:10.1080/10556788.2020.1808977).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from statistics import median

import msgspec
import numpy as np
from scipy.stats import binomtest, t

from harness.figures.best_paths import best_rows
from harness.figures.frame import case_rows
from harness.quality.facts import EndToEnd, Fact, Training
from harness.quality.images import VALID
from harness.quality.learners import LEARNERS
from harness.quality.training import HELD, first_at
from harness.records.record import EnergySource, Record
from harness.stats.intervals import CONFIDENCE, none_if_nan
from harness.stats.process_times import that_count
from workloads.base import Params

VALID_IMAGES = VALID * 10
RESAMPLES = 2000


class Steps(msgspec.Struct, frozen=True, kw_only=True):
    """Steps that a learner needs, over all its runs. None where nothing bounds them: no run arrived, or too few.

    `arrived` has the steps after which each run was seen at the target, None of one that never was. `steps` is ERT with
    its bootstrap interval over runs; its low end is one evaluation earlier, since the target was reached some time
    before it was seen. `held` counts the runs that stayed at the target for three evaluations, `held_steps` is ERT to
    the first of these. `test_accuracy` is the median of the runs at their end.
    """

    learner: str
    arrived: list[int | None]
    budget: int
    every: int
    reached: int
    success_low: float
    success_high: float
    steps: float | None
    steps_low: float | None
    steps_high: float | None
    held: int
    held_steps: float | None
    test_accuracy: float


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

    `run_low_s` to `run_high_s` holds 95 of 100 single runs that arrive; `inside` of `end_to_end` runs lay in it, of
    which `never` did not arrive. The ratios are over the twin's own.
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


PUBLISHED = (
    *("idea", "baseline", "backend", "target", "seeds", "reached", "success_low", "success_high", "steps", "seconds"),
    *("seconds_low", "seconds_high", "energy_j", "energy_source"),
)  # of `quality --json`, in this order


# -- the target --------------------------------------------------------------------------------------------------------
def target_of(training: Training) -> int:
    """Validation images right that make the target: the median over seeds of the best, rounded up to a whole image."""
    return math.ceil(median(max(correct) for correct in training.correct))


def trainings(facts: Mapping[str, Fact], purpose: str) -> dict[str, Training]:
    """The trainings of a purpose by learner."""
    return {f.learner: f for f in facts.values() if isinstance(f, Training) and f.purpose == purpose}


# -- steps -------------------------------------------------------------------------------------------------------------
def steps_of(training: Training) -> Steps:
    """The steps of a counted training; ValueError where it has no target."""
    if training.target is None:
        raise ValueError(f"the training of {training.learner} has no target")
    firsts = [first_at(correct, training.target) for correct in training.correct]
    held = [first_at(correct, training.target, HELD) for correct in training.correct]
    arrived = [None if k is None else k * training.every for k in firsts]
    reached = sum(k is not None for k in arrived)
    low, high = binomtest(reached, len(arrived)).proportion_ci(CONFIDENCE, method="wilson")
    bounds = ert_interval(arrived, training.steps)
    return Steps(
        learner=training.learner,
        arrived=arrived,
        budget=training.steps,
        every=training.every,
        reached=reached,
        success_low=float(low),
        success_high=float(high),
        steps=ert(arrived, training.steps),
        steps_low=None if bounds[0] is None else max(bounds[0] - training.every, 1),
        steps_high=bounds[1],
        held=sum(k is not None for k in held),
        held_steps=ert([None if k is None else k * training.every for k in held], training.steps),
        test_accuracy=median(training.test_correct) / (54 * 10),
    )


def ert(arrived: Sequence[int | None], budget: int) -> float | None:
    """Expected running time: the steps of all runs over the number of those that arrived; None where none did."""
    successes = sum(k is not None for k in arrived)
    return sum(budget if k is None else k for k in arrived) / successes if successes else None


def ert_interval(arrived: Sequence[int | None], budget: int) -> tuple[float | None, float | None]:
    """The 95 % bootstrap interval of ERT over runs; an end is None where more resamples than it leaves out have none.

    Drawn from a fixed seed: the same runs always have the same interval.
    """
    drawn = _erts(tuple(arrived), budget)
    ends = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], method="inverted_cdf")
    low, high = (float(end) if np.isfinite(end) else None for end in ends)
    return low, high


@cache
def _erts(arrived: tuple[int | None, ...], budget: int, seed: int = 0) -> np.ndarray:
    """ERT of resampled runs, infinite where none of a resample arrived."""
    spent = np.array([budget if k is None else k for k in arrived], np.float64)
    came = np.array([k is not None for k in arrived])
    chosen = np.random.default_rng(seed).integers(0, len(spent), (RESAMPLES, len(spent)))
    successes = came[chosen].sum(axis=1)
    with np.errstate(divide="ignore"):
        return np.asarray(np.where(successes > 0, spent[chosen].sum(axis=1) / successes, np.inf))


def steps_ratio(idea: Steps, twin: Steps) -> tuple[float | None, float | None, float | None]:
    """The idea's ERT over the twin's, with its bootstrap interval; the runs of both are drawn apart."""
    if idea.steps is None or twin.steps is None:
        return None, None, None
    over, under = _erts(tuple(idea.arrived), idea.budget, 1), _erts(tuple(twin.arrived), twin.budget, 2)
    ratios = np.where(np.isfinite(under), over / np.where(np.isfinite(under), under, 1), np.inf)
    ends = np.quantile(ratios, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], method="inverted_cdf")
    low, high = (float(end) if np.isfinite(end) else None for end in ends)
    return idea.steps / twin.steps, low, high


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
    )
