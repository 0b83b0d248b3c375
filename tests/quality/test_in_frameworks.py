"""Which seeds are trained end to end."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from harness.quality import in_frameworks
from harness.quality.facts import EndToEnd, Training
from harness.quality.in_frameworks import TRIED
from harness.quality.presets import PRESETS

SEVERAL = PRESETS["quick"].end_to_end


@pytest.fixture
def seeds(monkeypatch):
    """The seeds of two frameworks, where so many counted runs arrive and those that `arrives` says do in NumPy."""
    asked = []

    def of(reached, arrives):
        correct = [[170]] * reached + [[0]] * (20 - reached)
        trained = Training(
            learner="dense_mlp", purpose="count", rate=0.1, seeds=list(range(20)), steps=10, every=10, target=170,
            correct=correct, test_correct=[500] * 20,
        )  # fmt: skip

        def counted_at(learner, workload, shape, split, tried, rate, **_):
            asked.extend(tried)
            return [number if arrives(number) else None for number in tried]

        monkeypatch.setattr(in_frameworks, "counted_at", counted_at)
        counting = in_frameworks._Counting(None, None, PRESETS["quick"], trained, 1)
        return counting.seeds(100, 2), asked

    return of


def test_only_seeds_that_arrive_are_trained_and_each_framework_has_its_own(seeds):
    (first, second), asked = seeds(10, lambda number: number % 2)
    assert sorted([*first, *second]) == [101 + 2 * k for k in range(2 * SEVERAL)]
    assert len(first) == len(second) == SEVERAL
    assert all(at == own for place in (first, second) for own, at in place.items())
    assert len(asked) == len({*asked}) == 4 * SEVERAL


def test_no_more_are_tried_than_is_sensible_and_those_that_arrive_are_dealt_in_turn(seeds):
    found, asked = seeds(3, lambda number: number in (100, 103, 110))
    assert found == [{100: 100, 110: 110}, {103: 103}]
    assert len(asked) == TRIED * 2 * SEVERAL


def test_a_learner_that_hardly_ever_arrives_has_one_training_a_framework(seeds):
    found, asked = seeds(2, lambda number: number == 101)
    assert found == [{100: None}, {101: 101}]
    assert asked == [100, 101]


def test_an_accuracy_is_stated_only_of_the_one_training_of_a_kind_whose_weights_are_kept():
    facts = {}
    store = SimpleNamespace(
        facts=facts,
        keep=lambda fact: facts.update({fact.key: fact}),
        keep_weights=lambda name, weights: (f"weights/{name}.npz", "aa"),
    )
    trained = SimpleNamespace(rate=0.1, target=5, steps=10, every=5)

    def run(server, cost, *, seed, **_):
        fact = EndToEnd(
            learner="dense_mlp", backend=cost, formulation="f", execution="eager", seed=seed, rate=0.1, every=5,
            target=5, status="ok", test_correct=500,
        )  # fmt: skip
        return fact, {"w0": 1}

    for seed, backend in ((1, "numpy"), (2, "numpy"), (3, "torch")):
        in_frameworks._keep_trained(store, SimpleNamespace(run=run), None, backend, trained, seed, 1)
    assert [(fact.test_correct, fact.weights) for fact in facts.values()] == [
        (500, "weights/dense_mlp-numpy-1.npz"),
        (None, None),
        (500, "weights/dense_mlp-torch-3.npz"),
    ]
