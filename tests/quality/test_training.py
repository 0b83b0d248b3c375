"""Counting in NumPy: what comes of a seed depends on nothing but the seed, and is told as it goes."""

from __future__ import annotations

from harness.quality.images import split
from harness.quality.learners import LEARNERS, NetworkShape
from harness.quality.training import TOGETHER, most_right, train
from workloads.discovery import workloads

WORKLOADS = workloads()[0]
SHAPE = NetworkShape(batch=8, hidden=16)


def test_a_seed_comes_out_the_same_alone_and_among_others_on_any_number_of_threads():
    def trained(seeds, threads, told=lambda _: None):
        return train(
            LEARNERS["dense_mlp"], WORKLOADS["dense_mlp"], SHAPE, split(),
            seeds=seeds, rates=[0.3] * len(seeds), steps=20, every=10, threads=threads, told=told,
        )  # fmt: skip

    told: list[int] = []
    every = trained(range(TOGETHER + 2), 2, told.append)
    alone = trained([TOGETHER + 1], 1)
    assert every.correct[-1] == alone.correct[0]
    assert (every.weights["w0"][-1] == alone.weights["w0"][0]).all()
    assert every.weights["w0"].dtype == "float64"
    assert max(told) == 20
    assert told[0] < 20


def test_the_most_right_and_when_that_was_first_seen():
    assert most_right([[1, 3, 2, 3], [5]]) == ([3, 5], [2, 1])
