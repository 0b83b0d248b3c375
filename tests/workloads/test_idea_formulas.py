"""Useful FLOP and least bytes of the ideas beyond the first seven, against values worked by hand."""

from __future__ import annotations

import re

import numpy as np
import pytest

from backends.discovery import backends
from backends.ops import Device
from harness.errors import PlanError
from harness.planning import plan
from workloads.common import exits, topology
from workloads.common.sparse_mlp import least_bytes
from workloads.discovery import workloads
from workloads.facts import inputs_of

FOUND, _ = workloads()
PRUNED = {"batch": 128, "d": 768, "h": 3072, "kept": 0.5, "multiple": 1}
NM = {"m": 1024, "k": 1024, "n": 128, "keep": 2, "out_of": 4, "pattern": "magnitude", "transposable": 0}
QUANT = {"n": 128, "k": 1024, "m": 1024, "scheme": "w8", "group_size": 0}
EXIT = {"batch": 128, "hidden": 1024, "layers": 8, "classes": 10, "alive": 0.7}
SMALL_EXIT = {"batch": 8, "hidden": 16, "layers": 3, "classes": 4, "alive": 0.5}
MOE = {"n": 512, "d": 256, "h": 512, "experts": 8, "k": 2, "balance": "uniform", "block": 32}
TRAIN = {"batch": 128, "features": 784, "hidden": 1024, "layers": 3, "density": 0.1, "phase": "step", "rule": "rigl"}


@pytest.mark.parametrize(
    ("workload", "mode", "params", "flop", "moved"),
    [
        ("structured_pruned", "forward", {**PRUNED, "batch": 8, "d": 32, "h": 48}, 24_576, 9_728),
        ("structured_pruned", "forward", PRUNED, 603_979_776, 11_796_480),
        ("structured_pruned", "train_step", PRUNED, 1_509_949_440, 57_802_752),
        ("nm_sparse", "forward", {**NM, "m": 64, "k": 128, "n": 16}, 131_072, 29_696),
        ("nm_sparse", "forward", NM, 134_217_728, 3_276_800),
        ("nm_sparse", "train_step", NM, 3 * 134_217_728, 3 * 3_276_800 + 12 * 524_288),
        ("quantized_matmul", "forward", {**QUANT, "n": 16, "k": 64, "m": 32}, 65_536, 8_320),
        ("quantized_matmul", "forward", QUANT, 268_435_456, 2_101_248),
        ("quantized_matmul", "forward", {**QUANT, "n": 1, "scheme": "w4", "group_size": 32}, 2_097_152, 663_552),
        ("quantized_matmul", "forward", {**QUANT, "scheme": "w1a1"}, 268_435_456, 16_384 + 131_072 + 524_288),
        ("early_exit", "forward", SMALL_EXIT, 8_960, 6_752),
        ("early_exit", "forward", EXIT, 855_523_328, 38_862_624),
        ("mixture_of_experts", "forward", {**MOE, "n": 16, "d": 16, "h": 32, "experts": 4}, 65_536, 26_880),
        ("mixture_of_experts", "forward", MOE, 536_870_912, 13_639_680),
        (
            "mixture_of_experts",
            "forward",
            {**MOE, "n": 2048, "d": 512, "h": 1024, "experts": 64},
            8_589_934_592,
            310_411_264,
        ),
    ],
)
def test_work_is_what_was_worked_by_hand(workload, mode, params, flop, moved):
    work = FOUND[workload].work(FOUND[workload].check(params), mode, 4)
    assert (work.useful_flop, work.least_bytes) == (flop, moved)


@pytest.mark.parametrize(
    ("phase", "rule", "flop"),
    [
        ("step", "rigl", 210_030_592),
        ("update", "rigl", 878_182_912),
        ("step", "blocks", 256 * (2 * 314 * 256 + 3 * (2 * 410 * 256 + 10_240))),  # 314 of 3136 blocks, 410 of 4096
        ("update", "blocks", 256 * (314 * 256 + 2 * (2 * 410 * 256 + 10_240) + 784 * 1024 + 2 * 1024**2 + 10_240)),
        ("step", "top_kast", 256 * (3 * 80_282 + 4 * 2 * 104_858 + 3 * 10_240)),  # of 2z weights a gradient is formed
        ("update", "top_kast", 256 * (3 * 80_282 + 4 * 2 * 104_858 + 3 * 10_240)),  # and a choice is no arithmetic
    ],
)
def test_work_of_sparse_training_is_what_was_worked_by_hand(phase, rule, flop):
    """An update costs 4.2 steps: 3 % of a hundred."""
    workload = FOUND["sparse_training"]
    params = workload.check({**TRAIN, "phase": phase, "rule": rule})
    assert workload.work(params, "train_step", 4).useful_flop == flop
    assert workload.twins(params, "train_step") == workload.twins(workload.check(TRAIN), "train_step")
    mnist = [784, 300, 100, 10]
    assert topology.useful_flop(100, mnist, 0.02, False) == 2_841_600
    assert topology.useful_flop(100, mnist, 0.02, True) == 54_820_800


