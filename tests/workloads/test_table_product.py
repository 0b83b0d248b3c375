"""`table_product`: formulas and codes by hand, axes that do not fit, an oracle that says no, the distance from X·Wᵀ."""

from __future__ import annotations

import numpy as np
import pytest

from backends.discovery import backends
from harness.errors import PlanError
from harness.measuring.correctness import judge
from harness.planning import plan
from workloads.discovery import workloads

FOUND = workloads()[0]
WORKLOAD = FOUND["table_product"]


def _params(n, k, m, books):
    return WORKLOAD.check({"n": n, "k": k, "m": m, "books": books})


@pytest.mark.parametrize(
    ("axes", "expected"),
    [
        # 16·4·16 + 4·16·4 operations; 4·(4·16·4 + 16·4·16 + 16·16) bytes
        ((16, 32, 16, 4), (1280, 6144)),
        # 1024·32·512 + 4·1024·32; 4·(131072 + 262144 + 524288)
        ((1024, 512, 512, 32), (16_908_288, 3_670_016)),
    ],
)
def test_formulas_by_hand(axes, expected):
    work = WORKLOAD.work(_params(*axes), "forward", 4)
    assert (work.useful_flop, work.least_bytes) == expected
    (twin,) = WORKLOAD.twins(_params(*axes), "forward")
    n, k, m, _ = axes
    assert FOUND[twin.workload].work(twin.params, "forward", 4).useful_flop == 2 * n * k * m


def _small():
    """One group of four columns, and a tree of which level l goes right above l: code 0b1010 for (1, 0, 3, 0) + ½."""
    thresholds = np.repeat([0.0, 1, 2, 3], [1, 2, 4, 8])[None, :]
    x = np.array([[1, 0, 3, 0], [0, 0, 0, 0], [9, 9, 9, 9], [0, 1, 2, 3]]) + np.array([0.5, 0.5, 0.5, 0.5])
    tables = np.arange(16.0).reshape(1, 16, 1)
    return {"x": x, "columns": np.arange(4, dtype=np.int32)[None, :], "thresholds": thresholds, "tables": tables}


def test_codes_by_hand():
    """0.5 > 0, 1.5 > 1, 2.5 > 2, 3.5 > 3: each bit by itself, the first level the highest."""
    y = WORKLOAD.reference(_small(), _params(4, 4, 1, 1), "forward")["y"]
    assert y[:, 0].tolist() == [0b1010, 0b1000, 0b1111, 0b1111]


def test_what_equals_a_threshold_goes_left():
    x = _small()
    x["x"] = np.array([[0.0, 1, 2, 3]])
    assert WORKLOAD.reference(x, _params(1, 4, 1, 1), "forward")["y"].tolist() == [[0]]


def test_a_node_s_threshold_depends_on_the_way_to_it():
    x = _small()
    x["thresholds"][0, 2] = 100  # the second level, right of the first
    x["x"] = np.array([[1.0, 50, 0, 0], [-1, 50, 0, 0]])
    assert WORKLOAD.reference(x, _params(2, 4, 1, 1), "forward")["y"].tolist() == [[0b1000], [0b0100]]


@pytest.mark.parametrize(
    "plant",
    [
        lambda x: {"columns": x["columns"][::-1]},  # the groups of columns in another order
        lambda x: {"thresholds": x["thresholds"] + 0.3},
        lambda x: {"tables": np.roll(x["tables"], 1, axis=1)},  # codes one off
        lambda x: {"tables": x["tables"] * np.array([0, 1, 1, 1])[:, None, None]},  # a group forgotten
    ],
)
def test_a_wrong_code_or_table_is_refused(plant):
    params = _params(16, 32, 16, 4)
    x = WORKLOAD.inputs(params, 0)
    expected = WORKLOAD.reference(x, params, "forward")
    wrong = WORKLOAD.reference({**x, **plant(x)}, params, "forward")
    tolerance = WORKLOAD.tolerances["float32", "forward"]
    assert judge(expected, expected, x, tolerance).agrees
    assert not judge(wrong, expected, x, tolerance).agrees


def test_codes_are_all_in_use_and_the_product_is_near():
    """On digits that the trees have not seen; a mean of all rows alone would be 1 on this scale."""
    params = _params(256, 256, 64, 16)
    x = WORKLOAD.inputs(params, 0)
    y = WORKLOAD.reference(x, params, "forward")["y"]
    w = np.random.default_rng([0, 1]).standard_normal((64, 256)) / np.sqrt(256)
    exact = x["x"] @ w.T
    away = exact - exact.mean(axis=0)
    assert np.linalg.norm(y - exact) / np.linalg.norm(away) < 0.65


@pytest.mark.parametrize("axes", [{"books": 5}, {"books": 16}, {"k": 33}])
def test_groups_that_do_not_fit_are_one_sentence_before_anything_runs(axes):
    ask = plan.Ask(preset="smoke", workloads=("table_product",), axes={a: (v,) for a, v in axes.items()})
    with pytest.raises(PlanError, match="axis books of table_product must divide k into groups of at least 4, found"):
        plan.cases(ask, FOUND, backends()[0])


def test_it_is_in_no_quick_run():
    assert "quick" not in WORKLOAD.presets
