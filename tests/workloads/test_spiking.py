"""`spiking`: formulas and spikes by hand, sums that are exact in any order, and an oracle that says no."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from backends.discovery import backends
from backends.ops import Device
from harness.errors import PlanError
from harness.measuring.correctness import epsilon, judge, rounded, upcast
from harness.planning import plan
from workloads.conformance import Attempt, Oracle, conformity
from workloads.discovery import workloads
from workloads.spiking import FORGOTTEN, grid

FOUND = workloads()[0]
WORKLOAD = FOUND["spiking"]
ORACLE = Oracle(rounded, upcast, judge, epsilon)
OPS = backends()[0]["numpy"].open(Device("cpu"))


def _params(n, steps, batch, rate):
    return WORKLOAD.check({"n": n, "steps": steps, "batch": batch, "rate": rate})


@pytest.mark.parametrize(
    ("axes", "expected"),
    [
        # 64 spikes to 16 neurons, and 4·256; a byte in and out, 4·256 of weights; the state of 32 neurons
        ((16, 8, 2, 0.25), (2_048, 1_536, 1_664)),
        # 81 920·512 + 4·819 200; 2·819 200 + 4·262 144; 4·8192
        ((512, 100, 16, 0.1), (45_219_840, 2_686_976, 2_719_744)),
    ],
)
def test_formulas_by_hand(axes, expected):
    work = WORKLOAD.work(_params(*axes), "forward", 4)
    assert (work.useful_flop, work.least_bytes, work.live_bytes) == expected


def test_the_twin_is_the_layer_on_values():
    (twin,) = WORKLOAD.twins(_params(512, 100, 16, 0.1), "forward")
    assert FOUND[twin.workload].work(twin.params, "forward", 4).useful_flop == 2 * 16 * 100 * 512 * 512


def _spikes(current):
    """Of one neuron that gets `current` (T,) by as many inputs, one a step."""
    steps = len(current)
    x = np.eye(steps, dtype=np.int8)[:, None, :]
    w = np.zeros((steps, steps))
    w[:, 0] = current
    made = WORKLOAD.reference({"x": x, "w": w}, _params(steps, steps, 1, 1 / steps), "forward")
    return made["spikes"][:, 0, 0].tolist(), made["near_ties.spikes"][:, 0, 0]


def test_spikes_by_hand():
    """¾; ⅜ + ¾ > 1; from nothing ¾ again; ⅜; 3/16 + 13/16 = 1, which is not above it; ½ + ¾."""
    spikes, near = _spikes([0.75, 0.75, 0.75, 0, 0.8125, 0.75])
    assert spikes == [0, 1, 0, 0, 0, 1]
    assert not near.any()


def test_what_rounding_may_decide_is_told_of_until_it_is_forgotten():
    _, near = _spikes([1 + 2.0**-24, *[0] * 40])
    assert near.tolist() == [True] * FORGOTTEN + [False] * (41 - FORGOTTEN)


@pytest.mark.parametrize(("n", "bits"), [(512, 8), (2048, 9), (16384, 11), (16, 6)])
def test_weights_lie_on_a_grid_and_sums_are_exact_in_any_order(n, bits):
    assert grid(n) == 2.0**-bits
    if n > 512:
        return
    x = WORKLOAD.inputs(_params(n, 20, 4, 0.1), 0)
    assert (x["w"] / grid(n) % 1 == 0).all()
    assert np.abs(x["w"]).max() / grid(n) < 2**11  # TF32 would hold them, too
    rows = x["x"].reshape(-1, n)
    exact = rows.astype(np.float64) @ x["w"]
    narrow = x["w"].astype(np.float32)
    assert (rows.astype(np.float32) @ narrow == exact).all()
    other = np.random.default_rng(0).permutation(n)
    total = np.zeros((len(rows), n), np.float32)
    for i in other:
        total += rows[:, i, None] * narrow[i]
    assert (total == exact).all()


def test_as_many_spikes_come_in_as_the_rate_says_and_some_go_out():
    params = _params(128, 40, 4, 0.1)
    x = WORKLOAD.inputs(params, 0)
    assert x["x"].dtype == np.int8
    assert int(x["x"].sum()) == 2048
    assert x["x"].mean(axis=0).std() > 0.08  # brighter pixels more often: at random it would be 0.05
    made = WORKLOAD.reference(x, params, "forward")
    assert 0.02 < made["spikes"].mean() < 0.2
    assert made["near_ties.spikes"].mean() < 1e-3


def _planted(name, change):
    """What is said of a formulation whose step's spikes or inputs go through `change`."""
    point = WORKLOAD.presets["smoke"][0]
    right = WORKLOAD.formulations["forward"][name]
    assert conformity(Attempt(WORKLOAD, point, name, OPS, "eager", ORACLE)) == []
    definition = replace(WORKLOAD, formulations={"forward": {"planted": change(right)}})
    (sentence,) = conformity(Attempt(definition, point, "planted", OPS, "eager", ORACLE))
    return sentence


@pytest.mark.parametrize("name", ["batched", "stepwise", "event_csr"])
def test_a_spike_too_many_is_refused(name):
    def one_more(right):
        def step(ops, p):
            def run(*operands):
                spikes = right.step(ops, p)(*operands)[0].copy()
                silent = np.argwhere(spikes == 0)[-1]
                spikes[tuple(silent)] = 1
                return (spikes,)

            return run

        return replace(right, step=step)

    assert "spikes differs in 1 of 256 whole numbers" in _planted(name, one_more)


@pytest.mark.parametrize("name", ["batched", "stepwise", "event_csr"])
def test_a_neuron_that_is_not_reset_or_gets_an_event_late_is_refused(name):
    def late(right):
        return replace(right, prepare=lambda ops, x, p: right.prepare(ops, {**x, "x": np.roll(x["x"], 1, axis=0)}, p))

    def weaker(right):
        return replace(right, prepare=lambda ops, x, p: right.prepare(ops, {**x, "w": x["w"] - np.float32(0.125)}, p))

    for change in (late, weaker):
        assert "whole numbers" in _planted(name, change)


def test_a_rate_that_leaves_no_spike_is_one_sentence_before_anything_runs():
    ask = plan.Ask(preset="smoke", workloads=("spiking",), axes={"rate": (1e-4,)})
    with pytest.raises(PlanError, match=r"axis rate of spiking leaves no spike, found 0\.0001 of 256 values"):
        plan.cases(ask, FOUND, backends()[0])
