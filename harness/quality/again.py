"""Trains again, from its seeds, all that a study counted in NumPy: what it states must come out, to the last image.

Nothing else shows that a count of steps is true. In float64 it comes out on any machine; it takes about as long as the
study's own first part did.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict

import threadpoolctl

from harness.gate.refusal import Refusal, refusal
from harness.machine.facts import usable_cores
from harness.quality.arrivals import trainings
from harness.quality.end_to_end import counted_at
from harness.quality.facts import EndToEnd, Training, Tuned
from harness.quality.folder import Study
from harness.quality.images import split
from harness.quality.learners import LEARNERS, NetworkShape
from harness.quality.presets import PRESETS, StudyPreset
from harness.quality.training import Trained, most_right, right_in_float64, train
from workloads.base import Definition
from workloads.discovery import workloads as find_workloads

_REMEDY = "publish the study as it was written"
MOST_TRAININGS = 1000  # end to end


def trained_again(study: Study) -> Iterator[Refusal]:
    """A refusal for every fact that is not what comes out now, and for what is larger than its preset is."""
    preset = PRESETS.get(study.info.preset)
    learnt = [f for f in study.facts.values() if isinstance(f, Tuned | Training | EndToEnd)]
    if not learnt:
        return
    if preset is None or study.info.shape != asdict(preset.shape):
        yield refusal("preset", study.path.name, "its networks are not those of its preset", _REMEDY)
        return
    workloads, _ = find_workloads()
    with threadpoolctl.threadpool_limits(limits=1):
        for fact in learnt:
            if fact.learner not in LEARNERS:
                yield refusal("incomplete", fact.key, "nothing of this name learns", _REMEDY)
            elif not isinstance(fact, EndToEnd):
                yield from _again(fact, workloads[fact.learner], preset)
        yield from _arrivals(study, [f for f in learnt if isinstance(f, EndToEnd)], workloads, preset)


def _again(fact: Tuned | Training, workload: Definition, preset: StudyPreset) -> Iterator[Refusal]:
    pairs = _pairs(fact)
    most = max(preset.seeds, preset.target_seeds, preset.trials * len(preset.rates))
    if len(pairs) > most or not 0 < fact.every <= fact.steps <= preset.steps * preset.patience:
        yield refusal("counts", fact.key, "it is larger than its preset is", _REMEDY)
        return
    found = _train(fact, pairs, workload, preset.shape)
    if isinstance(fact, Tuned):
        stated = [[n for row in rows for n in row] for rows in (fact.best, fact.reached)]
        if [*most_right(found.correct)] != stated:
            yield refusal("trained-again", fact.key, "tuned again, its trials come out otherwise", _REMEDY)
        return
    for (_, seed), now, was in zip(pairs, found.correct, fact.correct, strict=False):
        if now != was:
            said = "trained again, it gets other images right on its way"
            yield refusal("trained-again", f"{fact.key}, seed {seed}", said, _REMEDY)
    if right_in_float64(LEARNERS[fact.learner], found.weights, split().test) != fact.test_correct:
        yield refusal("accuracy", fact.key, "trained again, it has not the accuracy that it states", _REMEDY)


def _pairs(fact: Tuned | Training) -> list[tuple[float, int]]:
    """The rate and seed of each training."""
    rates = fact.rates if isinstance(fact, Tuned) else [fact.rate]
    return [(rate, seed) for rate in rates for seed in fact.seeds]


def _train(
    fact: Tuned | Training, pairs: list[tuple[float, int]], workload: Definition, shape: NetworkShape
) -> Trained:
    return train(
        LEARNERS[fact.learner], workload, shape, split(),
        seeds=[seed for _, seed in pairs], rates=[rate for rate, _ in pairs], steps=fact.steps, every=fact.every,
        target=None if isinstance(fact, Tuned) else fact.target, threads=usable_cores(),
    )  # fmt: skip


def _arrivals(
    study: Study, runs: list[EndToEnd], workloads: Mapping[str, Definition], preset: StudyPreset
) -> Iterator[Refusal]:
    """The evaluations at which the seeds that ran end to end see the target in NumPy."""
    for name, counted in trainings(study.facts, "count").items():
        own = [run for run in runs if run.learner == name]
        if not own or counted.target is None or name not in LEARNERS:
            continue
        if len(own) > MOST_TRAININGS or not 0 < counted.every <= counted.steps <= preset.steps * preset.patience:
            yield refusal("counts", counted.key, "it is larger than its preset is", _REMEDY)
            continue
        found = counted_at(
            LEARNERS[name], workloads[name], preset.shape, split(), [run.seed for run in own], counted.rate,
            target=counted.target, steps=counted.steps, every=counted.every, threads=usable_cores(),
        )  # fmt: skip
        for run, at in zip(own, found, strict=True):
            if at != run.counted:
                said = "trained again in NumPy, it sees the target at another evaluation"
                yield refusal("trained-again", run.key, said, _REMEDY)
