"""The steps that are counted are the workloads' own."""

from __future__ import annotations

from dataclasses import replace
from threading import Event

import numpy as np
import pytest

from harness.errors import UserError
from harness.quality import study
from harness.quality.images import Images, split
from harness.quality.learners import IDEAS, LEARNERS, NetworkShape, disagreement, stacked
from harness.quality.presets import PRESETS
from harness.quality.sharing import EndedError, shared
from harness.quality.study import Learning, chosen
from harness.quality.training import HELD, batches, first_at, right, train
from workloads.discovery import workloads

WORKLOADS = workloads()[0]
SMALL = NetworkShape(batch=8, hidden=32)


@pytest.mark.parametrize("learner", LEARNERS.values(), ids=lambda learner: learner.name)
def test_a_step_is_the_step_of_the_workload(learner):
    assert disagreement(learner, WORKLOADS[learner.name], SMALL) < 1e-12


@pytest.mark.parametrize("learner", LEARNERS.values(), ids=lambda learner: learner.name)
def test_a_step_that_is_another_is_seen(learner):
    twice = replace(learner, step=lambda w, batch, rate: learner.step(w, batch, 1.001 * rate))
    assert disagreement(twice, WORKLOADS[learner.name], SMALL) > 1e-4


@pytest.mark.parametrize("learner", LEARNERS.values(), ids=lambda learner: learner.name)
def test_the_twin_is_the_workloads_principal_one_at_the_same_shape(learner):
    workload = WORKLOADS[learner.name]
    params = workload.check(learner.axes(SMALL))
    if learner.name == learner.baseline:
        return
    twin = workload.twins(params, "train_step")[0]
    assert twin.workload == learner.baseline
    assert WORKLOADS[twin.workload].check(twin.params) == WORKLOADS[twin.workload].check(_baseline(learner))


def _baseline(learner):
    return LEARNERS[learner.baseline].axes(SMALL)


def test_axes_that_ideas_share_have_one_value():
    """They are set for all ideas of the measured run at once."""
    seen = {}
    for name in IDEAS:
        for axis, value in LEARNERS[name].axes(NetworkShape()).items():
            assert seen.setdefault(axis, value) == value


def test_each_seed_of_many_is_trained_as_it_would_be_alone():
    learner, workload = LEARNERS["local_update"], WORKLOADS["local_update"]
    kwargs = {"steps": 20, "every": 10}
    both = train(learner, workload, SMALL, split(), seeds=[1, 2], rates=[0.1, 0.3], **kwargs)
    alone = train(learner, workload, SMALL, split(), seeds=[2], rates=[0.3], **kwargs)
    assert both.correct[1] == alone.correct[0]
    np.testing.assert_allclose(both.weights["w0"][1], alone.weights["w0"][0], rtol=1e-4, atol=1e-6)


def test_threads_change_nothing():
    learner, workload = LEARNERS["sparse_training"], WORKLOADS["sparse_training"]
    kwargs = {"seeds": [1, 2, 3], "rates": [0.1, 0.3, 0.2], "steps": 20, "every": 10}
    told = []
    apart = train(learner, workload, SMALL, split(), **kwargs, threads=2, told=told.append)
    together = train(learner, workload, SMALL, split(), **kwargs)
    assert apart.correct == together.correct
    assert told[-1] == 20
    for name, value in together.weights.items():
        np.testing.assert_array_equal(apart.weights[name], value)


def test_where_one_part_fails_the_others_end():
    begun, ended = Event(), []

    def part(of, go_on):
        if of.start == 0:
            begun.wait(10)
            raise ValueError("no")
        begun.set()
        try:
            while True:
                go_on()
        except EndedError:
            ended.append(of.start)
            raise

    with pytest.raises(ValueError, match="no"):
        shared(4, 2, part)
    assert ended == [2]


def test_a_seed_ends_when_the_target_was_held_and_the_others_go_on():
    learner, workload = LEARNERS["dense_mlp"], WORKLOADS["dense_mlp"]
    target = 100
    made = train(learner, workload, SMALL, split(), seeds=[1, 2], rates=[0.3, 1e-9], steps=150, every=10, target=target)
    quick, slow = made.correct
    assert first_at(quick, target, HELD) == len(quick) - HELD + 1 < 15
    assert len(slow) == 15
    assert max(slow) < target
    assert right(learner, made.weights, split().valid) == [quick[-1], slow[-1]]


def test_a_rate_that_diverges_is_no_error_and_learns_nothing():
    learner, workload = LEARNERS["dense_mlp"], WORKLOADS["dense_mlp"]
    made = train(learner, workload, SMALL, split(), seeds=[1], rates=[1e4], steps=20, every=10)
    assert max(made.correct[0]) <= 40


def test_a_batch_takes_every_image_once_before_any_comes_again():
    images = Images(np.arange(40.0)[:, None] * np.ones((1, 64)), np.arange(40) % 10)
    drawn = [next_["x"][:, 0] for next_, _ in zip(batches(LEARNERS["dense_mlp"], images, 0, 8), range(5), strict=False)]
    assert sorted(np.concatenate(drawn).tolist()) == list(range(40))


def test_first_at():
    assert first_at([1, 5, 4, 5, 5, 6], 5) == 2
    assert first_at([1, 5, 4, 5, 5, 6], 5, 3) == 4
    assert first_at([1, 5, 4], 6) is None


def test_forward_forward_answers_the_label_with_most_goodness():
    """One pixel of the label alone is passed on: the label whose pixel has the larger weight wins."""
    learner = LEARNERS["forward_forward"]
    w = {"w0": np.eye(64)[None], "w1": np.diag(np.r_[np.zeros(9), 1.0, np.zeros(54)])[None], "w2": np.eye(64)[None]}
    assert learner.predict(stacked([{k: v[0] for k, v in w.items()}]), split().test.x[:5]).tolist() == [[9] * 5]


def test_a_study_of_another_step_than_the_workloads_is_refused(monkeypatch):
    monkeypatch.setattr(study, "disagreement", lambda *_: 0.5)
    store = type("Store", (), {"facts": {}, "keep": None})()
    told = study.StudyProgress(lambda *_: None, lambda _: None, lambda: None)
    learning = Learning(store, PRESETS["smoke"], chosen(["local_update"]), WORKLOADS, 0, 1, told)
    with pytest.raises(UserError, match="not the workload's own"):
        learning.execute()
