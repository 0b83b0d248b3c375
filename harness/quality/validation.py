"""May a study be published? Every reason why not. What can be trained or reckoned again is.

Trusts nothing that it reads. The run that measured a step is held to the gate of all runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np

from harness.gate.refusal import Mark, Refusal, refusal
from harness.gate.validate import Report
from harness.gate.validate import validate as validate_run
from harness.quality.again import trained_again
from harness.quality.arrivals import VALID_IMAGES, steps_of, target_of, trainings
from harness.quality.facts import Answers, EndToEnd, Training, Tuned
from harness.quality.folder import STEPS, Study, load_study, read_weights
from harness.quality.foretold import FEWEST
from harness.quality.images import CLASSES, TEST, draws, split
from harness.quality.learners import LEARNERS
from harness.quality.study import SAME_STEP
from harness.quality.training import HELD, first_at, right_in_float64
from harness.records.store import INFO, Run, StoreError

FEWEST_SEEDS = 20  # of a learner whose steps are counted
FEWEST_MODELS = 30  # of a level of compression
FEWEST_TRAININGS = 3  # end to end, in a framework, of learners that arrive


def validate_study(path: Path) -> Report:
    """Check a study's folder. Raises nothing; the run in the report is the one that measured its steps."""
    try:
        study = load_study(path)
    except StoreError as error:
        return Report(
            path, [refusal("unreadable", path.name, str(error), "publish the folder as it was written")], [], None
        )
    found = [refusal("unreadable", path.name, said, "publish it as it was written") for said in study.warnings]
    checks: tuple[Callable[[Study], Iterator[Refusal]], ...] = (_alike, _learners, trained_again, _end_to_end, _answers)
    for check in checks:
        try:
            found += check(study)
        except Exception as error:  # a bad file must never stop the rest
            said = f"it cannot be checked ({type(error).__name__}: {error})"
            found.append(refusal("unchecked", path.name, said, "publish the study as it was written"))
    steps = path / STEPS
    marks: list[Mark] = []
    run: Run | None = None
    if (steps / INFO).is_file():
        inner = validate_run(steps)
        marks, run = inner.marks, inner.run
        found += [msgspec.structs.replace(r, where=f"{STEPS}/{r.where}") for r in inner.refusals]
    elif trainings(study.facts, "count"):
        found.append(refusal("incomplete", STEPS, "no run measured what a step costs", _GO_ON))
    if not study.facts:
        found.append(refusal("incomplete", path.name, "nothing was trained", _GO_ON))
    return Report(path, found, marks, run)


_GO_ON = "go on with the study: quality --resume --out DIR"
_AS_WRITTEN = "publish the study as it was written"


def _alike(study: Study) -> Iterator[Refusal]:
    """The same grid and trials for all, the best rate taken, and steps that are the workloads' own."""
    tuned = [fact for fact in study.facts.values() if isinstance(fact, Tuned)]
    for fact in tuned:
        first = tuned[0]
        if (fact.rates, len(fact.seeds), fact.steps, fact.every) != (
            first.rates, len(first.seeds), first.steps, first.every,
        ):  # fmt: skip
            yield refusal("unequal", fact.key, f"it was tuned otherwise than {first.learner}", "tune both alike")
        order = [
            (-float(np.median(many)), float(np.median(early)))
            for many, early in zip(fact.best, fact.reached, strict=True)
        ]
        if fact.rates[order.index(min(order))] != fact.rate:
            yield refusal("rate", fact.key, f"{fact.rate:g} is not the rate that was best", _AS_WRITTEN)
        if not fact.disagreement <= SAME_STEP:
            said = f"its step is {fact.disagreement:.2g} of its change off the workload's"
            yield refusal("another-step", fact.key, said, "count the steps of the workload itself")


def _learners(study: Study) -> Iterator[Refusal]:
    targets = trainings(study.facts, "target")
    for name, fact in trainings(study.facts, "count").items():
        learner = LEARNERS.get(name)
        tuned = study.facts.get(f"tuned {name}")
        if learner is None or learner.baseline not in targets or not isinstance(tuned, Tuned):
            yield refusal("incomplete", fact.key, "its tuning or its twin's target is not there", _GO_ON)
            continue
        if len(fact.seeds) < FEWEST_SEEDS or len(targets[learner.baseline].seeds) < FEWEST_SEEDS:
            said = f"{len(fact.seeds)} seeds are too few to count steps"
            yield refusal("few-seeds", fact.key, said, f"train {FEWEST_SEEDS} and more: --preset quick or standard")
        if fact.target != target_of(targets[learner.baseline]):
            yield refusal("target", fact.key, "its target is not the one that its twin sets", _AS_WRITTEN)
        if fact.rate != tuned.rate:
            yield refusal("rate", fact.key, "it was not trained at the tuned rate", _AS_WRITTEN)
        seeds = {*fact.seeds}
        if len(seeds) < len(fact.seeds) or seeds & {*tuned.seeds, *targets[learner.baseline].seeds}:
            yield refusal("seeds", fact.key, "a seed counts twice, or was tuned with", _AS_WRITTEN)
        yield from _counts(fact)
    for name, fact in targets.items():
        if any(not correct or max(correct) > VALID_IMAGES for correct in fact.correct):
            yield refusal("counts", f"target {name}", "counts are impossible", _AS_WRITTEN)


