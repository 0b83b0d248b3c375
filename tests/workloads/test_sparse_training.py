"""What sparse training moves, weights, blocks or what it reads; and how much gradient reaches its layers."""

from __future__ import annotations

import numpy as np
import pytest

from workloads.base import LEARNING_RATE, Parameters
from workloads.common import sparse_mlp, top_kast, topology
from workloads.common.gradient_flow import gradient_flow
from workloads.common.sparse_mlp_blocks import in_blocks

SMALL = {"batch": 8, "features": 48, "hidden": 64, "layers": 2, "density": 0.4, "phase": "step", "rule": "rigl"}


def test_blocks_are_dropped_and_grown_whole_by_their_norm():
    """Of four blocks 2×2 two are stored: the one with the largest weight, but the smaller norm, gives way."""
    weights = np.array([[3.0, 0, 2, 2], [0, 0, 2, 2], [0, 0, 0, 0], [0, 0, 0, 0]])
    active = np.array([[1, 1, 1, 1], [1, 1, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]], bool)
    growth = np.array([[0.0, 0, 9, 9], [0, 0, 9, 9], [1, 1, 1.9, 0], [1, 1, 0, 0]])
    new, mask, near = topology.updated(weights, active, growth, 1, side=2)
    assert mask.tolist() == [[0, 1], [1, 0]]  # not where the gradient is largest: that block was kept
    assert new.tolist() == [[0, 0, 2, 2], [0, 0, 2, 2], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert not near.any()


def test_the_same_rule_moves_weights_where_a_block_is_one():
    weights, active = np.array([[3.0, -1], [0, 0]]), np.array([[True, True], [False, False]])
    new, mask, _ = topology.updated(weights, active, np.array([[5.0, 0], [-2, 1]]), 1)
    assert (new.tolist(), mask.tolist()) == ([[3, 0], [0, 0]], [[1, 0], [1, 0]])


def test_every_row_of_blocks_has_as_many_and_they_are_found_again():
    p = Parameters({**SMALL, "rule": "blocks"})
    for pattern in sparse_mlp.patterns_of(sparse_mlp.drawn(p, 0), sparse_mlp.sizes(p)):
        found = in_blocks(pattern)
        lengths = np.diff(found.indptr)
        assert lengths.max() - lengths.min() <= 1
        tiles = sparse_mlp.dense_of(np.ones(len(pattern.indices)), pattern).reshape(4, 16, -1, 16)
        full = np.zeros(found.shape)
        full[found.rows, found.indices] = 256
        assert (tiles.sum(axis=(1, 3)) == full).all()


# -- Top-KAST ----------------------------------------------------------------------------------------------------------
def _drawn(**axes):
    p = Parameters({**SMALL, "rule": "top_kast", **axes})
    x = dict(top_kast.drawn(p, 3))
    return p, {name: x.pop(name) for name in ("x", "target")}, x


def test_the_weights_that_are_read_are_some_of_those_that_learn():
    p, _, x = _drawn(density=0.1)
    for i, (seen, learnt) in enumerate(top_kast.masks(p, x)):
        few = round(0.1 * x[f"w{i}"].size)
        assert (seen.sum(), learnt.sum(), (seen * learnt).sum()) == (few, 2 * few, few)
        size = np.abs(x[f"w{i}"])
        assert size[seen > 0].mean() > size[(learnt > 0) & (seen == 0)].mean() > size[learnt == 0].mean()


def test_only_what_is_read_counts_and_only_what_learns_moves():
    """The loss is that of A alone, and the change of a weight in B is its slope as if that were read."""
    p, given, x = _drawn(density=0.1)
    loss, after = (
        (lambda rest: top_kast.reference(p, **given, rest=rest)["loss"]),
        top_kast.reference(p, **given, rest=x),
    )
    seen, learnt = top_kast.masks(p, x)[0]
    resting = np.where(seen > 0, x["w0"], 0)
    assert loss({**x, "w0": resting}) == after["loss"]
    assert (after["w0"][learnt == 0] == x["w0"][learnt == 0]).all()
    change = after["w0"] - x["w0"]
    patterns = sparse_mlp.patterns_of(x, sparse_mlp.sizes(p))[0]
    all_read = {**x, "w0_seen": np.arange(len(patterns.indices), dtype=np.int32)}
    for inside in (seen > 0, (learnt > 0) & (seen == 0)):
        place = np.unravel_index(np.argmax(np.abs(change) * inside), change.shape)
        ends = []
        for side in (1e-6, -1e-6):
            moved = resting.copy()
            moved[place] += side
            ends.append(loss({**all_read, "w0": moved}))
        assert change[place] == pytest.approx(-LEARNING_RATE * (ends[0] - ends[1]) / 2e-6, rel=1e-4)


def test_both_sets_are_chosen_from_the_weights_after_the_step():
    p, given, x = _drawn(density=0.1, phase="update")
    after = top_kast.reference(p, **given, rest=x)
    moved = 0
    for i, (seen, learnt) in enumerate(top_kast.masks(p, x)):
        sets, size = after[f"sets{i}"], np.abs(after[f"w{i}"])
        few = round(0.1 * size.size)
        assert [(sets == which).sum() for which in (2, 1)] == [few, few]
        assert size[sets == 2].min() > size[sets == 1].max() > size[sets == 0].max()
        moved += int((sets != seen + learnt).sum())
    assert moved  # else an update that chooses nothing would be right


# -- gradient flow -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("rule", ["rigl", "blocks"])
def test_the_gradient_of_the_stored_weights_is_that_of_a_step(rule):
    """What a step moves the stored weights by, over what it moves the dense ones by; the batch is the first one."""
    norms = []
    for density in (0.4, 1.0):
        p = Parameters({**SMALL, "rule": rule, "density": density})
        x = dict(sparse_mlp.drawn(p, 3))
        given = {name: x.pop(name) for name in ("x", "target")}
        after = sparse_mlp.reference(p, **given, rest=x)
        norms.append([np.linalg.norm(after[f"w{i}"] - x[f"w{i}"]) / LEARNING_RATE for i in range(3)])
    flow = gradient_flow(Parameters({**SMALL, "rule": rule}), 3, steps=2)
    assert flow.first == pytest.approx(np.divide(*norms))
    assert flow.after != pytest.approx(flow.first)


def test_a_network_that_stores_everything_learns_as_the_dense_one():
    flow = gradient_flow(Parameters({**SMALL, "density": 1.0}), 0, steps=2)
    assert flow.first == flow.after == (1.0, 1.0, 1.0)
