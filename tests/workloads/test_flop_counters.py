"""The formulas of useful FLOP, against what PyTorch's own counter says of every formulation.

`torch.utils.flop_counter.FlopCounterMode`, of the eager run. It knows products and convolutions alone, and of those
only the shapes. Where it and a formula differ the difference is in the table here, with its reason, to the last FLOP.
"""

from __future__ import annotations

import pytest
from _counted import FOUND, counted_cases, inputs_at, made, opened_on_cpu

from backends.ops import Unsupported
from harness.measuring.correctness import rounded
from workloads.base import Parameters
from workloads.common import sparse
from workloads.common.block_products import block_pattern
from workloads.common.routing_forms import sizes
from workloads.common.scattered import pattern_of
from workloads.kaleidoscope import factors


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


def _attended(blocks):
    """Scores and sums of blocks of queries over the keys up to their end: of two steps each at the smoke size."""

    def counted(p, x):
        size = -(-p["steps"] // blocks)
        return 4 * p["batch"] * p["width"] * sum(size * end for end in range(size, p["steps"] + 1, size))

    return counted


_NOTHING = lambda params, x: 0  # noqa: E731 - a row of the table
_EVENTS_AS_VALUES = lambda p, x: 2 * p["steps"] * p["batch"] * p["n"] ** 2  # noqa: E731
_SPARSE_AS_DENSE = lambda params, x: _vectors(params)  # noqa: E731
_EVERY_AS_DENSE = lambda params, x: _dense(params)  # noqa: E731

# What FlopCounterMode says where that is not the useful FLOP.
# 1. `mm` of a sparse operand counts as the dense product of that shape.
# 2. `mv`, `embedding_bag`, oneDNN's operators of what was packed, gathers, segment sums, `sampled_addmm`,
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
    **{(name, "forward", "packed"): _NOTHING for name in ("dense_block", "dense_mlp")},  # 2
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
    **{("decision_forest", "forward", f): _NOTHING for f in ("traverse", "traverse_bag", "compare_all")},  # 2
    ("decision_forest", "forward", "gemm"): lambda p, x: _forest_products(p),  # three dense products
    **{("table_product", "forward", f): _NOTHING for f in ("take_sum", "bag", "by_codebook", "codebook_loop")},  # 2
    ("table_product", "forward", "one_hot"): lambda p, x: 2 * p["n"] * x["tables"].size,  # zeros are multiplied
    ("kaleidoscope", "forward", "sums"): _NOTHING,  # 2
    ("kaleidoscope", "forward", "csr"): lambda p, x: len(x["w"]) * 2 * p["m"] ** 2 * p["n"],  # 1
    ("kaleidoscope", "forward", "expanded"): lambda p, x: 2 * p["m"] ** 2 * p["n"],  # multiplied out: dense
    ("causal_attention", "forward", "native"): _NOTHING,  # 2
    **{
        ("causal_attention", "forward", f): _attended(n)
        for f, n in (("masked", 1), ("blocked", 4), ("blocked_bounded", 4))
    },  # later steps too
    **{("selective_scan", "forward", f): _NOTHING for f in FOUND["selective_scan"].formulations["forward"]},  # 2
    ("selective_scan", "forward", "in_spans"): lambda p, x: (
        2 * p["batch"] * p["steps"] * p["width"] * p["state"]
    ),  # reads by a product
    ("spiking", "forward", "event_bag"): _NOTHING,  # 2
    ("spiking", "forward", "event_csr"): _EVENTS_AS_VALUES,  # 1
    **{("spiking", "forward", f): _EVENTS_AS_VALUES for f in ("batched", "stepwise")},  # zeros are multiplied
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
    params, x = workload.check(point.params), inputs_at(workload.name, place)
    rule = TORCH_DIFFERS.get((workload.name, point.mode, name))
    useful = scale * workload.work(params, point.mode, 4).useful_flop
    return useful if rule is None else rule(Parameters(params), x)


@pytest.mark.parametrize(("workload", "place", "name"), list(counted_cases()))
def test_pytorch_counts_the_useful_flop_or_a_documented_difference(workload, place, name):
    """To the last FLOP, for every formulation that runs eagerly: equal, or what the table says and why."""
    operands, step = made("torch", workload, place, name)
    try:
        counted = _counted_by_torch(step, operands)
    except Unsupported as refusal:
        pytest.skip(f"torch: {refusal}")
    assert counted == _expected_by_torch(workload, place, name)


def test_a_formula_that_counts_twice_is_refused():
    """The comparison says no: a formula of the dense network with a factor of two in it does not pass."""
    workload = FOUND["dense_mlp"]
    counted = _counted_by_torch(*reversed(made("torch", workload, 0, "products")))
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
    ops, dense = opened_on_cpu("torch"), FOUND[twin.workload]
    params = dense.check(twin.params)
    formulation = next(iter(dense.formulations[twin.mode].values()))
    operands = formulation.prepare(ops, rounded(dense.inputs(params, 0), "float32"), params)
    counted = _counted_by_torch(formulation.step(ops, params), operands)
    if twin.workload == "causal_attention":  # its first formulation scores the steps to come as well
        assert counted == _attended(1)(params, {})
        return
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
