"""`selective_scan` and the attention it is held against: formulas and states by hand, and an oracle that says no."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from backends.discovery import backends
from backends.ops import Device
from harness.measuring.correctness import epsilon, judge, rounded, upcast
from workloads.base import Point
from workloads.conformance import Attempt, Oracle, conformity
from workloads.discovery import workloads
from workloads.selective_scan import length

FOUND = workloads()[0]
WORKLOAD, ATTENTION = FOUND["selective_scan"], FOUND["causal_attention"]
ORACLE = Oracle(rounded, upcast, judge, epsilon)
OPS = backends()[0]["numpy"].open(Device("cpu"))


def _params(batch, steps, width, state):
    return WORKLOAD.check({"batch": batch, "steps": steps, "width": width, "state": state})


@pytest.mark.parametrize(
    ("axes", "expected"),
    [
        # 7·512 + 128 FLOP of 1·16·8·4 state values; 4·(3·128 + 2·64 + 32) bytes; and the state, 4·32
        ((1, 16, 8, 4), (3_712, 2_176, 2_304)),
        # 7·4 194 304 + 262 144; 4·(786 432 + 32 768 + 4096); and 4·8192
        ((2, 512, 256, 16), (29_622_272, 3_293_184, 3_325_952)),
    ],
)
def test_formulas_by_hand(axes, expected):
    work = WORKLOAD.work(_params(*axes), "forward", 4)
    assert (work.useful_flop, work.least_bytes, work.live_bytes) == expected


def test_twins_are_attention_and_a_linear_layer():
    """Attention of 512 steps: 2·2·512·513·256; the layer: 2·1024·256²."""
    flop = {
        t.kind: FOUND[t.workload].work(FOUND[t.workload].check(t.params), "forward", 4).useful_flop
        for t in WORKLOAD.twins(_params(2, 512, 256, 16), "forward")
    }
    assert flop == {"attention": 268_959_744, "linear": 134_217_728}


def test_states_by_hand():
    """exp(Δ·A) = ½: 2·3·1 = 6 comes in, is 3 a step later, and 1.5 + 2·1·5 in the third; C reads it twice."""
    delta = np.full((1, 3, 1), 2.0)
    x = {
        "x": np.array([3.0, 7, 1]).reshape(1, 3, 1),
        "delta": delta,
        "b": np.array([1.0, 0, 5]).reshape(1, 3, 1),
        "c": np.array([1.0, 1, 2]).reshape(1, 3, 1),
        "a": np.array([[-np.log(2) / 2]]),
    }
    y = WORKLOAD.reference(x, _params(1, 3, 1, 1), "forward")["y"]
    assert y.ravel().tolist() == pytest.approx([6, 3, 23])


def test_channels_and_values_of_a_state_forget_at_their_own_pace():
    """One event at the first step, read back later: exp(−2·3) and exp(−1·5) of it, in the channel where it came in."""
    x = {name: np.zeros(shape) for name, shape in (("x", (1, 4, 2)), ("b", (1, 4, 2)), ("c", (1, 4, 2)))}
    x["delta"] = np.broadcast_to(np.array([1.0, 5 / 3]), (1, 4, 2))
    x["a"] = np.array([[-1.0, -2], [-1, -2]])
    x["x"][0, 0, 0] = x["b"][0, 0, 1] = x["c"][0, 3, 1] = 1
    y = WORKLOAD.reference(x, _params(1, 4, 2, 2), "forward")["y"]
    assert y[0, 3].tolist() == pytest.approx([np.exp(-6), 0])
    x["x"][0, 0], x["b"][0, 0], x["c"][0, 3] = [0, 0.6], [1, 0], [1, 0]
    y = WORKLOAD.reference(x, _params(1, 4, 2, 2), "forward")["y"]
    assert y[0, 3].tolist() == pytest.approx([0, np.exp(-5)])


@pytest.mark.parametrize(("steps", "expected"), [(512, 16), (2048, 32), (16384, 128), (16, 4), (9, 3), (7, 7), (1, 1)])
def test_chunks_are_near_the_root(steps, expected):
    assert length(steps) in (expected, steps // expected)


def _planted(name, change):
    """What is said of a formulation whose inputs go through `change`."""
    point = WORKLOAD.presets["smoke"][0]
    right = WORKLOAD.formulations["forward"][name]
    wrong = replace(right, prepare=lambda ops, x, p: right.prepare(ops, change(dict(x)), p))
    definition = replace(WORKLOAD, formulations={"forward": {"planted": wrong}})
    (sentence,) = conformity(Attempt(definition, point, "planted", OPS, "eager", ORACLE))
    return sentence


def _reset(x):
    """As if the state were lost at the ninth step of one channel: nothing before it is kept."""
    delta = x["delta"].copy()
    delta[0, 8, 3] = 1e3
    return {**x, "delta": delta, "x": np.where(delta == 1e3, x["x"] * x["delta"] / 1e3, x["x"]).astype(x["x"].dtype)}


@pytest.mark.parametrize("name", ["sequential", "hoisted", "doubling", "chunked"])
@pytest.mark.parametrize(
    "change",
    [
        _reset,
        lambda x: {**x, "delta": np.roll(x["delta"], 1, axis=1)},  # a step forgets by what the one before it says
        lambda x: {**x, "a": x["a"][:, ::-1].copy()},
        lambda x: {**x, "b": x["c"], "c": x["b"]},
    ],
    ids=["state lost", "late", "other rates", "exchanged"],
)
def test_a_wrong_state_is_refused(name, change):
    assert "y is off by" in _planted(name, change)


def test_running_sums_are_no_numbers_after_many_steps():
    """Where it does not apply: the exponential of Σ Δ·A is out of float32's range, and the check says so."""
    params = {"batch": 1, "steps": 512, "width": 4, "state": 16}
    formulation = WORKLOAD.formulations["forward"]["cumsum"]
    assert formulation.applies(_params(1, 16, 8, 4))
    assert not formulation.applies(WORKLOAD.check(params))
    with np.errstate(all="ignore"):
        (found,) = conformity(Attempt(WORKLOAD, Point(params), "cumsum", OPS, "eager", ORACLE))
    assert "y has values that are not finite" in found


