"""The formulas of useful FLOP and least bytes, against what the frameworks' own counters say of every formulation.

PyTorch: `torch.utils.flop_counter.FlopCounterMode`, of the eager run. It knows products and convolutions alone, and
of those only the shapes. XLA: `cost_analysis()` of the compiled step, which counts every operation of the program.
TensorFlow has no maintained counter of its own (its compiled programs are XLA's). Where a counter and a formula differ
the difference is in one of the tables here, with its reason and, for PyTorch, to the last FLOP.
"""

from __future__ import annotations

import importlib.util
from functools import cache

import numpy as np
import pytest

from backends.discovery import backends
from backends.ops import Device, Unsupported
from harness.measuring.correctness import rounded
from workloads.base import Parameters
from workloads.common import sparse
from workloads.common.block_products import block_pattern
from workloads.common.routing_forms import sizes
from workloads.common.scattered import pattern_of
from workloads.common.windows import out_side
from workloads.discovery import workloads
from workloads.kaleidoscope import factors

FOUND, _ = workloads()


@cache
def _ops(name):
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    return backends()[0][name].open(Device("cpu"))


# Of the ideas that execute something else in most of their formulations, those that do what their formula says.
AS_USEFUL = {
    "structured_pruned": {"sliced", "sliced_transposed", "taken", "sliced_by_hand", "sliced_autodiff"},
    "quantized_matmul": {"converted", "converted_rows", "unpacked"},
    "nm_sparse": set(),
    "mixture_of_experts": {"sorted_loop"},
    "early_exit": {"compacted", "sorted_prefix"},
    "sparse_training": set(),
}


def _cases():
    for workload in FOUND.values():
        for place, point in enumerate(workload.presets["smoke"]):
            for name, formulation in workload.formulations[point.mode].items():
                if place and workload.name in AS_USEFUL:
                    continue  # the first point tells
                if formulation.applies(point.params) and name in AS_USEFUL.get(workload.name, {name}):
                    yield pytest.param(workload, place, name, id=f"{workload.name}-{point.mode}-{place}-{name}")


@cache
def _inputs(name, place):
    workload = FOUND[name]
    return rounded(workload.inputs(workload.check(workload.presets["smoke"][place].params), 0), "float32")


def _made(framework, workload, place, name):
    """The operands and the step of a formulation, in a framework; skipped where the framework refuses."""
    ops, point = _ops(framework), workload.presets["smoke"][place]
    params = Parameters(workload.check(point.params))
    formulation = workload.formulations[point.mode][name]
    try:
        return formulation.prepare(ops, _inputs(workload.name, place), params), formulation.step(ops, params)
    except Unsupported as refusal:
        pytest.skip(f"{framework}: {refusal}")


# -- PyTorch -----------------------------------------------------------------------------------------------------------


def _counted_by_torch(step, operands):
    counter = pytest.importorskip("torch.utils.flop_counter")
    with counter.FlopCounterMode(display=False) as mode:
        step(*operands)
    return mode.get_total_flops()


def _dense(params):
    """FLOP of one product of the same shape with A's zeros stored."""
    m, k, n = sparse.shape(params)
    return 2 * m * k * n


def _vectors(params):
    """The product with one column is a matrix-vector product, for which the counter has no rule."""
    return _dense(params) * (sparse.shape(params)[2] > 1)


def _padded(pattern, params, block):
    """FLOP of one product with every row padded to the longest."""
    return 2 * pattern.shape[0] * pattern.longest * block**2 * sparse.shape(params)[2]


def _ell(params, x):
    return _padded(pattern_of(x, params), params, 1) * (sparse.shape(params)[2] > 1)


def _ell_blocks(params, x):
    return _padded(block_pattern(x, params), params, int(params["block"]))


def _ell_step(params, x):
    pattern, block = block_pattern(x, params), int(params["block"])
    return 2 * _padded(pattern, params, block) + _padded(pattern.transposed()[0], params, block)