def test_least_bytes_of_sparse_training_by_hand():
    """One hidden layer, 2 images, 3 × 4 with half of the weights, 4 × 10 dense."""
    sparse, dense = 6 * 8 + 4 * 5 + 4 * 2 * 7, 4 * 40 + 4 * 2 * 14
    assert least_bytes(4, 2, [3, 4, 10], 0.5, "step", False)[0] == 2 * sparse + 12 * 6 + 3 * dense + 12 * 40
    gradients = (4 * 2 * 7 + 4 * 12) + (4 * 2 * 14 + 4 * 40)
    update = sparse + 2 * dense + gradients + 4 * (6 + 12) + 12
    assert least_bytes(4, 2, [3, 4, 10], 0.5, "update", True)[0] == update


def test_least_bytes_of_sparse_training_in_blocks_by_hand():
    """16 × 32 is one block stored of two: its place is one index, and the rows of blocks have three offsets."""
    block, dense = 4 * 256 + 4 * 1 + 4 * 3 + 4 * 2 * 48, 4 * 320 + 4 * 2 * 42
    step = 2 * block + 12 * 256 + 3 * dense + 12 * 320
    assert least_bytes(4, 2, [16, 32, 10], 0.5, "step", False, 16)[0] == step
    gradients = (4 * 2 * 48 + 4 * 512) + (4 * 2 * 42 + 4 * 320)
    update = block + 2 * dense + gradients + 4 * (256 + 512) + 2
    assert least_bytes(4, 2, [16, 32, 10], 0.5, "update", True, 16)[0] == update


def test_bytes_of_top_kast_by_hand():
    """One hidden layer, 2 images, 3 × 4 of which 3 weights are read and 6 learn, 4 × 10 dense."""
    read, learnt = 4 * 3 + 4 * 3 + 4 * 5 + 4 * 2 * 7, 4 * 6 + 4 * 6 + 4 * 5 + 4 * 2 * 7
    step = read + learnt + 12 * 6 + 3 * (4 * 40 + 4 * 2 * 14) + 12 * 40
    live = (4 * 12 + 4 * (3 + 6) + 2 * 4 * 5 + 4 * 6) + 2 * 4 * 40 + 4 * 2 * (3 + 4 + 10)
    small = {**TRAIN, "batch": 2, "features": 3, "hidden": 4, "layers": 1, "density": 0.25, "rule": "top_kast"}
    for phase, moved in (("step", step), ("update", step + 4 * 12 + 12)):
        work = FOUND["sparse_training"].work({**small, "phase": phase}, "train_step", 4)
        assert (work.least_bytes, work.live_bytes) == (moved, live)


def test_examples_leave_by_plan():
    assert exits.alive(128, 0.7, 8) == [128, 90, 63, 44, 31, 22, 15, 11]
    point = FOUND["early_exit"].check({**EXIT, "hidden": 32})
    drawn = inputs_of(FOUND["early_exit"], point, "forward", 0)
    left = FOUND["early_exit"].reference(drawn, point, "forward")["left_at"]
    assert [int((left >= layer).sum()) for layer in range(8)] == [128, 90, 63, 44, 31, 22, 15, 11]


def test_an_example_that_rounding_may_send_either_way_is_no_input():
    """A threshold that is the greatest margin of the first layer, but for its last digits."""
    workload, point = FOUND["early_exit"], FOUND["early_exit"].check(SMALL_EXIT)
    drawn = dict(inputs_of(workload, point, "forward", 0))
    margins = exits.margins(np.maximum(drawn["x"] @ drawn["w0"], 0) @ drawn["q0"])
    drawn["thresholds"] = np.array([margins.max() * (1 + 1e-7), *drawn["thresholds"][1:]])
    with pytest.raises(ValueError, match="too near the threshold of layer 0 of early_exit"):
        workload.reference(drawn, point, "forward")