def _counts(fact: Training) -> Iterator[Refusal]:
    """Every seed was evaluated to its end, which is the budget or a target that was held."""
    if not len(fact.correct) == len(fact.seeds) == len(fact.test_correct):
        yield refusal("counts", fact.key, "it has counts of other seeds than its own", _AS_WRITTEN)
        return
    whole = fact.steps // fact.every
    for seed, correct in zip(fact.seeds, fact.correct, strict=True):
        held = first_at(correct, fact.target or 0, HELD)
        ended = len(correct) == whole if held is None else len(correct) == held + HELD - 1
        if not ended or not all(0 <= count <= VALID_IMAGES for count in correct):
            yield refusal("counts", f"{fact.key}, seed {seed}", "its counts do not go to its end", _AS_WRITTEN)


def _end_to_end(study: Study) -> Iterator[Refusal]:
    runs = [fact for fact in study.facts.values() if isinstance(fact, EndToEnd)]
    counted = trainings(study.facts, "count")
    arriving = [run for run in runs if run.learner in counted and steps_of(counted[run.learner]).reached >= FEWEST]
    for backend in dict.fromkeys(run.backend for run in arriving):
        several = sum(run.backend == backend for run in arriving)
        if several < FEWEST_TRAININGS:
            said = f"{several} trainings end to end are too few"
            yield refusal("few-trainings", backend, said, f"run {FEWEST_TRAININGS}: --preset quick")
    shown = {(run.learner, run.backend) for run in runs if run.weights}
    for run in runs:
        if run.status != "ok":
            continue
        own = counted.get(run.learner)
        if own is None or (run.rate, run.target, run.every) != (own.rate, own.target, own.every):
            yield refusal("unequal", run.key, "it was trained otherwise than what was counted", _AS_WRITTEN)
        elif run.seed in own.seeds:
            yield refusal("seeds", run.key, "its seed was counted already", _AS_WRITTEN)
        impossible = any(not math.isfinite(s) or s <= 0 for s in run.chunks_s)
        if impossible or not 0 < len(run.correct) <= len(run.chunks_s):
            yield refusal("counts", run.key, "its times or counts are impossible", _AS_WRITTEN)
        if run.weights is None or run.digest is None:
            if run.test_correct is not None:
                yield refusal("weights", run.key, "it states an accuracy without its weights", _AS_WRITTEN)
            elif (run.learner, run.backend) not in shown:
                yield refusal("weights", run.key, "no weights of its kind are kept", _AS_WRITTEN)
            continue
        try:
            weights = read_weights(study.path, run.weights, run.digest)
        except ValueError as error:
            yield refusal("weights", run.key, str(error), _AS_WRITTEN)
            continue
        one = {key: value[None] for key, value in weights.items()}
        if right_in_float64(LEARNERS[run.learner], one, split().test) != [run.test_correct]:
            yield refusal("accuracy", run.key, "its weights do not have the accuracy that it states", _AS_WRITTEN)


def _answers(study: Study) -> Iterator[Refusal]:
    seed = study.info.settings.get("seed")
    known = {draw.name: draw for draw in draws(seed if isinstance(seed, int) else 0)}
    digits = {str(c) for c in range(CLASSES)}
    for fact in (f for f in study.facts.values() if isinstance(f, Answers)):
        draw = known.get(fact.draw)
        if draw is None or (list(draw.counts), list(draw.rare)) != (fact.counts, fact.rare):
            yield refusal("draw", fact.key, "its images are not those of the study's seed", _AS_WRITTEN)
        wrong = any(len(said) != TEST * CLASSES or not {*said} <= digits for said in fact.says)
        if wrong or len(fact.says) != len({*fact.seeds}):
            yield refusal("answers", fact.key, "its models do not answer every test image once", _AS_WRITTEN)
        if len(fact.says) < FEWEST_MODELS:
            said = f"{len(fact.says)} models are too few"
            yield refusal("few-models", fact.key, said, f"train {FEWEST_MODELS}: --preset quick or standard")
        for other in _dense_beside(study, fact):
            if {*other.seeds} & {*fact.seeds}:
                yield refusal("seeds", fact.key, "it shares a model with the dense ones", _AS_WRITTEN)


def _dense_beside(study: Study, fact: Answers) -> list[Answers]:
    """The dense answers of the draw that a level is held against; none of what is dense itself."""
    if fact.method.startswith("dense"):
        return []
    every = [f for f in study.facts.values() if isinstance(f, Answers) and f.draw == fact.draw]
    return [f for f in every if f.method.startswith("dense")]