def _product(params):
    """FLOP of û, 2BIJDd, and of one pass over it, 2BIJD."""
    b, i, j, d, D, rounds = sizes(params)
    return 2 * b * i * j * d * D, 2 * b * i * j * D, rounds


def _routing(forward_products, forward_passes, step_products, step_passes):
    def forward(params, x):
        product, a_pass, rounds = _product(params)
        return forward_products(rounds) * product + forward_passes(rounds) * a_pass

    def step(params, x):
        product, a_pass, rounds = _product(params)
        return step_products(rounds) * product + step_passes(rounds) * a_pass

    return forward, step


# û and its gradient to W; every pass is a multiplication and a sum, which the counter does not see
_TEXTBOOK = _routing(lambda r: 1, lambda r: 0, lambda r: 2, lambda r: 0)
# every pass a batched product, but the first: its coupling is the constant 1/J and it is a sum
_MATMUL = _routing(lambda r: 1, lambda r: 2 * r - 2, lambda r: 2, lambda r: 3 * (2 * r - 2))
# û is recomputed: a product as large as the one that makes it takes the place of every pass but the first
_FOLDED = _routing(lambda r: 2 * r - 1, lambda r: 0, lambda r: 3 * (2 * r - 1) - 1, lambda r: 0)


def _forest_products(p):
    """Of a row and a tree: 64 pixels to the nodes, the nodes to the leaves, the leaves to ten classes."""
    nodes, leaves = 2 ** p["depth"] - 1, 2 ** p["depth"]
    return 2 * p["n"] * p["trees"] * (64 * nodes + nodes * leaves + 10 * leaves)


_NOTHING = lambda params, x: 0  # noqa: E731 - a row of the table
_SPARSE_AS_DENSE = lambda params, x: _vectors(params)  # noqa: E731
_EVERY_AS_DENSE = lambda params, x: _dense(params)  # noqa: E731