# -- attention --------------------------------------------------------------------------------------------------------


def _attended(q, k, v):
    params = {"batch": len(q), "steps": q.shape[2], "width": q.shape[1] * q.shape[3], "head": q.shape[3]}
    return ATTENTION.reference({"q": q, "k": k, "v": v}, ATTENTION.check(params), "forward")["y"]


def test_attention_by_hand():
    """Queries of zeros take the mean of the values so far; a large one takes the value of the key that it meets."""
    v = np.array([1.0, 3, 8]).reshape(1, 1, 3, 1)
    zero = np.zeros_like(v)
    assert _attended(zero, zero, v).ravel().tolist() == [1, 2, 4]
    k = np.array([0.0, 1, 0]).reshape(1, 1, 3, 1)
    assert _attended(zero + 1e4, k, v).ravel().tolist() == pytest.approx([1, 3, 3])


@pytest.mark.parametrize("name", ["masked", "blocked"])
def test_a_look_ahead_is_refused(name):
    point = ATTENTION.presets["smoke"][0]
    right = ATTENTION.formulations["forward"][name]

    def seeing(ops, x, p):
        *given, late = right.prepare(ops, x, p)
        late = late.copy()
        late[4, 5] = False
        return [*given, late]

    definition = replace(ATTENTION, formulations={"forward": {"planted": replace(right, prepare=seeing)}})
    assert conformity(Attempt(ATTENTION, point, name, OPS, "eager", ORACLE)) == []
    found = conformity(Attempt(definition, point, "planted", OPS, "eager", ORACLE))
    # a block of two steps has no key beyond its end, so that the fifth cannot see the sixth but within its own
    assert "y is off by" in found[0]


def test_heads_that_do_not_fit_are_refused_with_the_axis():
    params = ATTENTION.check({"batch": 1, "steps": 4, "width": 16, "head": 5})
    with pytest.raises(ValueError, match="axis head of causal_attention must divide width, found 5 for 16"):
        ATTENTION.work(params, "forward", 4)
    (attention, _) = WORKLOAD.twins(_params(1, 4, 96, 2), "forward")
    assert attention.params["head"] == 32
