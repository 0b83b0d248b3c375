"""How long a single training is foretold to take: steps × seconds, and what carrying on adds to a step.

A measured step takes the same operands again and again. A step of a training takes another batch and other parameters
each time, which its caches do not hold yet, in a process of its own some minutes later. What that comes to is known
from the trainings themselves: those of the other learners and frameworks foretell it for one of them.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import t

from harness.quality.arrivals import Steps
from harness.quality.costs import StepCost
from harness.quality.facts import EndToEnd
from harness.quality.training import first_at
from harness.stats.intervals import CONFIDENCE

FEWEST = 3  # arrivals, or learners in a framework, that an interval is made from


class CarriedOn(NamedTuple):
    """Seconds a step of trainings over those measured, on logarithms: of single trainings of so many `groups`."""

    mean: float
    spread: float
    groups: int


def step_s(run: EndToEnd) -> float:
    """Seconds a step of a training, of all that was timed."""
    return sum(run.chunks_s) / (len(run.chunks_s) * run.every)


def carried(
    runs: Sequence[EndToEnd], costs: Mapping[tuple[str, str], StepCost], left_out: tuple[str, str] | None = None
) -> CarriedOn | None:
    """What carrying on adds, by the trainings of every learner and backend but `left_out`; None of fewer than FEWEST.

    The trainings of one learner in one framework share the error of its measured step: they are one group.
    """
    logs: dict[tuple[str, str], list[float]] = defaultdict(list)
    for run in runs:
        key = run.learner, run.backend
        if key != left_out and key in costs and run.status == "ok":
            logs[key].append(math.log(step_s(run) / costs[key].time_s))
    if len(logs) < FEWEST:
        return None
    mean = float(np.mean([np.mean(several) for several in logs.values()]))
    every = [value - mean for several in logs.values() for value in several]
    return CarriedOn(mean, float(np.sqrt(np.sum(np.square(every)) / (len(every) - 1))), len(logs))


def run_interval(steps: Steps, cost: StepCost, beside: CarriedOn | None) -> tuple[float, float] | None:
    """Seconds between which 95 of 100 single runs lie that arrive; None where too few did, or one process was timed.

    Student's prediction interval on logarithms, of steps and of seconds apart; the halves add in squares. Seconds vary
    as the trainings `beside` did, or, without any, as the processes that measured a step. It begins one evaluation
    earlier.
    """
    logs = [math.log(k) for k in steps.arrived if k is not None]
    if len(logs) < FEWEST or (beside is None and (cost.spread is None or cost.processes < 2)):
        return None
    seconds = CarriedOn(0.0, cost.spread or 0.0, cost.processes) if beside is None else beside
    centre = math.log(cost.time_s) + seconds.mean + float(np.mean(logs))
    half = math.hypot(_ahead(len(logs)) * float(np.std(logs, ddof=1)), _ahead(seconds.groups) * seconds.spread)
    low, high = math.exp(centre - half), math.exp(centre + half)
    return max(low - steps.every * math.exp(seconds.mean) * cost.time_s, 0.0), high


def _ahead(n: int) -> float:
    return float(t.ppf((1 + CONFIDENCE) / 2, n - 1)) * math.sqrt(1 + 1 / n)


def arrival_s(fact: EndToEnd) -> float | None:
    """Seconds of all steps until an end-to-end run was seen at the target; None where it never was."""
    at = first_at(fact.correct, fact.target)
    return None if at is None else sum(fact.chunks_s[:at])