def test_static_slices_are_refused_to_a_batch_that_does_not_keep_to_the_plan():
    workload, point = FOUND["early_exit"], FOUND["early_exit"].check(SMALL_EXIT)
    drawn = dict(inputs_of(workload, point, "forward", 0))
    formulation = workload.formulations["forward"]["sorted_prefix"]
    ops = backends()[0]["numpy"].open(Device("cpu"))
    assert formulation.prepare(ops, drawn, point)
    drawn["thresholds"] = drawn["thresholds"] * 0  # all are sure at once
    with pytest.raises(ValueError, match="sorted_prefix of early_exit is for a batch that keeps to the plan"):
        formulation.prepare(ops, drawn, point)


def test_every_group_keeps_as_many_and_in_both_directions_where_it_is_transposable():
    for params in ({**NM, "keep": 1}, {**NM, "transposable": 1}, {**NM, "keep": 3, "pattern": "uniform"}):
        params = {**params, "m": 16, "k": 32, "n": 4}
        x = inputs_of(FOUND["nm_sparse"], params, "forward", 0)
        mask = np.zeros((16, 32), int)
        mask[np.repeat(np.arange(16), np.diff(x["a_indptr"])), x["a_indices"]] = 1
        assert (mask.reshape(16, 8, 4).sum(2) == params["keep"]).all()
        if params["transposable"]:
            assert (mask.reshape(4, 4, 32).sum(1) == params["keep"]).all()


def test_tokens_spread_as_the_axis_says():
    workload = FOUND["mixture_of_experts"]
    counts = {}
    for balance in ("uniform", "zipf", "expert_choice"):
        params = {**MOE, "balance": balance, "d": 8, "h": 8}
        chosen = inputs_of(workload, params, "forward", 0)["experts_of"]
        assert all(len(set(row)) == 2 for row in chosen.tolist())
        counts[balance] = np.bincount(chosen.ravel(), minlength=8)
    assert set(counts["expert_choice"].tolist()) == {128}
    assert 1.2 * 128 < counts["uniform"].max() + 40 < counts["zipf"].max()
    assert all((count > 0).all() for count in counts.values())


@pytest.mark.parametrize(
    ("workload", "axes", "words"),
    [
        ("quantized_matmul", {"group_size": 7, "scheme": "w4"}, "axis group_size of quantized_matmul must divide k"),
        ("quantized_matmul", {"group_size": 32, "scheme": "fp8"}, "group_size of quantized_matmul must be 0 for fp8"),
        ("quantized_matmul", {"scheme": "w3"}, "axis scheme of quantized_matmul must be one of w8a8"),
        ("nm_sparse", {"keep": 5}, "axis keep of nm_sparse must be at most out_of, found 5 of 4"),
        ("nm_sparse", {"out_of": 3}, "axis out_of of nm_sparse must divide k, found 3 for 1024"),
        ("nm_sparse", {"out_of": 8, "transposable": 1}, "out_of of nm_sparse must be at most 4 where transposable"),
        ("nm_sparse", {"m": 1022, "transposable": 1}, "axis out_of of nm_sparse must divide m where transposable is 1"),
        ("structured_pruned", {"multiple": 4000}, "axis multiple of structured_pruned must be at most h"),
        ("structured_pruned", {"kept": 1.5}, "axis kept of structured_pruned must be in 1e-06…1"),
        ("mixture_of_experts", {"k": 9}, "axis k of mixture_of_experts must be at most experts, found 9 of 8"),
        ("mixture_of_experts", {"n": 7, "balance": "expert_choice"}, "experts of mixture_of_experts must divide n·k"),
        ("early_exit", {"classes": 1}, "axis classes of early_exit must be in 2…"),
        ("sparse_training", {"density": 0.9, "phase": "update"}, "density of sparse_training must be at most 0.77"),
        ("sparse_training", {"density": 1e-6}, "axis density of sparse_training leaves a layer without a weight"),
        (
            "sparse_training",
            {"density": 2e-6, "phase": "update"},
            "leaves a layer with a single weight, which an update",
        ),
        ("sparse_training", {"density": 0.6, "rule": "top_kast"}, "must be at most 0.5 where rule is top_kast, found"),
        ("sparse_training", {"density": 1e-4, "rule": "blocks"}, "sparse_training leaves a layer without a block"),
        (
            "sparse_training",
            {"hidden": 100, "rule": "blocks"},
            "axis hidden of sparse_training must be a multiple of 16",
        ),
    ],
)
def test_axes_that_do_not_go_together_are_refused_with_the_axis(workload, axes, words):
    """One sentence, by the plan."""
    ask = plan.Ask(preset="ideas", workloads=(workload,), axes={name: (value,) for name, value in axes.items()})
    with pytest.raises(PlanError, match=re.escape(words)):
        plan.cases(ask, FOUND, backends()[0])
