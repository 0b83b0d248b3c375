"""Trainings end to end in every framework, from seeds of their own, to hold steps × seconds to."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from backends.ops import Backend, Device
from harness.errors import UserError
from harness.quality.arrivals import trainings
from harness.quality.costs import StepCost
from harness.quality.end_to_end import EndToEndTrainer, counted_at
from harness.quality.facts import EndToEnd, Training
from harness.quality.folder import StudyProgress, StudyStore
from harness.quality.foretold import FEWEST
from harness.quality.images import split
from harness.quality.learners import Learner
from harness.quality.presets import StudyPreset
from harness.quality.training import first_at
from harness.worker.client import Server, ServerError
from workloads.base import Definition

OWN_SEEDS = 30_000  # where those begin that nothing else is trained from
TRIED = 5  # times as many as are wanted are tried for some that arrive


@dataclass(frozen=True, slots=True, kw_only=True)
class Frameworks:
    """Where trainings run end to end: what a step costs by learner and backend, and how servers are started."""

    backends: Mapping[str, Backend]
    costs: Mapping[tuple[str, str], StepCost]
    threads: int
    cache: Path
    timeout_s: float


def end_to_end(
    store: StudyStore,
    preset: StudyPreset,
    learners: Sequence[Learner],
    workloads: Mapping[str, Definition],
    frameworks: Frameworks,
    seed: int,
    told: StudyProgress,
) -> None:
    """Train each learner in each framework from seeds that nothing else had; UserError where a server cannot start."""
    places = sorted({backend for _, backend in frameworks.costs})
    if not places:
        return  # nothing was timed that they could be held to
    told.begin("training end to end", len(learners) + len(places) * len(learners))
    trained: dict[str, Training] = trainings(store.facts, "count")
    seeds: dict[tuple[str, str], Mapping[int, int | None]] = {}
    for learner in learners:
        told.now(f"{learner.name}: seeds that arrive")
        counting = _Counting(learner, workloads[learner.name], preset, trained[learner.name], frameworks.threads)
        for place, chosen in zip(places, counting.seeds(seed + OWN_SEEDS, len(places)), strict=True):
            seeds[learner.name, place] = chosen
        told.done()
    for backend in places:
        left = {
            learner.name: [s for s in seeds[learner.name, backend] if _end_key(learner, backend, s) not in store.facts]
            for learner in learners
            if (learner.name, backend) in frameworks.costs
        }
        if not any(left.values()):
            continue
        with _server(frameworks, backend) as server:
            for learner in learners:
                told.now(f"{learner.name} in {backend}")
                for own in left.get(learner.name, ()):
                    trainer = EndToEndTrainer(
                        learner, workloads[learner.name], preset.shape, split(),
                        scratch=store.folder / ".scratch", timeout_s=frameworks.timeout_s,
                    )  # fmt: skip
                    cost, counted = frameworks.costs[learner.name, backend], seeds[learner.name, backend][own]
                    _keep_trained(store, trainer, server, cost, trained[learner.name], own, counted)
                told.done()


def _end_key(learner: Learner, backend: str, seed: int) -> str:
    return f"end to end {learner.name} {backend} {seed}"


@dataclass(frozen=True, slots=True)
class _Counting:
    """Finds the seeds that are trained end to end: those that arrive in NumPy, since only these have a time."""

    learner: Learner
    workload: Definition
    preset: StudyPreset
    trained: Training
    threads: int

    def seeds(self, first: int, places: int) -> list[Mapping[int, int | None]]:
        """Of each of `places` its seeds, with the evaluation that first sees the target; None of one that never does.

        Every place has seeds of its own: one that is late would else count in each. A learner that hardly ever arrives
        has no interval to be held to: it has one seed, which tells whether it arrives there as it does in NumPy.
        """
        several = self.preset.end_to_end
        target = self.trained.target or 0
        if sum(first_at(correct, target) is not None for correct in self.trained.correct) < FEWEST:
            return [{own: at} for own, at in self._counted(range(first, first + places)).items()]
        found: dict[int, int | None] = {}
        for begin in range(first, first + TRIED * places * several, places * several):
            counted = self._counted(range(begin, begin + places * several))
            found |= {own: at for own, at in counted.items() if at is not None}
            if len(found) >= places * several:
                break
        dealt = list(found.items())[: places * several]  # in turn: where too few arrive no place is left without
        return [dict(dealt[number::places]) for number in range(places)]

    def _counted(self, seeds: Sequence[int]) -> dict[int, int | None]:
        counted = counted_at(
            self.learner, self.workload, self.preset.shape, split(), seeds, self.trained.rate,
            target=self.trained.target or 0, steps=self.trained.steps, every=self.trained.every, threads=self.threads,
        )  # fmt: skip
        return dict(zip(seeds, counted, strict=True))


def _keep_trained(
    store: StudyStore, trainer: EndToEndTrainer, server: Server, cost: StepCost, trained: Training, seed: int,
    counted: int | None,
) -> None:  # fmt: skip
    """Train one seed and keep what came of it."""
    fact, weights = trainer.run(
        server, cost, seed=seed, rate=trained.rate, target=trained.target or 0, steps=trained.steps,
        every=trained.every, counted=counted,
    )  # fmt: skip
    if weights is not None and _first_of_its_kind(store, fact):
        path, digest = store.keep_weights(f"{fact.learner}-{fact.backend}-{seed}", weights)
        fact = replace(fact, weights=path, digest=digest)
    else:
        fact = replace(fact, test_correct=None)  # nobody could reckon it again
    store.keep(fact)


def _first_of_its_kind(store: StudyStore, fact: EndToEnd) -> bool:
    """Whether no weights of this learner in this framework are kept yet: one shows the accuracy, all would be large."""
    return not any(
        isinstance(other, EndToEnd) and other.weights and (other.learner, other.backend) == (fact.learner, fact.backend)
        for other in store.facts.values()
    )


@contextlib.contextmanager
def _server(frameworks: Frameworks, backend: str) -> Iterator[Server]:
    with Server(frameworks.backends[backend], Device("cpu"), frameworks.threads, frameworks.cache) as server:
        try:
            server.start()
        except ServerError as error:
            raise UserError(str(error)) from None
        yield server
