"""The twins of `bench_handwritten` compute what the workloads compute, and one that does not is refused."""

from __future__ import annotations

import numpy as np
import pytest
from bench_handwritten import COMPUTATIONS, FRAMEWORKS, WrongTwinError, opened, pair

SMOKE = {c.workload: c for c in COMPUTATIONS}.values()


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("computation", SMOKE, ids=lambda c: c.workload)
def test_a_twin_agrees_with_the_workload(computation, framework):
    """At the shapes of `smoke`, in eager; the benchmark itself checks each execution before it measures it."""
    sides = pair(computation, framework, "eager", "smoke")
    sides.through()
    sides.by_hand()


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize(
    ("workload", "wrong", "words"),
    [
        ("dense_matmul", lambda out, _: (out[0] * 1.001,), "y is off"),
        ("dense_mlp", lambda out, operands: (out[0], *operands[2:]), "the change of w"),
        ("forward_forward", lambda out, _: (*out[:-1], out[-1] * float("nan")), "not finite"),
    ],
)
def test_a_wrong_twin_is_refused(framework, workload, wrong, words, monkeypatch):
    """Wrong numbers, parameters that did not change, and values that are not finite."""
    _, module = opened(framework)
    right = module.TWINS[workload]

    def planted(*args):
        twin = right(*args)
        return twin._replace(fn=lambda *operands: wrong(twin.fn(*operands), operands))

    monkeypatch.setitem(module.TWINS, workload, planted)
    computation = next(c for c in COMPUTATIONS if c.workload == workload)
    with pytest.raises(WrongTwinError, match=words):
        pair(computation, framework, "eager", "smoke")


def test_ratios_are_of_the_pairs():
    """The median of the pairs' ratios, not the ratio of medians: a slow spell that both sides share cancels."""
    from bench_handwritten import figures

    ratio, low, high = figures(np.array([[2.0, 1.0], [20.0, 10.0], [2.0, 1.0], [6.0, 3.0], [2.2, 1.0], [1.8, 1.0]]))
    assert ratio == pytest.approx(2)
    assert 1.8 <= low <= 2 <= high <= 2.2
