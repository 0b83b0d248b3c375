"""The oracle says no to every fault that a computation can have, and yes to rounding."""

from __future__ import annotations

import numpy as np
import pytest

from harness.measuring import correctness
from harness.measuring.correctness import epsilon, judge, rounded, upcast

RNG = np.random.default_rng(0)
W = RNG.standard_normal((64, 64))
NEW = W - 0.01 * RNG.standard_normal((64, 64))
REFERENCE = {"y": RNG.standard_normal((8, 8)), "w": NEW}


def _judge(tolerance=1e-4, **changed):
    return judge({**REFERENCE, **changed}, REFERENCE, {"w": W}, tolerance)


def test_the_reference_agrees_with_itself():
    assert _judge().agrees
    assert _judge().max_rel_error == 0


def test_rounding_within_the_tolerance_agrees():
    verdict = _judge(y=REFERENCE["y"].astype(np.float32))
    assert verdict.agrees
    assert 0 < verdict.max_rel_error < 1e-6


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"y": REFERENCE["y"] + 0.01}, "y is off by"),
        ({"y": REFERENCE["y"].T}, "y is off by"),
        ({"y": REFERENCE["y"][:4]}, "shape"),
        ({"y": np.where(REFERENCE["y"] > 0, np.nan, REFERENCE["y"])}, "not finite"),
        ({"w": W}, "the change of w is off by 1"),
        ({"w": 2 * W - NEW}, "the change of w is off by 2"),
        ({"w": W + 1.02 * (NEW - W)}, "the change of w is off by 0.02"),
        ({"z": np.ones(3)}, "expected"),
    ],
)
def test_a_fault_is_refused_with_its_name(changed, words):
    verdict = _judge(tolerance=0.1 if "w" in changed else 1e-4, **changed)
    assert not verdict.agrees
    assert words in verdict.reason


def test_a_missing_output_and_an_empty_one_are_refused():
    assert not judge({"y": REFERENCE["y"]}, REFERENCE, {}, 1e-4).agrees
    assert not judge({"y": np.ones((0, 3))}, {"y": np.ones((0, 3))}, {}, 1e-4).agrees


def test_a_bfloat16_update_may_lose_what_rounding_takes_but_must_be_there():
    """The new weight is rounded to 8 bits; no update at all is refused all the same."""
    inputs = upcast(rounded({"w": W}, "bfloat16"))
    reference = {"w": inputs["w"] + (NEW - W)}
    found = rounded(reference, "bfloat16")
    assert judge(found, reference, inputs, 2e-2, epsilon("bfloat16")).agrees
    assert not judge({"w": inputs["w"]}, reference, inputs, 2e-2, epsilon("bfloat16")).agrees
    assert not judge(found, reference, inputs, 2e-2).agrees


def test_inputs_are_rounded_before_the_reference_sees_them():
    """The other order gives a half-precision product an error that is nobody's."""
    x = rounded({"x": W, "i": np.arange(3, dtype=np.int32)}, "float16")
    assert x["x"].dtype == np.float16
    assert x["i"].dtype == np.int32
    assert np.array_equal(upcast(x)["x"], W.astype(np.float16).astype(np.float64))


def test_the_inputs_of_an_update_need_not_be_upcast():
    """A change is reckoned in float64 whatever dtype the inputs have: in float32 it would be lost in their rounding."""
    w = np.full(64, 1.0, np.float32)
    expected = {"w": w.astype(np.float64) - 1e-9}
    right, none = {"w": expected["w"]}, {"w": w}
    assert judge(right, expected, {"w": w}, 1e-6).agrees
    refused = judge(none, expected, {"w": w}, 1e-6)
    assert not refused.agrees
    assert "the change of w" in refused.reason


# -- decisions and gates -----------------------------------------------------------------------------------------------


def test_whole_numbers_must_be_equal_whatever_the_tolerance():
    """Of int8 products one sum of thousands that a kernel saturated is far inside any tolerance of floats."""
    exact = {"y": np.arange(10_000, dtype=np.int64)}
    assert judge({"y": exact["y"].astype(np.int32)}, exact, {}, 0.1).agrees
    saturated = judge({"y": np.minimum(exact["y"], 9_998)}, exact, {}, 0.1)
    assert not saturated.agrees
    assert "y differs in 1 of 10000 whole numbers" in saturated.reason


def _tied(swapped, ties):
    """Of 2 000 kept values `swapped` are dropped, and as many others kept; the first `ties` of each side are ties."""
    kept = np.where(np.arange(4_000) < 2_000, 1.0, 0.0)
    found, near = kept.copy(), np.zeros(4_000, bool)
    found[:swapped], found[2_000 : 2_000 + swapped] = 0.0, 1.0
    near[:ties] = near[2_000 : 2_000 + ties] = True
    return judge({"m": found}, {"m": kept, "near_ties.m": near}, {}, 1e-5)


def test_near_ties_may_be_decided_either_way_if_they_are_few():
    assert _tied(0, 5).agrees
    assert _tied(1, 5).agrees
    assert "decided the other way at 10 near ties, 2 allowed" in _tied(5, 5).reason
    assert "m is off by 1 of its largest value" in _tied(2, 1).reason


def test_a_gate_stands_beside_the_arithmetic():
    """Right arithmetic of bad quality agrees and does not pass; what has no gate has no error of it."""
    reference = {"y": np.array([3.0, 4.0]), "gate.y": np.array([3.0, 4.5])}
    inside, past = (judge({"y": reference["y"]}, reference, {}, 1e-5, gate_limit=limit) for limit in (0.1, 0.05))
    assert inside.agrees
    assert inside.passes
    assert inside.gate_error == past.gate_error == pytest.approx(0.5 / np.hypot(3, 4.5))
    assert past.agrees
    assert not past.passes
    assert "it is 0.092 away from what it stands for, 0.05 allowed" in past.reason
    plain = judge({"y": reference["y"]}, {"y": reference["y"]}, {}, 1e-5)
    assert plain.passes
    assert plain.gate_error is plain.gate_limit is None


@pytest.mark.parametrize("at", [0, 6, 7, 63], ids=["first", "end of a part", "start of a part", "last"])
def test_a_fault_is_seen_wherever_it_stands_in_what_is_compared_part_by_part(monkeypatch, at):
    """In a part of 7 of 64 values: a value that is off, one that is not finite, and a parameter that does not move."""
    monkeypatch.setattr(correctness, "PART", 7)
    assert _judge().agrees
    for fault, words in ((0.1, "y is off by"), (np.nan, "not finite")):
        y = REFERENCE["y"].copy()
        y.flat[at] += fault
        assert words in _judge(y=y).reason
    still = NEW.copy()
    still[at] = W[at]  # one row of 64: an eighth of the change
    assert "the change of w is off by 0.1" in _judge(tolerance=1.0, w=still).reason
