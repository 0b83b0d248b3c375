"""`decision_forest`: formulas and walks by hand, axes out of range, an oracle that says no, trees that tell digits."""

from __future__ import annotations

import numpy as np
import pytest

from backends.discovery import backends
from harness.errors import PlanError
from harness.measuring.correctness import judge
from harness.planning import plan
from workloads.common import digits
from workloads.decision_forest import CLASSES, PIXELS, paths
from workloads.discovery import workloads

FOUND = workloads()[0]
WORKLOAD = FOUND["decision_forest"]


def _params(n, trees, depth):
    return WORKLOAD.check({"n": n, "trees": trees, "depth": depth})


@pytest.mark.parametrize(
    ("axes", "expected"),
    [
        # 8·4·(3 + 10); 4·8·74 + 4·(7·8 + 4·8·10)
        ((8, 4, 3), (416, 3872)),
        # 1024·100·16; 4·1024·74 + 100·(63·8 + 4·64·10)
        ((1024, 100, 6), (1_638_400, 609_504)),
    ],
)
def test_formulas_by_hand(axes, expected):
    work = WORKLOAD.work(_params(*axes), "forward", 4)
    assert (work.useful_flop, work.least_bytes) == expected


def test_the_twin_has_as_many_parameters():
    (twin,) = WORKLOAD.twins(_params(1024, 100, 6), "forward")
    forest = 100 * (63 * 2 + 64 * 10)
    assert twin.params["hidden"] * (PIXELS + CLASSES) == pytest.approx(forest, rel=0.01)


def _by_hand():
    """One tree of depth 2: pixel 5 above 3.5, then pixel 6 above 1.5 on the left, pixel 7 above 9.5 on the right."""
    x = np.zeros((4, PIXELS))
    x[:, 5], x[:, 6], x[:, 7] = [0, 3, 4, 16], [1, 2, 9, 0], [16, 16, 9, 10]
    leaves = np.zeros((1, 4, CLASSES))
    leaves[0, np.arange(4), np.arange(4)] = 1
    return {
        "x": x,
        "pixels": np.array([[5, 6, 7]], np.int32),
        "thresholds": np.array([[3.5, 1.5, 9.5]]),
        "leaves": leaves,
    }


def test_walks_by_hand():
    y = WORKLOAD.reference(_by_hand(), _params(4, 1, 2), "forward")["y"]
    assert y.argmax(axis=1).tolist() == [0, 1, 2, 3]
    assert y.sum() == 4


def test_ways_to_leaves_by_hand():
    assert paths(2).tolist() == [[-1, -1, 1, 1], [-1, 1, 0, 0], [0, 0, -1, 1]]


def test_thresholds_lie_between_whole_numbers_and_leaves_are_shares():
    x = WORKLOAD.inputs(_params(8, 12, 5), 3)
    assert (x["x"] == np.round(x["x"])).all()
    assert set(np.unique(x["thresholds"] % 1)) == {0.5}
    assert x["thresholds"].max() < 16
    assert np.allclose(x["leaves"].sum(axis=2), 1 / 12)


def test_a_forest_tells_digits():
    params = _params(1797, 60, 6)
    x = WORKLOAD.inputs(params, 0)
    x = {**x, "x": digits.pixels()}
    found = WORKLOAD.reference(x, params, "forward")["y"].argmax(axis=1)
    assert (found == digits.classes()).mean() > 0.8


@pytest.mark.parametrize(
    "plant",
    [
        lambda x: {"thresholds": x["thresholds"] + 1},
        lambda x: {"pixels": np.roll(x["pixels"], 1, axis=1)},
        lambda x: {"leaves": x["leaves"][:, ::-1]},  # left is right
        lambda x: {"leaves": x["leaves"] * np.array([1, 1, 1, 0])[:, None, None]},  # a tree forgotten
    ],
)
def test_a_wrong_way_is_refused(plant):
    params = _params(8, 4, 3)
    x = WORKLOAD.inputs(params, 0)
    expected = WORKLOAD.reference(x, params, "forward")
    wrong = WORKLOAD.reference({**x, **plant(x)}, params, "forward")
    tolerance = WORKLOAD.tolerances["float32", "forward"]
    assert judge(expected, expected, x, tolerance).agrees
    assert not judge(wrong, expected, x, tolerance).agrees


@pytest.mark.parametrize(("axis", "value"), [("depth", 40), ("depth", 0), ("trees", 0)])
def test_axes_out_of_range_are_one_sentence_before_anything_runs(axis, value):
    ask = plan.Ask(preset="smoke", workloads=("decision_forest",), axes={axis: (value,)})
    with pytest.raises(PlanError, match=f"axis {axis} of decision_forest must be in"):
        plan.cases(ask, FOUND, backends()[0])


def test_it_is_in_no_quick_run():
    assert "quick" not in WORKLOAD.presets


def test_dense_products_are_left_out_where_they_would_take_minutes():
    gemm = WORKLOAD.formulations["forward"]["gemm"]
    at = {preset: gemm.applies(WORKLOAD.presets[preset][0].params) for preset in WORKLOAD.presets}
    assert at == {"smoke": True, "ideas": True, "standard": True, "full": False}
