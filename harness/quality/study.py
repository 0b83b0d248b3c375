"""A study of quality, step by step; every fact is stored before the next is made, and what is stored is not made again.

First the twin is tuned and sets the target, then each learner is tuned on the same grid with as many trials and its
steps are counted; the harness measures what a step costs; some trainings run end to end in every framework; last,
compressed models are asked what they forget.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from harness.errors import UserError
from harness.quality.arrivals import target_of
from harness.quality.compression import LEVELS
from harness.quality.facts import Purpose, Training, Tuned
from harness.quality.folder import StudyProgress, StudyStore
from harness.quality.images import draws, split
from harness.quality.learners import LEARNERS, Learner, NetworkShape, disagreement
from harness.quality.populations import Population
from harness.quality.presets import StudyPreset
from harness.quality.training import Trained, most_right, right_in_float64, train
from workloads.base import Definition, Params

SAME_STEP = 1e-8  # how far a step may be from the workload's, in float64
TRIAL_SEEDS, TARGET_SEEDS = 10_000, 20_000  # where those begin that no counted seed may have


def chosen(ideas: Sequence[str]) -> list[Learner]:
    """The learners of a study, each twin before its ideas; all where none is named."""
    named = [LEARNERS[name] for name in ideas] or list(LEARNERS.values())
    twins = dict.fromkeys(learner.baseline for learner in named)
    return [LEARNERS[name] for name in twins] + [learner for learner in named if learner.name not in twins]


def axes_of(learners: Sequence[Learner], workloads: Mapping[str, Definition], shape: NetworkShape) -> dict[str, Params]:
    """The axes at which each learner's workload is measured."""
    return {learner.name: workloads[learner.name].check(learner.axes(shape)) for learner in learners}


class Learning:
    """Tuning, the target and the count of steps, without a framework."""

    def __init__(
        self,
        store: StudyStore,
        preset: StudyPreset,
        learners: Sequence[Learner],
        workloads: Mapping[str, Definition],
        seed: int,
        threads: int,
        told: StudyProgress,
    ) -> None:
        self._store, self._preset, self._learners = store, preset, learners
        self._workloads, self._seed, self._threads, self._told = workloads, seed, threads, told
        self._split = split()

    def execute(self) -> None:
        """All of it; what is stored already is taken as it is."""
        parts = [("tuned", learner) for learner in self._learners]
        parts += [("target", learner) for learner in self._learners if learner.baseline == learner.name]
        parts += [("count", learner) for learner in self._learners]
        self._told.begin("training in NumPy", len(parts))
        for what, learner in parts:
            key = f"{what} {learner.name}"
            self._told.now(key)
            if key not in self._store.facts:
                if what == "tuned":
                    self._store.keep(self._tuned(learner))
                else:
                    self._store.keep(self._trained(learner, "target" if what == "target" else "count"))
            self._told.done()

    def _tuned(self, learner: Learner) -> Tuned:
        """The rate with the most right answers in the median trial, of equal ones the one that had them first."""
        preset = self._preset
        off = disagreement(learner, self._workloads[learner.name], preset.shape)
        if not off <= SAME_STEP:
            raise UserError(
                f"{learner.name}: the step that is counted is not the workload's own, {off:.2g} of its change apart; "
                "a study of it would be of something else, so report this"
            )
        seeds = [self._seed + TRIAL_SEEDS + k for k in range(preset.trials)]
        pairs = [(rate, seed) for rate in preset.rates for seed in seeds]
        found = self._train(learner, [seed for _, seed in pairs], [rate for rate, _ in pairs], preset.steps, None)
        most, when = most_right(found.correct)
        best = [most[k : k + preset.trials] for k in range(0, len(pairs), preset.trials)]
        reached = [when[k : k + preset.trials] for k in range(0, len(pairs), preset.trials)]
        order = [(-median(many), median(early)) for many, early in zip(best, reached, strict=True)]
        return Tuned(
            learner=learner.name,
            rates=list(preset.rates),
            seeds=seeds,
            steps=preset.steps,
            every=preset.every,
            best=best,
            reached=reached,
            rate=preset.rates[order.index(min(order))],
            disagreement=off,
        )

    def _trained(self, learner: Learner, purpose: Purpose) -> Training:
        preset = self._preset
        counting = purpose == "count"
        target = self._target(learner) if counting else None
        steps = preset.steps * (preset.patience if counting else 1)
        first = self._seed + (0 if counting else TARGET_SEEDS)
        seeds = [first + k for k in range(preset.seeds if counting else preset.target_seeds)]
        rate = self._rate(learner)
        found = self._train(learner, seeds, [rate] * len(seeds), steps, target)
        return Training(
            learner=learner.name,
            purpose=purpose,
            rate=rate,
            seeds=seeds,
            steps=steps,
            every=preset.every,
            target=target,
            correct=found.correct,
            test_correct=right_in_float64(learner, found.weights, self._split.test),
        )

    def _train(
        self, learner: Learner, seeds: Sequence[int], rates: Sequence[float], steps: int, target: int | None
    ) -> Trained:
        def told(done: int) -> None:
            self._told.now(f"{learner.name}: step {done} of {steps}")

        return train(
            learner, self._workloads[learner.name], self._preset.shape, self._split,
            seeds=seeds, rates=rates, steps=steps, every=self._preset.every, target=target, threads=self._threads,
            told=told,
        )  # fmt: skip

    def _target(self, learner: Learner) -> int:
        fact = self._store.facts[f"target {learner.baseline}"]
        assert isinstance(fact, Training)
        return target_of(fact)

    def _rate(self, learner: Learner) -> float:
        fact = self._store.facts[f"tuned {learner.name}"]
        assert isinstance(fact, Tuned)
        return fact.rate


def forgetting(
    store: StudyStore, preset: StudyPreset, numbers: Sequence[int], seed: int, threads: int, told: StudyProgress
) -> None:
    """Train the models of these levels, on the long-tailed draw and on its balanced control, and keep their answers."""
    levels = [LEVELS[number] for number in numbers]
    told.begin("compressing", 2 * (len(levels) + 1))
    for draw in draws(seed):
        models = Population(draw, split().test, preset.recipe, seed, threads)
        exits = any(level.early is not None for level in levels)
        told.now(f"dense models, {draw.name}")
        if f"{draw.name} dense second" not in store.facts:
            for fact in models.dense(branched=False):
                store.keep(fact)
        if exits and f"{draw.name} dense with an exit second" not in store.facts:
            for fact in models.dense(branched=True):
                store.keep(fact)
        told.done()
        for level in levels:
            told.now(f"{level.method} {level.level}, {draw.name}")
            if f"{draw.name} {level.method} {level.level}" not in store.facts:
                store.keep(models.compressed(level))
            told.done()