# What FlopCounterMode says where that is not the useful FLOP.
# 1. `mm` of a sparse operand counts as the dense product of that shape.
# 2. `mv`, `embedding_bag`, oneDNN's convolution with packed filters, gathers, segment sums, `sampled_addmm`,
#    elementwise operations and sums count as nothing.
# 3. Padding is multiplied, and counted.  4. Recomputation is done, and counted.
TORCH_DIFFERS = {
    ("stream", "forward", "flat"): lambda params, x: 2 * x["x"].size * (params["kernel"] == "dot"),  # 2: triad
    **{("stream", "forward", f): _NOTHING for f in ("vector", "rows")},  # 2
    ("stored_product", "forward", "csr"): lambda p, x: 2 * p["rows"] * p["columns"] * p["n"],  # 1
    ("stored_product", "forward", "bag"): _NOTHING,
    ("polynomial", "forward", "horner"): _NOTHING,  # 2
    ("row_gather", "forward", "take"): _NOTHING,
    ("row_scatter", "forward", "segment_sum"): _NOTHING,  # 2
    **{("unstructured_sparse", "forward", f): _SPARSE_AS_DENSE for f in ("csr", "coo", "bsr")},  # 1, and 2 at n=1
    **{("unstructured_sparse", "forward", f): _EVERY_AS_DENSE for f in ("csc", "masked_dense")},  # 1
    **{("unstructured_sparse", "forward", f): _NOTHING for f in ("bag", "csr_vector")},  # 2
    ("dense_matmul", "forward", "vector"): _NOTHING,  # 2
    ("dense_conv", "forward", "nhwc_packed"): _NOTHING,  # 2
    ("capsule_conv", "forward", "folded_packed"): _NOTHING,  # 2
    ("unstructured_sparse", "forward", "gather_segment"): _NOTHING,  # 2
    ("unstructured_sparse", "forward", "ell"): _ell,  # 3, and 2 at n=1
    **{
        ("unstructured_sparse", "train_step", f): (lambda p, x: 2 * _dense(p)) for f in ("csr", "csr_gather")
    },  # 1 and 2
    **{
        ("unstructured_sparse", "train_step", f): (lambda p, x: 3 * _dense(p))
        for f in ("csr_dense_sample", "csr_transposing", "autodiff_csr", "autodiff_coo", "masked_dense")
    },  # 1
    **{
        ("unstructured_sparse", "train_step", f): _NOTHING
        for f in ("bag", "bag_gather", "autodiff_bag", "gather_segment")
    },  # 2
    ("unstructured_sparse", "train_step", "bag_dense_sample"): lambda p, x: _dense(p),  # 2; ∂A is formed dense
    **{("block_sparse", "forward", f): _EVERY_AS_DENSE for f in ("bsr", "csr", "masked_dense")},  # 1
    ("block_sparse", "forward", "bag"): _NOTHING,  # 2
    ("block_sparse", "forward", "ell_bmm"): _ell_blocks,  # 3
    ("block_sparse", "train_step", "bsr_bmm"): lambda p, x: 2 * _dense(p) + 2 * x["a"].size * int(p["n"]),  # 1
    ("block_sparse", "train_step", "csr_bmm"): lambda p, x: 2 * _dense(p) + 2 * x["a"].size * int(p["n"]),  # 1
    ("block_sparse", "train_step", "bag_bmm"): lambda p, x: 2 * x["a"].size * int(p["n"]),  # 2
    **{("block_sparse", "train_step", f): (lambda p, x: 3 * _dense(p)) for f in ("csr_dense_sample", "masked_dense")},
    ("block_sparse", "train_step", "bag_dense_sample"): lambda p, x: _dense(p),  # 2; ∂A is formed dense
    ("block_sparse", "train_step", "ell_bmm"): _ell_step,  # 3
    **{("decision_forest", "forward", f): _NOTHING for f in ("traverse", "compare_all")},  # 2
    ("decision_forest", "forward", "gemm"): lambda p, x: _forest_products(p),  # three dense products
    **{("table_product", "forward", f): _NOTHING for f in ("take_sum", "by_codebook")},  # 2
    ("table_product", "forward", "one_hot"): lambda p, x: 2 * p["n"] * x["tables"].size,  # zeros are multiplied
    ("kaleidoscope", "forward", "sums"): _NOTHING,  # 2
    ("kaleidoscope", "forward", "csr"): lambda p, x: len(x["w"]) * 2 * p["m"] ** 2 * p["n"],  # 1
    ("kaleidoscope", "forward", "expanded"): lambda p, x: 2 * p["m"] ** 2 * p["n"],  # multiplied out: dense
    **{
        ("capsule_routing", mode, name): rule[mode == "train_step"]
        for mode in ("forward", "train_step")
        for name, rule in {
            "textbook": _TEXTBOOK,  # 2
            "matmul": _MATMUL,  # 2
            "folded": _FOLDED,  # 4
            "folded_halves": _FOLDED,  # 4
            "folded_blocks": _FOLDED,  # 4
            "folded_small_blocks": _FOLDED,  # 4
            "folded_by_hand": _FOLDED,  # 4
        }.items()
    },
}


def _expected_by_torch(workload, place, name, scale=1):
    point = workload.presets["smoke"][place]
    params, x = workload.check(point.params), _inputs(workload.name, place)
    rule = TORCH_DIFFERS.get((workload.name, point.mode, name))
    useful = scale * workload.work(params, point.mode, 4).useful_flop
    return useful if rule is None else rule(Parameters(params), x)


