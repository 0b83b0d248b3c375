"""Executed work by hand for twelve formulations, and against the frameworks' own counters."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from backends.counting.arrays import NotCounted
from backends.discovery import backends
from backends.ops import Device, Unsupported
from harness.measuring.correctness import rounded
from workloads.base import Formulation, Parameters
from workloads.common.scattered import pattern_of
from workloads.counting import traced
from workloads.discovery import workloads

FOUND, _ = workloads()


def f32(*shape):
    return np.ones(shape, np.float32)


SPARSE = {"m": 3, "k": 4, "n": 2, "density": 0.25, "pattern": "uniform"}
SPARSE_INPUTS = {  # rows of 2, 1 and 0 non-zeros
    "a": f32(3),
    "a_indices": np.int32([0, 2, 1]),
    "a_indptr": np.int32([0, 2, 3, 3]),
    "b": f32(4, 2),
    "target": f32(3, 2),
}
BLOCKS = {"m": 4, "k": 4, "n": 2, "density": 0.75, "block": 2, "pattern": "uniform"}
BLOCK_INPUTS = {  # three blocks of 2×2: one in the first block row, two in the second
    "a": f32(3, 2, 2),
    "a_indices": np.int32([1, 0, 1]),
    "a_indptr": np.int32([0, 1, 3]),
    "b": f32(4, 2),
    "target": f32(4, 2),
}
MATRICES = {"a": f32(2, 3), "b": f32(3, 4), "target": f32(2, 4)}
CONV = {"batch": 1, "height": 3, "in_channels": 2, "out_channels": 3, "kernel": 3, "stride": 1, "padding": 1}
CAPSULES = {
    "batch": 1,
    "height": 3,
    "in_capsules": 1,
    "out_capsules": 2,
    "kernel": 3,
    "stride": 1,
    "padding": 0,
}
MLP = {"batch": 2, "features": 3, "hidden": 4, "layers": 1}
BY_HAND = {
    # what, where: matmul FLOP, other FLOP, bytes, gathered and scattered rows, launches
    # Y = A·B: 2·2·3·4; A, B and Y once
    ("dense_matmul", "forward", "nn", "eager"): (48, 0, 4 * (6 + 12 + 8), 0, 0, 1),
    # forward and two products back; error 8, its square 8, a sum 7, the scale and its gradient 1 each, two gradients of
    # the square 8 each and their sum 8, the update 2·6
    ("dense_matmul", "train_step", "autodiff", "eager"): (144, 8 + 8 + 7 + 2 + 24 + 12, None, 0, 0, 12),
    # 5 rows of 2 gathered, and read again of a table of 3; 5 rows of 2 added up in 2 segments
    ("row_gather", "forward", "take", "eager"): (0, 0, 4 * (6 + 5 + 10), 5, 0, 1),
    ("row_scatter", "forward", "segment_sum", "eager"): (0, 10, 4 * (10 + 5 + 4), 0, 5, 1),
    # 2 values in each of 3 rows, B 4×2: 2·6·2; values, indices, four row offsets, B and Y
    ("stored_product", "forward", "csr", "eager"): (0, 24, 4 * (6 + 6 + 4 + 8 + 6), 6, 0, 1),
    # four chains, each begun by 2 and gone on by 2·3 of 8 values, and 3 sums; one program reads and writes once
    ("polynomial", "forward", "horner", "compiled"): (0, 8 * (4 * (2 + 6) + 3), 4 * 16, 0, 0, 1),
    # 3 products of 8×8, each read and written
    ("small_steps", "forward", "products", "eager"): (3 * 1024, 0, 3 * 3 * 256, 0, 0, 3),
    # x + 3·y of 1024: a product and a sum, each reads and writes, or both at once
    ("stream", "forward", "flat", "eager"): (0, 2048, 5 * 4096, 0, 0, 2),
    ("stream", "forward", "flat", "compiled"): (0, 2048, 3 * 4096, 0, 0, 1),
    # 3 non-zeros: 2·3·2; values, indices, four row offsets, B and Y
    ("unstructured_sparse", "forward", "csr", "eager"): (0, 12, 4 * (3 + 3 + 4 + 8 + 6), 3, 0, 1),
    # the dense product of 3×4 and 4×2
    ("unstructured_sparse", "forward", "masked_dense", "eager"): (48, 0, 4 * (12 + 8 + 6), 0, 0, 1),
    # 3 rows padded to 2: 6 rows of B are gathered (B once, 6 indices, 12 values written), then 2·3·2·2
    ("unstructured_sparse", "forward", "ell", "eager"): (24, 0, 4 * (8 + 6 + 12) + 4 * (6 + 12 + 6), 6, 0, 2),
    # 3 rows gathered, scaled, added up: 6 FLOP each
    ("unstructured_sparse", "forward", "gather_segment", "eager"): (0, 12, 60 + 60 + 60, 3, 3, 3),
    # the scaled rows come out of the gather: neither written nor read in between
    ("unstructured_sparse", "forward", "gather_segment", "compiled"): (0, 12, 72 + 60, 3, 3, 2),
    # 3 blocks: 2 rows of B for each, 3 products of 2·2·2·2, 12 additions into 2 block rows
    ("block_sparse", "forward", "gather_bmm", "eager"): (48, 12, 92 + 144 + 92, 3, 3, 3),
    # the same in one: blocks, 3 indices, 3 row offsets, B and Y
    ("block_sparse", "forward", "bsr", "eager"): (48, 0, 4 * (12 + 6 + 8 + 8), 3, 0, 1),
    # 2·9·3·2·9, the border taps too
    ("dense_conv", "forward", "nhwc", "eager"): (972, 0, 4 * (18 + 54 + 27), 0, 0, 1),
    # 9 poses copied; 9·2 products of 2·4·4·4; sums of 9
    ("capsule_conv", "forward", "patches", "eager"): (2304, 8 * 32, 1152 + 2880 + 1280, 0, 0, 3),
    # 2·3·4 and 2·4·10 products, a relu between
    ("dense_mlp", "forward", "products", "eager"): (48 + 160, 8, 104 + 64 + 272, 0, 0, 3),
}
OPERANDS = {
    "dense_matmul": ({"m": 2, "k": 3, "n": 4, "grads": "both"}, MATRICES),
    "stream": ({"elements": 3 * 1024, "kernel": "triad"}, {"x": f32(1, 1024), "y": f32(1, 1024)}),
    "row_gather": (
        {"rows": 3, "width": 2, "count": 5},
        {"table": f32(3, 2), "places": np.zeros(5, np.int32)},
    ),
    "row_scatter": (
        {"segments": 2, "width": 2, "count": 5},
        {"rows": f32(5, 2), "places": np.zeros(5, np.int32)},
    ),
    "stored_product": (
        {"rows": 3, "columns": 4, "stored": 2, "n": 2},
        {"values": f32(3, 2), "columns": np.tile(np.array([0, 2], np.int32), (3, 1)), "b": f32(4, 2)},
    ),
    "polynomial": ({"elements": 8, "degree": 3}, {"x": f32(8)}),
    "small_steps": ({"steps": 3}, {"x": f32(8, 8), "q": f32(8, 8)}),
    "unstructured_sparse": (SPARSE, SPARSE_INPUTS),
    "block_sparse": (BLOCKS, BLOCK_INPUTS),
    "dense_conv": (CONV, {"x": f32(1, 3, 3, 2), "w": f32(3, 3, 2, 3)}),
    "capsule_conv": (CAPSULES, {"poses": f32(1, 3, 3, 1, 4, 4), "w": f32(3, 3, 1, 2, 4, 4)}),
    "dense_mlp": (MLP, {"x": f32(2, 3), "target": f32(2, 10), "w0": f32(3, 4), "w1": f32(4, 10)}),
}


@pytest.mark.parametrize(("place", "expected"), BY_HAND.items(), ids=["-".join(place) for place in BY_HAND])
def test_formulations_by_hand(place, expected):
    workload, mode, name, execution = place
    params, inputs = OPERANDS[workload]
    work = traced(FOUND[workload].formulations[mode][name], inputs, params).work(execution)
    found = (work.matmul_flop, work.other_flop, work.bytes, work.gathered_rows, work.scattered_rows, work.launches)
    assert [a for a, b in zip(found, expected, strict=True) if b is not None] == [b for b in expected if b is not None]


def _smoke():
    for workload in FOUND.values():
        for point in workload.presets["smoke"]:
            params = workload.check(workload.completed(point.params))
            inputs = rounded(workload.inputs(params, 0), "float32")
            for name, formulation in workload.formulations[point.mode].items():
                if formulation.applies(params):
                    yield workload, point.mode, name, formulation, inputs, params


# Whose work hangs on values: how many examples stay, how many tokens an expert has.
BY_VALUE = {
    *(("early_exit", "forward", name) for name in ("compacted", "buckets", "one_by_one")),
    ("sparse_training", "train_step", "sampled"),
    ("mixture_of_experts", "forward", "parted"),
    ("mixture_of_experts", "forward", "sorted_loop"),
    ("mixture_of_experts", "forward", "sorted_packed"),
}
# Fewer operations than useful FLOP: by sums of few, where the formula of a product counts one addition more, and by
# words of many bits, of which one operation does all.
FEWER = {
    ("kaleidoscope", "sums"): 0.75,
    ("decision_forest", "compare_all"): 0.8,
    ("nm_sparse", "ell"): 0.98,
    ("quantized_matmul", "popcount"): 0.05,
    ("row_gather", "take"): 0.0,  # there is no arithmetic, and a row is called one FLOP
    **{("selective_scan", name): 0.95 for name in ("sequential", "hoisted")},
}


def test_every_formulation_can_be_counted_and_does_what_the_mathematics_needs():
    """At least the useful FLOP, whether fused or not; fusing takes away bytes, launches and what is dead."""
    seen, by_value = 0, set()
    for workload, mode, name, formulation, inputs, params in _smoke():
        try:
            found = traced(formulation, inputs, params)
        except NotCounted:
            by_value.add((workload.name, mode, name))
            continue
        eager, compiled = found.work("eager"), found.work("compiled")
        least = workload.work(params, mode, 4)
        executed = compiled.matmul_flop + compiled.other_flop
        # a sum of n is n − 1 additions, where the formula of a dot product takes n
        share = FEWER.get((workload.name, name), 0.999 if workload.role == "ceiling" else 1)
        assert executed >= least.useful_flop * share, (workload.name, name)
        assert compiled.matmul_flop <= eager.matmul_flop, (workload.name, name)
        assert compiled.bytes <= eager.bytes, (workload.name, name)
        assert compiled.launches <= eager.launches, (workload.name, name)
        assert found.work("graph") == eager
        seen += 1
    assert seen > 100
    assert by_value == BY_VALUE


def test_masked_dense_executes_the_dense_product_and_ell_its_padding():
    for workload, mode, name, formulation, inputs, params in _smoke():
        if workload.name != "unstructured_sparse" or mode != "forward":
            continue
        work = traced(formulation, inputs, params).work("eager")
        total = work.matmul_flop + work.other_flop
        if name == "masked_dense":
            assert total == pytest.approx(2 * params["m"] * params["k"] * params["n"], rel=0.05)
        if name == "ell":  # with one column a row's products are summed up: an addition less each
            padded = params["m"] * pattern_of(inputs, Parameters(params)).longest * params["n"]
            assert total == 2 * padded - params["m"] * (params["n"] == 1)


def test_a_formulation_in_a_frameworks_own_words_is_not_counted():
    def formulation(step):
        return Formulation(
            note="",
            prepare=lambda ops, x, p: [ops.asarray(x["a"])],
            step=lambda ops, p: step,
            restore=lambda outputs, x, p: {},
        )

    with pytest.raises(NotCounted, match="'cumsum', which is not in Ops"):
        traced(formulation(lambda a: (a.cumsum(0),)), {"a": f32(3)}, {})
    with pytest.raises(NotCounted, match="gives back what is no array"):
        traced(formulation(lambda a: (1.0,)), {"a": f32(3)}, {})


# -- the frameworks' own counters --------------------------------------------------------------------------------------

# FlopCounterMode knows products and convolutions of dense operands. Where it does not say `matmul_flop`:
TORCH_DIFFERS = {
    # a sparse `mm` is counted as the dense product of its shape, where we count 2 FLOP for each value that is stored
    *(("unstructured_sparse", "forward", f) for f in ("csr", "coo", "csc", "bsr")),
    *(("block_sparse", "forward", f) for f in ("bsr", "csr")),
    *(("unstructured_sparse", "train_step", f) for f in ("csr", "csr_gather", "csr_dense_sample", "csr_transposing")),
    *(("unstructured_sparse", "train_step", f) for f in ("autodiff_csr", "autodiff_coo")),
    *(("block_sparse", "train_step", f) for f in ("bsr_bmm", "csr_dense_sample", "csr_bmm")),
    *((name, "forward", "csr") for name in ("nm_sparse", "kaleidoscope", "stored_product")),
    ("spiking", "forward", "event_csr"),
    *(("nm_sparse", "train_step", f) for f in ("csr_gather", "csr_dense_sample")),
    *(("sparse_training", "train_step", f) for f in ("csr_native", "csr_gather", "csr_dense_sample")),
    # it has no rule for low-bit and grouped products
    *(("quantized_matmul", "forward", f) for f in ("int8", "int8_transposed", "int8_padded", "packed")),
    ("mixture_of_experts", "forward", "grouped"),
    # nor for the attention that PyTorch has for a CPU
    ("causal_attention", "forward", "native"),
    # it has no rule for `mv`, nor for oneDNN's convolution with packed filters
    *(("stream", "forward", "vector"), ("dense_matmul", "forward", "vector")),
    *(("dense_conv", "forward", "nhwc_packed"), ("capsule_conv", "forward", "folded_packed")),
    # nor for its product of packed weights
    *((name, "forward", "packed") for name in ("dense_block", "dense_mlp")),
    *(("structured_pruned", "forward", "sliced_packed"), ("early_exit", "forward", "sorted_prefix_packed")),
}


def test_pytorchs_counter_agrees_to_the_flop_but_for_what_it_cannot_see():
    if importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed")
    from torch.utils.flop_counter import FlopCounterMode

    ops = backends()[0]["torch"].open(Device("cpu"))
    differed, compared = set(), 0
    for workload, mode, name, formulation, inputs, params in _smoke():
        try:
            operands = formulation.prepare(ops, inputs, params)
            with FlopCounterMode(display=False) as counter:
                formulation.step(ops, params)(*operands)
        except Unsupported:
            continue
        if (workload.name, mode, name) in BY_VALUE:
            continue
        compared += 1
        if counter.get_total_flops() != traced(formulation, inputs, params).work("eager").matmul_flop:
            differed.add((workload.name, mode, name))
    assert differed == TORCH_DIFFERS
    assert compared > 80


# Of one program each; XLA counts exp, log and sqrt as transcendentals and not as FLOP, and fuses other chains.
XLA = {
    ("dense_matmul", "forward", "nn"): 0.0,
    ("dense_mlp", "forward", "products"): 0.0,
    ("dense_mlp", "train_step", "by_hand"): 0.02,
    ("forward_forward", "train_step", "by_hand"): 0.03,
    ("capsule_conv", "forward", "folded_layout"): 0.0,
    ("capsule_routing", "forward", "textbook"): 0.05,
    ("unstructured_sparse", "forward", "gather_segment"): 0.0,
    ("unstructured_sparse", "forward", "masked_dense"): 0.0,
}


def test_xlas_cost_analysis_agrees_within_what_it_counts_apart():
    jax = pytest.importorskip("jax")
    ops = backends()[0]["jax"].open(Device("cpu"))
    seen = set()
    for workload, mode, name, formulation, inputs, params in _smoke():
        place = (workload.name, mode, name)
        if place not in XLA or place in seen:
            continue
        seen.add(place)
        operands = formulation.prepare(ops, inputs, params)
        cost = jax.jit(formulation.step(ops, params)).lower(*operands).compile().cost_analysis()
        work = traced(formulation, inputs, params).work("compiled")
        assert work.matmul_flop + work.other_flop == pytest.approx(cost["flops"], rel=XLA[place] + 1e-9), place
    assert seen == XLA.keys()
