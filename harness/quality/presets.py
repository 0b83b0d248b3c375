"""How large a study is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from harness.quality.compression import LEVELS
from harness.quality.learners import NetworkShape
from harness.quality.populations import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyPreset:
    """How large a study is.

    Each learner has `trials` seeds at each of `rates` for `steps`. `target_seeds` of the twin set the target; `seeds`
    train for up to `patience` times as long to be counted. `end_to_end` trainings of each learner run in each
    framework. `levels` of compression are trained by `recipe`. `run` is the preset of the run that measures a step,
    `run_budget_s` its budget and `run_executions` all that it tries, where that is not everything.
    """

    shape: NetworkShape = field(default_factory=NetworkShape)
    rates: tuple[float, ...] = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
    trials: int = 3
    target_seeds: int = 20
    seeds: int = 40
    steps: int = 600
    every: int = 15
    patience: int = 2
    end_to_end: int = 4
    recipe: Recipe = field(default_factory=Recipe)
    levels: tuple[int, ...] = tuple(range(len(LEVELS)))
    run: str = "ideas"
    run_budget_s: float | None = 95.0
    run_executions: tuple[str, ...] = ()


PRESETS: Mapping[str, StudyPreset] = {
    "smoke": StudyPreset(
        shape=NetworkShape(batch=16, hidden=32),
        rates=(0.1, 0.3),
        trials=1,
        target_seeds=4,
        seeds=4,
        steps=60,
        every=10,
        patience=2,
        end_to_end=1,
        recipe=Recipe(models=5, steps=60, fine_steps=20, hidden=32),
        levels=(3, 5, 10, 13),
        run="smoke",
        run_budget_s=None,
        run_executions=("eager",),
    ),
    "quick": StudyPreset(),
    "standard": StudyPreset(
        trials=5,
        target_seeds=50,
        seeds=50,
        steps=1200,
        recipe=Recipe(steps=600, fine_steps=200),
        run="standard",
        run_budget_s=None,
    ),
}
