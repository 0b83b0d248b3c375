"""What `bench_best` times computes what the workloads compute, and a path that does not is refused, not timed."""

from __future__ import annotations

import time
from functools import partial

import numpy as np
import pytest
from _computations import IDEAS as IDEA_COMPUTATIONS
from _computations import Computation
from _interleaved import FRAMEWORKS, WORKLOADS, WrongTwinError, agree, beside
from bench_best import Path, Trial, duel

from harness.measuring.correctness import rounded, upcast

PRODUCTS = ("dense_matmul", "unstructured_sparse", "block_sparse", "dense_mlp")
IDEAS = tuple(dict.fromkeys(c.workload for c in IDEA_COMPUTATIONS if c.workload not in PRODUCTS))
# Of these every candidate can be called as it is, and quickly, though it is timed compiled alone.
UNCOMPILED = {
    ("jax", "early_exit"),
    ("jax", "kaleidoscope"),
    ("jax", "quantized_matmul"),
    ("tensorflow", "selective_scan"),
}


def _tiny(workload: str, mode: str):
    found = WORKLOADS[workload]
    params = found.check(next(p.params for p in found.presets["smoke"] if p.mode == mode))
    inputs = rounded(found.inputs(params, 0), "float32")
    return inputs, params, found.reference(upcast(inputs), params, mode)


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("workload", [*PRODUCTS, *IDEAS])
def test_candidates_agree_with_the_workload(workload, framework):
    """At the shapes of `smoke`, those that can run uncompiled; the benchmark itself checks each before it times it."""
    best, checked = beside(framework, "best"), 0
    for mode in ("forward", "train_step"):
        for name, candidate in best.CANDIDATES.get((workload, mode), {}).items():
            if "eager" not in best.ONLY.get(name, best.EXECUTIONS) and (framework, workload) not in UNCOMPILED:
                continue
            inputs, params, expected = _tiny(workload, mode)
            try:
                fn, args, named = candidate(inputs, params)
            except NotImplementedError:
                continue
            agree(named([best.host(o) for o in fn(*args)]), expected, upcast(inputs))
            checked += 1
    assert checked or framework == "jax"  # the products of JAX are mostly for its compiler


def _trial() -> Trial:
    return Trial({"y": np.ones(3)}, {}, [float("inf")])


def test_a_path_that_computes_something_else_is_refused():
    """Wrong numbers and errors alike: no time is taken of them, and the reason is kept."""
    trial = _trial()
    trial.consider("right", lambda: (lambda: np.ones(3), lambda y: {"y": y}))
    trial.consider("wrong", lambda: (lambda: np.full(3, 1.001), lambda y: {"y": y}))

    def broken():
        raise NotImplementedError("not here")

    trial.consider("broken", broken)
    assert [path.name for path in trial.paths] == ["right"]
    assert "y is off" in trial.refused["wrong"]
    assert trial.refused["broken"] == "not here"


def test_finalists_are_the_fastest_and_close_to_the_first():
    """A path that takes much longer than the first is not timed again."""

    def finalists(**paths):
        trial = _trial()
        trial.paths = [Path(name, partial(time.sleep, really), first) for name, (first, really) in paths.items()]
        return [path.name for path in trial.finalists()]

    assert sorted(finalists(c=(9.0, 0.009), a=(1.0, 0.001), b=(1.1, 0.001))) == ["a", "b"]
    assert finalists(a=(1.0, 0.001), b=(1.5, 0.003)) == ["a"]
    assert finalists(a=(1.0, 0.003), b=(1.5, 0.001)) == ["b"], "side by side decides, not the first few calls"


def test_looser_arithmetic_is_told_and_not_judged():
    """Set apart, the faster is no finalist; one that is no faster is not even told."""
    trial = _trial()
    trial.paths = [Path(name, partial(time.sleep, 0.001), seconds) for name, seconds in (("a x", 2.0), ("a fast", 1.5))]
    trial.set_apart(("fast",))
    assert [path.name for path in trial.finalists()] == ["a x"]
    assert trial.faster_but_looser() == "a fast: 0.75"
    trial.looser = [Path("a fast", time.sleep, 2.5)]
    assert trial.faster_but_looser() == ""


def test_a_side_without_a_path_that_agrees_has_no_ratio(monkeypatch):
    """Every candidate planted wrong: the duel refuses."""
    best, twins = beside("torch", "best"), beside("torch", "handwritten")

    def planted(inputs, params, execution="eager"):
        return lambda: (np.zeros((1, 1)),), [], lambda outputs: {"y": outputs[0]}

    monkeypatch.setitem(best.CANDIDATES, ("dense_matmul", "forward"), {"planted": planted})
    monkeypatch.setattr(best, "host", np.asarray)
    monkeypatch.setattr(best, "EXECUTIONS", {"eager": lambda fn, args: fn})
    monkeypatch.setitem(twins.TWINS, "dense_matmul", lambda *_: (lambda: (np.zeros((1, 1)),), [], list))
    axes = {"m": 4, "k": 4, "n": 2, "grads": "both"}
    with pytest.raises(WrongTwinError, match="no path of by_hand agrees"):
        duel(Computation("tiny", "dense_matmul", "forward", axes), "torch", 0.01)
