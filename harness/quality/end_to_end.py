"""Trains from the first step to the target in one framework, and holds that against what steps × seconds foretold."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np

from backends.ops import HostArray
from harness.quality.costs import StepCost
from harness.quality.facts import EndToEnd
from harness.quality.images import Split
from harness.quality.learners import Learner, NetworkShape, Weights
from harness.quality.training import batches, first_at, right, right_in_float64, train
from harness.records.record import Case
from harness.worker.carry_on import BATCHES, INPUTS
from harness.worker.client import Server
from harness.worker.messages import TrainingJob
from workloads.base import Definition

AGREES = 1e-2  # of the weights' change after the first chunk: float32 by another order of sums stays far below
SLACK = 3  # evaluations beyond the one that saw the target where the same seed was trained in NumPy


def counted_at(
    learner: Learner, workload: Definition, shape: NetworkShape, split: Split, seeds: Sequence[int], rate: float, *,
    target: int, steps: int, every: int, threads: int = 1,
) -> list[int | None]:  # fmt: skip
    """The evaluation that first sees the target where each seed is trained in NumPy; None where none does."""
    trained = train(
        learner, workload, shape, split, seeds=seeds, rates=[rate] * len(seeds), steps=steps, every=every,
        target=target, threads=threads,
    )  # fmt: skip
    return [first_at(correct, target) for correct in trained.correct]


class EndToEndTrainer:
    """Trains one learner in the frameworks' servers; `scratch` is a folder of its own for batches and weights."""

    def __init__(
        self,
        learner: Learner,
        workload: Definition,
        shape: NetworkShape,
        split: Split,
        *,
        scratch: Path,
        timeout_s: float,
    ) -> None:
        self._learner, self._workload, self._shape, self._split = learner, workload, shape, split
        self._scratch, self._timeout_s = scratch, timeout_s

    def run(
        self, server: Server, cost: StepCost, *, seed: int, rate: float, target: int, steps: int, every: int,
        counted: int | None,
    ) -> tuple[EndToEnd, Weights | None]:  # fmt: skip
        """What came of one seed by the path of `cost`, and its weights at the target or the end; None where it failed.

        At most `steps`; no more than SLACK evaluations past the one at which NumPy's arrived, where it did.
        """
        if counted is not None:
            steps = min(steps, (counted + SLACK) * every)
        params = self._workload.check(self._learner.axes(self._shape))
        case = Case(
            workload=self._learner.name,
            formulation=cost.formulation,
            params=dict(params),
            dtype="float32",
            mode="train_step",
            backend=cost.backend,
            execution=cost.execution,  # type: ignore[arg-type]
            device="cpu",
            seed=seed,
        )
        fact = EndToEnd(
            learner=self._learner.name, backend=cost.backend, formulation=cost.formulation, execution=case.execution,
            seed=seed, rate=rate, every=every, target=target, status="ok", counted=counted,
        )  # fmt: skip
        shutil.rmtree(self._scratch, ignore_errors=True)
        first = self._learner.weights(self._workload, self._shape, seed)
        given = self._write(first, seed, steps)
        job = TrainingJob(
            case=case, data=str(self._scratch), rate=rate, steps=steps, every=every,
            batch=len(self._learner.operands), parameters=list(first), keep=cost.kept,
        )  # fmt: skip
        answer = server.run(job, self._timeout_s).measured
        if answer.status != "ok":
            return _with(fact, status=answer.status, reason=answer.reason), None
        return self._judged(fact, answer.samples_s, first, given, every)

    def _write(self, first: Weights, seed: int, steps: int) -> Mapping[str, HostArray]:
        """The first operands and the batches of every step, in float32, where the server reads them."""
        stream = batches(self._learner, self._split.train, seed, self._shape.batch)
        several = list(itertools.islice(stream, steps))
        given = {name: np.stack([one[name] for one in several]).astype(np.float32) for name in self._learner.operands}
        patterns = self._learner.patterns(self._workload, self._shape, seed)
        operands = {**{name: values[0] for name, values in given.items()}, **first, **patterns}
        for folder, arrays in ((INPUTS, operands), (BATCHES, given)):
            (self._scratch / folder).mkdir(parents=True)
            for name, values in arrays.items():
                exact = values.astype(np.float32) if values.dtype.kind == "f" else values
                np.save(self._scratch / folder / f"{name}.npy", exact)
        return given

    def _judged(
        self, fact: EndToEnd, chunks_s: Sequence[float], first: Weights, given: Mapping[str, HostArray], every: int
    ) -> tuple[EndToEnd, Weights | None]:
        correct: list[int] = []
        weights: Weights = {}
        apart = 0.0
        for number in range(1, len(chunks_s) + 1):
            with np.load(self._scratch / f"{number}.npz", allow_pickle=False) as saved:
                weights = {name: saved[name] for name in first}
            if number == 1:
                apart = self._apart(first, weights, given, every, fact.rate)
                if not apart <= AGREES:
                    said = f"its weights are {apart:.2g} of their change off those of NumPy after {every} steps"
                    return _with(fact, status="wrong", reason=f"{said}; at most {AGREES:g} is allowed"), None
            correct += right(self._learner, _one(weights), self._split.valid)
            if correct[-1] >= fact.target:
                break
        test = right_in_float64(self._learner, _one(weights), self._split.test)[0]
        return _with(fact, chunks_s=list(chunks_s), correct=correct, test_correct=test, apart=apart), weights

    def _apart(self, first: Weights, found: Weights, given: Mapping[str, HostArray], steps: int, rate: float) -> float:
        """How far the weights after the first chunk are from NumPy's in float64, as a share of their change."""
        weights = {name: value[None].astype(np.float32).astype(np.float64) for name, value in first.items()}
        begun = {name: value.copy() for name, value in weights.items()}
        for number in range(steps):
            batch = {name: values[number][None].astype(np.float64) for name, values in given.items()}
            self._learner.step(weights, batch, np.full((1, 1, 1), rate))
        off = sum(float(np.sum((weights[k][0] - found[k]) ** 2)) for k in weights)
        moved = sum(float(np.sum((weights[k] - begun[k]) ** 2)) for k in weights)
        return float(np.sqrt(off / moved)) if moved else float("inf")


def _one(weights: Weights) -> Weights:
    return {name: value[None] for name, value in weights.items()}


def _with(fact: EndToEnd, **more: object) -> EndToEnd:

    return msgspec.structs.replace(fact, **more)
