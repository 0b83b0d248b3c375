"""Steps to the target: how many runs arrive, after how many steps, and what is expected over all of them.

The target is AlgoPerf's (Dahl et al. 2023, arXiv:2306.07179): the median, over seeds of the tuned twin, of the best
validation accuracy. Runs that never arrive count: the expected running time is ERT = (steps of all runs)/(runs that
arrived), as in COCO (Hansen et al. 2021, doi:10.1080/10556788.2020.1808977).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from statistics import median

import msgspec
import numpy as np
from scipy.stats import binomtest

from backends.ops import HostArray
from harness.quality.facts import Fact, Purpose, Training
from harness.quality.images import CLASSES, TEST, VALID
from harness.quality.training import HELD, first_at
from harness.stats.intervals import CONFIDENCE

VALID_IMAGES = VALID * CLASSES
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


# -- the target --------------------------------------------------------------------------------------------------------
def target_of(training: Training) -> int:
    """Validation images right that make the target: the median over seeds of the best, rounded up to a whole image."""
    return math.ceil(median(max(correct) for correct in training.correct))


def trainings(facts: Mapping[str, Fact], purpose: Purpose) -> dict[str, Training]:
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
        test_accuracy=median(training.test_correct) / (TEST * CLASSES),
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
def _erts(arrived: tuple[int | None, ...], budget: int, seed: int = 0) -> HostArray:
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
