"""`kaleidoscope`: formulas by hand, a matrix that is known, axes that are none, and an oracle that says no."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import hadamard

from backends.discovery import backends
from harness.errors import PlanError
from harness.measuring.correctness import judge
from harness.planning import plan
from workloads.discovery import workloads

FOUND = workloads()[0]
WORKLOAD = FOUND["kaleidoscope"]


def _params(m, n, block):
    return WORKLOAD.check({"m": m, "n": n, "block": block})


@pytest.mark.parametrize(
    ("m", "n", "block", "expected"),
    [
        # p = 2: 2·8·16·4·2 FLOP; 2·4·(64 + 2·128) bytes; alive: 4·(2·64 + 2·128)
        (16, 8, 4, (2048, 2560, 1536)),
        # p = 2 and p = 10 at 1024, N = 128; dense, p = 1: 2·128·1024² and 4·(1024² + 2·131072)
        (1024, 128, 32, (16_777_216, 2_359_296, 1_310_720)),
        (1024, 128, 2, (5_242_880, 10_567_680, 1_130_496)),
        (1024, 128, 1024, (268_435_456, 5_242_880, 5_242_880)),
    ],
)
def test_formulas_by_hand(m, n, block, expected):
    work = WORKLOAD.work(_params(m, n, block), "forward", 4)
    assert (work.useful_flop, work.least_bytes, work.live_bytes) == expected


def test_twins_are_the_dense_matrix_and_equal_work():
    params = _params(64, 8, 4)
    same, equal = WORKLOAD.twins(params, "forward")
    flop = {t.kind: FOUND[t.workload].work({**t.params}, "forward", 4).useful_flop for t in (same, equal)}
    assert flop == {"same_shape": 2 * 64 * 64 * 8, "equal_work": WORKLOAD.work(params, "forward", 4).useful_flop}


def _reference(w, x):
    params = _params(len(x), x.shape[1], w.shape[-1])
    return WORKLOAD.reference({"w": w, "x": x}, params, "forward")["y"]


@pytest.mark.parametrize("m", [2, 8, 64])
def test_a_butterfly_of_sums_and_differences_is_hadamard_s_matrix(m):
    """Blocks (1, 1; 1, −1) and the shuffles make the Walsh–Hadamard transform, whose matrix SciPy knows."""
    p = m.bit_length() - 1
    w = np.broadcast_to(np.array([[1.0, 1], [1, -1]]), (p, m // 2, 2, 2))
    assert (_reference(w, np.eye(m)) == hadamard(m)).all()


def test_one_block_is_a_dense_matrix():
    rng = np.random.default_rng(0)
    w, x = rng.standard_normal((1, 1, 5, 5)), rng.standard_normal((5, 3))
    assert np.allclose(_reference(w, x), w[0, 0] @ x)


@pytest.mark.parametrize(
    "plant",
    [
        lambda w: w[::-1],  # the factors in the other order
        lambda w: w.swapaxes(2, 3),  # every block transposed
        lambda w: np.concatenate([w[:, ::-1][:1], w[1:]]),  # the blocks of the first factor in the other order
        lambda w: np.where(np.arange(w[0].size).reshape(w[0].shape) == 7, 0, w),  # one value of each factor lost
    ],
)
def test_a_wrong_factor_is_refused(plant):
    params = _params(16, 8, 4)
    x = WORKLOAD.inputs(params, 0)
    expected = WORKLOAD.reference(x, params, "forward")
    tolerance = WORKLOAD.tolerances["float32", "forward"]
    assert judge(expected, expected, x, tolerance).agrees
    wrong = WORKLOAD.reference({**x, "w": plant(x["w"])}, params, "forward")
    assert not judge(wrong, expected, x, tolerance).agrees


def test_a_shuffle_left_out_is_refused():
    """Then the blocks of every factor see the same rows, and nothing mixes."""
    params = _params(16, 8, 4)
    x = WORKLOAD.inputs(params, 0)
    y = x["x"]
    for factor in x["w"]:
        y = (factor @ y.reshape(4, 4, 8)).reshape(16, 8)
    expected = WORKLOAD.reference(x, params, "forward")
    assert not judge({"y": y}, expected, x, WORKLOAD.tolerances["float32", "forward"]).agrees


@pytest.mark.parametrize(
    ("axes", "words"),
    [
        ({"m": 24}, "axis m of kaleidoscope must be a power of block 4, found 24"),
        ({"m": 2, "block": 4}, "axis m of kaleidoscope must be a power of block 4, found 2"),
        ({"block": 1}, r"axis block of kaleidoscope must be in 2…100000, found 1|2…1e\+05"),
    ],
)
def test_axes_that_do_not_fit_are_one_sentence_before_anything_runs(axes, words):
    ask = plan.Ask(preset="smoke", workloads=("kaleidoscope",), axes={name: (value,) for name, value in axes.items()})
    with pytest.raises(PlanError, match=words):
        plan.cases(ask, FOUND, backends()[0])


def test_it_is_in_no_quick_run():
    assert "quick" not in WORKLOAD.presets
