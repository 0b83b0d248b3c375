"""A study with its figures: what every way to show it is made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from harness.quality import forgotten, worth
from harness.quality.arrivals import Steps, steps_of, trainings
from harness.quality.costs import StepCost, step_costs
from harness.quality.facts import EndToEnd, Training, Tuned
from harness.quality.folder import STEPS, Study, load_study
from harness.quality.foretold import CarriedOn, carried
from harness.quality.forgotten import Forgets, NoiseFloor
from harness.quality.learners import LEARNERS, NetworkShape
from harness.quality.worth import Worth
from harness.records.record import Record
from harness.records.store import INFO, RECORDS, Run, load
from workloads.base import Params


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A study, the run that measured a step (None where there is none yet), and the figures of both."""

    study: Study
    run: Run | None
    costs: Mapping[tuple[str, str], StepCost]
    worths: Sequence[Worth]
    forgets: Sequence[Forgets]
    floors: Sequence[NoiseFloor]

    @property
    def tuned(self) -> list[Tuned]:
        """How each learner was tuned."""
        return [fact for fact in self.study.facts.values() if isinstance(fact, Tuned)]

    @property
    def steps(self) -> list[Steps]:
        """The steps that each learner needs."""
        return [steps_of(training) for training in trainings(self.study.facts, "count").values()]

    @property
    def carried(self) -> CarriedOn | None:
        """What carrying on adds to a measured step, by all trainings end to end; None of too few."""
        return carried([f for f in self.study.facts.values() if isinstance(f, EndToEnd)], self.costs)

    @property
    def failed(self) -> list[EndToEnd]:
        """Trainings that did not run end to end."""
        return [f for f in self.study.facts.values() if isinstance(f, EndToEnd) and f.status != "ok"]

    def published(self) -> dict[str, list[dict[str, Any]]]:
        """What `quality --json` prints: the rows, and what compression forgets on the long-tailed draw."""
        rows = [{name: getattr(row, name) for name in worth.PUBLISHED} for row in self.worths]
        levels = [
            {name: getattr(row, name) for name in forgotten.PUBLISHED}
            for row in self.forgets
            if row.draw == "long_tailed"
        ]
        return {"rows": rows, "forgets": levels}


def outcome_of(folder: Path) -> Outcome:
    """A study's folder with its figures; StoreError where it cannot be read."""
    study = load_study(folder)
    steps = folder / STEPS
    run = load(steps) if (steps / INFO).is_file() and (steps / RECORDS).is_file() else None
    return figures(study, run)


def figures(study: Study, run: Run | None) -> Outcome:
    """The figures of a study and of the run in it."""
    costs = costs_of(study, run.records if run else [])
    return Outcome(
        study=study,
        run=run,
        costs=costs,
        worths=worth.worths(study.facts, costs),
        forgets=forgotten.all_forgets(study.facts),
        floors=list(forgotten.noise_floors(study.facts)),
    )


def costs_of(study: Study, records: Sequence[Record]) -> Mapping[tuple[str, str], StepCost]:
    """What a step of each learner costs at the shape of the study."""
    shape = msgspec.convert(study.info.shape, NetworkShape)
    axes: dict[str, Params] = {name: LEARNERS[name].axes(shape) for name in LEARNERS}
    return step_costs(records, axes)


def target_training(study: Study) -> Training | None:
    """The training of the twin that set the target; None where it is not there yet."""
    return next(iter(trainings(study.facts, "target").values()), None)
