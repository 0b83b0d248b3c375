"""The formulas of useful FLOP and least bytes, against what XLA says of every program that it compiled.

`cost_analysis()` of the compiled step, which counts every operation of the program. TensorFlow has no maintained
counter of its own (its compiled programs are XLA's). Where a count and a formula differ, a table here says why.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from _counted import FOUND, counted_cases, made, opened_on_cpu

from backends.ops import Unsupported
from workloads.common.windows import out_side

# Programs of which XLA cannot count a part: the CSR product is a custom call, of unknown cost, and of a loop the body
# counts once. A gather has no FLOP at all.
XLA_BLIND = {
    ("row_gather", "forward", "take"),
    *(("selective_scan", "forward", f) for f in ("sequential", "hoisted", "chunked")),
    *(("spiking", "forward", f) for f in ("stepwise", "event_csr")),
    *(("unstructured_sparse", "forward", f) for f in ("csr", "csr_vector")),
    *(("unstructured_sparse", "train_step", f) for f in ("csr", "csr_gather", "csr_dense_sample", "autodiff_csr")),
    ("block_sparse", "forward", "csr"),
    *((name, "forward", "csr") for name in ("kaleidoscope", "stored_product")),
    *(("block_sparse", "train_step", f) for f in ("csr_dense_sample", "csr_bmm")),
}
# Convolutions with zero padding: XLA leaves out the taps that fall on the border, every formula in use counts them.
XLA_BORDER = {
    *(("dense_conv", f) for f in ("nhwc", "nchw")),
    *(("capsule_conv", f) for f in ("folded_layout", "folded_layout_nchw", "folded_conv")),
    *((name, f) for name in ("dense_cnn", "local_update") for f in ("nhwc", "nchw")),
}
# How much more than the useful FLOP XLA counts, where formulations do no more products than they must. What is more is
# relu, softmax, losses, normalisation and updates: at these small shapes up to an eighth, at real ones under a percent.
XLA_ELEMENTWISE = 0.13
DENSE = ("dense_matmul", "dense_conv", "dense_mlp", "dense_cnn", "capsule_conv", "forward_forward", "local_update")


@cache
def _counted_by_xla(workload_name, place, name):
    workload = FOUND[workload_name]
    formulation = workload.formulations[workload.presets["smoke"][place].mode][name]
    if "compiled" not in (formulation.executions or ("compiled",)):
        pytest.skip(f"{name} is not compiled")
    operands, step = made("jax", workload, place, name)
    jax = pytest.importorskip("jax")
    try:
        return jax.jit(step).lower(*operands).compile().cost_analysis()
    except Unsupported as refusal:
        pytest.skip(str(refusal))


def _inside(height, kernel, stride, padding):
    """Share of the taps of a padded convolution that fall inside the image."""
    side = out_side(height, kernel, stride, padding)
    taps = sum(0 <= stride * o + t - padding < height for o in range(side) for t in range(kernel))
    return (taps / (side * kernel)) ** 2


@pytest.mark.parametrize(("workload", "place", "name"), list(counted_cases()))
def test_xla_counts_at_least_the_useful_flop_and_the_least_bytes(workload, place, name):
    """A lower bound is one: no formulation does fewer FLOP or moves fewer bytes than the formulas, but for border taps.

    Formulations that pad, mask or recompute do more; those of the dense path more by elementwise work alone.
    """
    point = workload.presets["smoke"][place]
    if (workload.name, point.mode, name) in XLA_BLIND:
        pytest.skip("XLA cannot count its own CSR product, a custom call, nor how often a loop is run, nor a gather")
    cost = _counted_by_xla(workload.name, place, name)
    work = workload.work(workload.check(point.params), point.mode, 4)
    if name != "expanded":  # multiplied out ahead: one layer, where the formula counts the traffic of p
        assert cost["bytes accessed"] >= work.least_bytes
    excess = cost["flops"] / work.useful_flop - 1
    if workload.name in ("decision_forest", "table_product"):  # of a sum of n terms n − 1 are added
        columns = 10 if workload.name == "decision_forest" else int(point.params["m"])
        assert excess >= -int(point.params["n"]) * columns / work.useful_flop
        return
    if name == "sums":  # of b products b − 1 are added
        assert excess == pytest.approx(-1 / (2 * int(point.params["block"])))
        return
    if workload.name == "stream":
        assert abs(excess) < 1e-3  # XLA counts n−1 additions of a sum of n
    elif (workload.name, name) in XLA_BORDER or "conv2" in point.params.values():
        assert -0.25 - 0.07 < excess < XLA_ELEMENTWISE
    elif workload.name in DENSE:
        assert 0 <= excess < XLA_ELEMENTWISE
    else:
        assert excess >= 0


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
def test_xla_leaves_out_exactly_the_border_taps(place, layout):
    """With them the ordinary convolution's formula is met to the FLOP."""
    workload = FOUND["dense_conv"]
    params = workload.presets["smoke"][place].params
    inside = _inside(*(int(params[a]) for a in ("height", "kernel", "stride", "padding")))
    counted = _counted_by_xla("dense_conv", place, layout)["flops"]
    assert counted == pytest.approx(inside * workload.work(params, "forward", 4).useful_flop, rel=1e-9)


@pytest.mark.parametrize(
    ("workload", "place", "name"),
    [
        ("dense_matmul", 0, "nn"),
        ("dense_conv", 1, "nhwc"),
        ("capsule_conv", 0, "folded_layout"),
        ("stream", 0, "flat"),
    ],
)
def test_xla_moves_exactly_the_least_bytes_where_one_call_does_it_all(workload, place, name):
    """Each operand read once, the result written once, and as many FLOP as the formula has."""
    cost = _counted_by_xla(workload, place, name)
    work = FOUND[workload].work(FOUND[workload].presets["smoke"][place].params, "forward", 4)
    assert (cost["bytes accessed"], cost["flops"]) == (work.least_bytes, work.useful_flop)


def test_xla_counts_two_flop_a_non_zero_and_column_of_a_gathered_product():
    """A multiplication and an addition for each, no padding: the useful FLOP exactly."""
    for place in (0, 1):
        work = FOUND["unstructured_sparse"].work(
            FOUND["unstructured_sparse"].presets["smoke"][place].params, "forward", 4
        )
        assert _counted_by_xla("unstructured_sparse", place, "gather_segment")["flops"] == work.useful_flop


def test_elementwise_work_fades_at_real_shapes():
    """The MLP of the paper: XLA's count of a step, before any fusion, is within a percent of the formula."""
    jax = pytest.importorskip("jax")
    workload, ops = FOUND["dense_mlp"], opened_on_cpu("jax")
    params = workload.presets["quick"][0].params
    shapes = {name: jax.ShapeDtypeStruct(v.shape, np.float32) for name, v in workload.inputs(params, 0).items()}
    step = workload.formulations["train_step"]["autodiff"].step(ops, params)
    counted = jax.jit(step).lower(*shapes.values()).cost_analysis()["flops"]
    assert counted == pytest.approx(workload.work(params, "train_step", 4).useful_flop, rel=0.01)