@pytest.mark.parametrize(("workload", "place", "name"), list(_cases()))
def test_pytorch_counts_the_useful_flop_or_a_documented_difference(workload, place, name):
    """To the last FLOP, for every formulation that runs eagerly: equal, or what the table says and why."""
    operands, step = _made("torch", workload, place, name)
    try:
        counted = _counted_by_torch(step, operands)
    except Unsupported as refusal:
        pytest.skip(f"torch: {refusal}")
    assert counted == _expected_by_torch(workload, place, name)


def test_a_formula_that_counts_twice_is_refused():
    """The comparison says no: a formula of the dense network with a factor of two in it does not pass."""
    workload = FOUND["dense_mlp"]
    counted = _counted_by_torch(*reversed(_made("torch", workload, 0, "products")))
    assert counted == _expected_by_torch(workload, 0, "products")
    assert counted != _expected_by_torch(workload, 0, "products", scale=2)


def _twins():
    for workload in FOUND.values():
        for place, point in enumerate(workload.presets["smoke"]):
            for twin in workload.twins(workload.check(point.params), point.mode):
                yield pytest.param(workload, place, twin, id=f"{workload.name}-{point.mode}-{place}-{twin.kind}")


@pytest.mark.parametrize(("workload", "place", "twin"), list(_twins()))
def test_both_kinds_of_twin_execute_what_their_formula_says(workload, place, twin):
    """Each twin is dense: the counter and its formula agree exactly, and W is the ratio of executed work."""
    ops, dense = _ops("torch"), FOUND[twin.workload]
    params = dense.check(twin.params)
    formulation = next(iter(dense.formulations[twin.mode].values()))
    operands = formulation.prepare(ops, rounded(dense.inputs(params, 0), "float32"), params)
    counted = _counted_by_torch(formulation.step(ops, params), operands)
    assert counted == dense.work(params, twin.mode, 4).useful_flop
    point = workload.presets["smoke"][place]
    idea = workload.work(workload.check(point.params), point.mode, 4).useful_flop
    share = float(point.params.get("density", 1)) * point.params.get("keep", 1) / point.params.get("out_of", 1)
    if workload.name == "kaleidoscope":
        share = int(point.params["block"]) * factors(Parameters(point.params)) / int(point.params["m"])
    if twin.kind == "same_shape":
        assert idea / counted == pytest.approx(share, rel=0.05)  # whole non-zeros, whole blocks
    elif twin.kind in ("equal_work", "equal_parameters"):
        assert idea / counted == pytest.approx(
            1, abs=1 / (share * int(point.params.get("k", point.params["m"]))) + 0.05
        )  # whole columns
    elif twin.kind == "ordinary_convolution":
        assert idea == counted


# -- XLA ---------------------------------------------------------------------------------------------------------------

# Programs of which XLA cannot count a part: the CSR product is a custom call, of unknown cost; a gather has no FLOP.
XLA_BLIND = {
    ("row_gather", "forward", "take"),
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
    operands, step = _made("jax", workload, place, name)
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


@pytest.mark.parametrize(("workload", "place", "name"), list(_cases()))
def test_xla_counts_at_least_the_useful_flop_and_the_least_bytes(workload, place, name):
    """A lower bound is one: no formulation does fewer FLOP or moves fewer bytes than the formulas, but for border taps.

    Formulations that pad, mask or recompute do more; those of the dense path more by elementwise work alone.
    """
    point = workload.presets["smoke"][place]
    if (workload.name, point.mode, name) in XLA_BLIND:
        pytest.skip("XLA cannot count its own CSR product, which is a custom call, nor a gather")
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
    workload, ops = FOUND["dense_mlp"], _ops("jax")
    params = workload.presets["quick"][0].params
    shapes = {name: jax.ShapeDtypeStruct(v.shape, np.float32) for name, v in workload.inputs(params, 0).items()}
    step = workload.formulations["train_step"]["autodiff"].step(ops, params)
    counted = jax.jit(step).lower(*shapes.values()).cost_analysis()["flops"]
    assert counted == pytest.approx(workload.work(params, "train_step", 4).useful_flop, rel=0.01)
