"""Trainings end to end, in this process with NumPy: they take the workload's own step, and another is seen."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from backends.ops import Unsupported
from harness.quality.costs import StepCost
from harness.quality.end_to_end import AGREES, EndToEndTrainer, counted_at
from harness.quality.images import split
from harness.quality.learners import LEARNERS, NetworkShape
from harness.worker import carry_on
from harness.worker.messages import Measured
from workloads.discovery import workloads

WORKLOADS = workloads()[0]
SHAPE = NetworkShape(batch=8, hidden=32)
EVERY = 10


class InProcess:
    """A server that does a job here; `spoil` changes the job."""

    def __init__(self, spoil=lambda job: job):
        self.spoil = spoil

    def run(self, job, timeout_s):
        job = self.spoil(job)
        return SimpleNamespace(measured=carry_on.carry_on(job, WORKLOADS[job.case.workload], lambda _: None))


def trained(name, formulation, tmp_path, server=None, rate=0.3, steps=40, counted=None, target=180):
    learner = LEARNERS[name]
    nothing = dict.fromkeys(
        ("kept", "time_low_s", "time_high_s", "spread", "energy_j", "energy_low_j", "energy_high_j")
    )
    cost = StepCost(
        workload=name, backend="numpy", formulation=formulation, execution="eager", time_s=1, processes=1,
        energy_source="none", **nothing,
    )  # fmt: skip
    trainer = EndToEndTrainer(learner, WORKLOADS[name], SHAPE, split(), scratch=tmp_path / "scratch", timeout_s=60)
    return trainer.run(
        server or InProcess(), cost, seed=5, rate=rate, target=target, steps=steps, every=EVERY, counted=counted
    )


@pytest.mark.parametrize(
    ("name", "formulation"),
    [
        ("dense_mlp", "by_hand"),
        ("dense_mlp", "by_hand_transposed"),
        ("local_update", "by_hand"),
        ("local_update", "by_hand_transposed"),
        ("forward_forward", "by_hand"),
        ("sparse_training", "masked_dense"),
        ("sparse_training", "csr_dense_sample"),
        ("sparse_training", "constant_fan_in"),
    ],
)
def test_every_formulation_trains_at_the_rate_that_was_tuned(name, formulation, tmp_path):
    """At three times the workload's own rate."""
    fact, weights = trained(name, formulation, tmp_path)
    assert fact.status == "ok", fact.reason
    assert fact.apart < 1e-4
    assert len(fact.chunks_s) == len(fact.correct) == 4
    assert {*weights} == {*LEARNERS[name].weights(WORKLOADS[name], SHAPE, 5)}


def test_the_target_is_seen_where_it_was_counted(tmp_path):
    learner = LEARNERS["local_update"]
    (at,) = counted_at(learner, WORKLOADS["local_update"], SHAPE, split(), [5], 0.3, target=120, steps=200, every=EVERY)
    fact, _ = trained("local_update", "by_hand", tmp_path, steps=200, counted=at, target=120)
    assert abs(len(fact.correct) - at) <= 1
    assert fact.correct[-1] >= 120
    assert len(fact.chunks_s) == min(at + 3, 20)


def test_a_step_at_another_rate_is_wrong(tmp_path, monkeypatch):
    monkeypatch.setattr(carry_on, "at_rate", lambda *_: None)
    fact, weights = trained("dense_mlp", "by_hand", tmp_path)
    assert fact.status == "wrong"
    assert f"at most {AGREES:g} is allowed" in fact.reason
    assert weights is None


def test_a_framework_that_refuses_is_a_result(tmp_path):
    class Refusing:
        def run(self, job, timeout_s):
            return SimpleNamespace(measured=Measured(status="unsupported", reason="no such thing"))

    fact, weights = trained("dense_mlp", "by_hand", tmp_path, server=Refusing())
    assert (fact.status, fact.reason, weights) == ("unsupported", "no such thing", None)


def test_a_step_that_gives_back_what_it_does_not_take_cannot_be_carried_on():
    ops = SimpleNamespace(wait=lambda _: None)
    with pytest.raises(Unsupported, match="cannot be carried on"):
        carry_on._warm(ops, lambda _, w: (w[0].sum(), w[0][:1]), [np.ones(3)], [np.ones((2, 2))])
