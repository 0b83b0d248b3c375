"""What an idea is worth: time to quality = steps to the target × seconds a step, and energy the same way.

Steps are counted once, without a framework (`arrivals`); seconds and joules of a step come from the interleaved run.
Both are independent, so that their intervals add in squares on logarithms.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec

from harness.quality.arrivals import VALID_IMAGES, Steps, steps_of, steps_ratio, target_of, trainings
from harness.quality.costs import StepCost
from harness.quality.facts import EndToEnd, Fact
from harness.quality.foretold import arrival_s, carried, run_interval
from harness.quality.learners import LEARNERS
from harness.quality.training import first_at


class Worth(msgspec.Struct, frozen=True, kw_only=True):
    """A learner on a backend. A figure is None where it is unknown or nothing bounds it.

    `run_low_s` to `run_high_s` holds 95 of 100 single runs that arrive. Of `end_to_end` runs, `foretold` have such an
    interval, since their seed arrives in NumPy, and `inside` of these lay in it; `never` did not arrive, and `alike`
    saw the target at the evaluation that was counted without a framework, or like it never. The ratios are over the
    twin's own.
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
    foretold: int
    inside: int
    never: int
    alike: int


PUBLISHED = (
    *("idea", "baseline", "backend", "target", "seeds", "reached", "success_low", "success_high", "steps", "seconds"),
    *("seconds_low", "seconds_high", "energy_j", "energy_source"),
)  # of `quality --json`, in this order


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
                between = run_interval(steps, cost, carried(runs, costs, (name, backend)))
                twin_cost = costs.get((baseline, backend))
                out.append(_worth(steps, cost, counted[baseline], twin_cost, targets[baseline], own, between))
    return out


def _worth(
    steps: Steps, cost: StepCost, twin: Steps, twin_cost: StepCost | None, target: int, runs: Sequence[EndToEnd],
    between: tuple[float, float] | None,
) -> Worth:  # fmt: skip
    n = (steps.steps, steps.steps_low, steps.steps_high)
    seconds = product(n, (cost.time_s, cost.time_low_s, cost.time_high_s))
    energy = product(n, (cost.energy_j, cost.energy_low_j, cost.energy_high_j))
    ratio = (1.0, 1.0, 1.0) if steps is twin else steps_ratio(steps, twin)
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
        foretold=sum(run.counted is not None for run in runs) if between else 0,
        inside=inside,
        never=sum(end is None for end in ends),
        alike=sum(first_at(run.correct, run.target) == run.counted for run in runs),
    )
