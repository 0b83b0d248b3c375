"""What sparse training moves, weights or blocks, by hand; and how much gradient reaches its layers."""

from __future__ import annotations

import numpy as np
import pytest

from workloads.base import LEARNING_RATE, Parameters
from workloads.common import sparse_mlp, topology
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
