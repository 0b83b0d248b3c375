"""The facts of a study of quality, all frozen: what was trained, end to end too, and what compressed models answer.

Raw counts are kept, every figure is derived (`worth`, `forgotten`). The format's history:

schema 1 (2026-11): first; counted in float32, with all final weights.
schema 2 (2026-11): counted in float64, so that it can be trained again anywhere; weights of some end to end alone.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from backends.ops import Execution, Scalar
from harness.records.record import Status
from workloads.base import Value

SCHEMA = 2

Purpose = Literal["target", "count"]


class Tuned(msgspec.Struct, frozen=True, kw_only=True, tag="tuned"):
    """The learning rates tried: `best[i][j]`, the most validation images right of rate i and trial j in `steps`.

    `reached[i][j]` is the evaluation that first saw so many. `disagreement` is how far a step is from the workload's.
    """

    learner: str
    rates: list[float]
    seeds: list[int]
    steps: int
    every: int
    best: list[list[int]]
    reached: list[list[int]]
    rate: float
    disagreement: float

    @property
    def key(self) -> str:
        """What it is, in a study."""
        return f"tuned {self.learner}"


class Training(msgspec.Struct, frozen=True, kw_only=True, tag="training"):
    """Seeds trained at the tuned rate, `purpose` to set the target or to count the steps to it.

    `correct[i]` has the validation images right at each evaluation of seed i, `test_correct[i]` the test images at the
    end. `target` is None where none was known yet. All in float64: the same seed has the same counts on any machine.
    """

    learner: str
    purpose: Purpose
    rate: float
    seeds: list[int]
    steps: int
    every: int
    target: int | None
    correct: list[list[int]]
    test_correct: list[int]

    @property
    def key(self) -> str:
        """What it is, in a study."""
        return f"{self.purpose} {self.learner}"


class EndToEnd(msgspec.Struct, frozen=True, kw_only=True, tag="end_to_end"):
    """One training from its first step to the target in one framework, by the path that the measured run found best.

    `chunks_s` are the seconds of the steps between two evaluations. `counted` is the evaluation that saw the target
    where the same seed was trained in NumPy. `apart` is how far the weights then were from those of NumPy float64 at
    the first evaluation, relative to their change. The weights at the target or the end lie in the file `weights`,
    whose SHA-256 is `digest`; where they are not kept these are None, and so is `test_correct`: it is not stated.
    """

    learner: str
    backend: str
    formulation: str
    execution: Execution
    seed: int
    rate: float
    every: int
    target: int
    status: Status
    reason: str | None = None
    chunks_s: list[float] = []
    correct: list[int] = []
    counted: int | None = None
    test_correct: int | None = None
    apart: float | None = None
    weights: str | None = None
    digest: str | None = None

    @property
    def key(self) -> str:
        """What it is, in a study."""
        return f"end to end {self.learner} {self.backend} {self.seed}"


class Answers(msgspec.Struct, frozen=True, kw_only=True, tag="answers"):
    """What the models of one level of one method say of every test image: a digit each, a string a model.

    `counts` has the training images of each class, `rare` the classes of the tail. `method` is "dense" for the models
    that nothing was taken from, with the halves "first" and "second" as levels.
    """

    draw: str
    method: str
    level: str
    counts: list[int]
    rare: list[int]
    seeds: list[int]
    says: list[str]

    @property
    def key(self) -> str:
        """What it is, in a study."""
        return f"{self.draw} {self.method} {self.level}"


Fact = Tuned | Training | EndToEnd | Answers


class FactLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line of `quality.jsonl`."""

    schema: int
    study: str
    fact: Fact


class StudyInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What all lines of a study have in common: `quality.json`. `shape` is of the network and of a batch."""

    schema: int
    study: str
    started_at: str
    ended_at: str | None
    command: list[str]
    preset: str
    machine: dict[str, Scalar]
    versions: dict[str, str]
    settings: dict[str, Scalar]
    shape: dict[str, Value]
    sources: dict[str, str] = {}
    notes: list[str] = []
