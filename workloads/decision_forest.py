"""A forest of decision trees: every row of X walks down E complete trees of depth d, and Y sums the leaves it ends in.

Nodes stand in the order of a heap: node i has the children 2i+1 and 2i+2, and a row goes right where its value of the
node's pixel is above the node's threshold. Pixels are whole numbers 0…16 and thresholds lie half-way between two of
them, so that every comparison is exact in every dtype. Leaves are class histograms of the digits that ended there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from backends.ops import Array, HostArray, Ops
from workloads.base import Axis, Definition, Inputs, Mode, Parameters, Params, Point, Twin, Work
from workloads.common import digits
from workloads.common.sparse import TEMPORARY, forward_step, marked_multiplies_zeros

PIXELS, CLASSES = 64, digits.CLASSES
_VARYING = 40  # pixels that trees look at: the others are nearly always white
_MOST_SLICES = 64  # of trees in a call of gemm: beyond, it takes minutes and its program is too long to compile
_UNROLLED = 8  # depth up to which all nodes of a tree are compared at once


def _nodes(p: Parameters) -> int:
    return int(2**p.depth - 1)


def _grown(p: Parameters, rng: np.random.Generator) -> tuple[HostArray, HostArray, HostArray]:
    """Pixels (E, nodes) int32, thresholds (E, nodes) and leaves (E, 2^d, classes) of trees split at random.

    As extremely randomised trees are (Geurts, Ernst and Wehenkel 2006): a random pixel, and a random threshold between
    the least and the greatest value of the digits that come there.
    """
    images, labels = digits.pixels(), digits.classes()
    varying = np.argsort(-images.var(axis=0), kind="stable")[:_VARYING]
    pixels = rng.choice(varying, (p.trees, _nodes(p))).astype(np.int32)
    thresholds, leaves = np.empty((p.trees, _nodes(p))), np.zeros((p.trees, 2**p.depth, CLASSES))
    for tree in range(p.trees):
        node = np.zeros(len(images), np.int64)
        for level in range(p.depth):
            first, count = 2**level - 1, 2**level
            values = images[np.arange(len(images)), pixels[tree, node]]
            low, high = np.full(count, 16.0), np.zeros(count)
            np.minimum.at(low, node - first, values)
            np.maximum.at(high, node - first, values)
            above = np.floor(rng.random(count) * np.maximum(high - low, 0))
            thresholds[tree, first : first + count] = np.minimum(low + above, 15) + 0.5
            node = 2 * node + 1 + (values > thresholds[tree, node])
        np.add.at(leaves[tree], (node - _nodes(p), labels), 1)
    total = leaves.sum(axis=2, keepdims=True)
    shares = np.where(total > 0, leaves / np.maximum(total, 1), 1 / CLASSES)
    return pixels, thresholds, shares / p.trees


def inputs(p: Parameters, seed: int) -> Inputs:
    """`x` (N, 64) pixels; `pixels` (E, nodes) int32, `thresholds` (E, nodes), `leaves` (E, 2^d, 10)."""
    rng = np.random.default_rng([seed, 1])
    pixels, thresholds, leaves = _grown(p, rng)
    x = digits.pixels()[rng.integers(0, len(digits.pixels()), p.n)]
    return {"x": x, "pixels": pixels, "thresholds": thresholds, "leaves": leaves}


def reference(x: Inputs, p: Parameters, mode: Mode) -> Mapping[str, HostArray]:
    """Tree by tree, level by level."""
    y, rows = np.zeros((p.n, CLASSES)), np.arange(p.n)
    for pixels, thresholds, leaves in zip(x["pixels"], x["thresholds"], x["leaves"], strict=True):
        node = np.zeros(p.n, np.int64)
        for _ in range(p.depth):
            node = 2 * node + 1 + (x["x"][rows, pixels[node]] > thresholds[node])
        y += leaves[node - _nodes(p)]
    return {"y": y}


def work(p: Parameters, mode: Mode, itemsize: int) -> Work:
    """N·E(d + 10): a comparison a level and the sum of the leaves. X, the nodes, the leaves and Y once each."""
    nodes = _nodes(p) * (4 + itemsize)  # a pixel's place, int32, and a threshold
    moved = itemsize * p.n * (PIXELS + CLASSES) + p.trees * (nodes + itemsize * 2**p.depth * CLASSES)
    return Work(useful_flop=p.n * p.trees * (p.depth + CLASSES), least_bytes=moved, live_bytes=moved)


def twins(p: Parameters, mode: Mode) -> Sequence[Twin]:
    """A perceptron with one hidden layer and as many parameters as the forest has."""
    parameters = p.trees * (2 * _nodes(p) + 2**p.depth * CLASSES)
    hidden = max(1, round(parameters / (PIXELS + CLASSES)))
    layers = {"batch": p.n, "features": PIXELS, "hidden": hidden, "layers": 1}
    return (Twin("perceptron", "dense_mlp", layers, mode),)


# -- formulations -----------------------------------------------------------------------------------------------------


def _slices(p: Parameters, per_tree: int) -> list[slice]:
    """The trees, in slices whose temporaries have at most TEMPORARY values at `per_tree` of each row."""
    width = max(1, TEMPORARY // (p.n * per_tree))
    return [slice(i, min(i + width, p.trees)) for i in range(0, p.trees, width)]


def _leaf_sum(ops: Ops, table: Array, rows: Array) -> Array:
    """Sum of the rows of `table` (E·2^d, 10), one a tree, at (N, trees)."""
    return ops.sum(ops.take(table, rows), 1)


def _walk_operands(ops: Ops, x: Inputs, p: Parameters) -> Sequence[Array]:
    """X and the nodes flat, the leaves, where rows of X, nodes and leaves of trees begin."""
    rows, trees = np.arange(p.n)[:, None] * PIXELS, np.arange(p.trees)
    return [
        ops.asarray(x["x"].reshape(-1)),
        ops.positions(x["pixels"].reshape(-1)),
        *(ops.asarray(a) for a in (x["thresholds"].reshape(-1), x["leaves"].reshape(-1, CLASSES))),
        *(ops.positions(a) for a in (rows, trees * _nodes(p), trees * 2**p.depth)),
    ]


def _walked(ops: Ops, p: Parameters, x: Array, pixels: Array, thresholds: Array, rows: Array, begins: Array) -> Array:
    """Leaf numbers (N, trees) of trees whose nodes begin there."""
    node = ops.zeros((p.n, begins.shape[0]), "int32")
    for _ in range(p.depth):
        at = node + begins
        right = ops.take(x, rows + ops.take(pixels, at)) > ops.take(thresholds, at)
        node = node * 2 + 1 + ops.astype(right, "int32")
    return node - _nodes(p)


def _traverse(
    ops: Ops,
    p: Parameters,
    x: Array,
    pixels: Array,
    thresholds: Array,
    table: Array,
    rows: Array,
    nodes: Array,
    leaves: Array,
) -> Array:
    out = None
    for trees in _slices(p, CLASSES):
        leaf = _walked(ops, p, x, pixels, thresholds, rows, nodes[trees])
        part = _leaf_sum(ops, table, leaf + leaves[trees])
        out = part if out is None else out + part
    return out


def _bag_operands(ops: Ops, x: Inputs, p: Parameters) -> Sequence[Array]:
    """X, the nodes flat and the leaves; then of each tree where its nodes begin and what its walk adds.

    That is from twice a place to its left child, and to the leaves from behind.
    """
    begins = np.arange(p.trees) * _nodes(p)
    steps = (begins, 1 - begins, np.arange(p.trees) * 2**p.depth - begins - _nodes(p))
    return [
        ops.asarray(x["x"]),
        ops.positions(x["pixels"].reshape(-1)),
        *(ops.asarray(a) for a in (x["thresholds"].reshape(-1), x["leaves"].reshape(-1, CLASSES))),
        *(ops.positions(a) for a in steps),
    ]


def _traverse_bag(
    ops: Ops,
    p: Parameters,
    x: Array,
    pixels: Array,
    thresholds: Array,
    table: Array,
    begins: Array,
    left: Array,
    to_leaves: Array,
) -> Array:
    at = ops.zeros((p.n, p.trees), "int32") + begins
    for _ in range(p.depth):
        right = ops.take_along_axis(x, ops.take(pixels, at), 1) > ops.take(thresholds, at)
        at = at * 2 + left + ops.astype(right, "int32")
    return ops.embedding_bag(table, at + to_leaves)


def _all_operands(ops: Ops, x: Inputs, p: Parameters) -> Sequence[Array]:
    """Nodes first: pixels (nodes·E,) in the order of columns to be taken, thresholds (nodes, E)."""
    leaves = np.arange(p.trees, dtype=np.int32) * 2**p.depth
    pixels = np.ascontiguousarray(x["pixels"].T).reshape(-1)
    thresholds = np.ascontiguousarray(x["thresholds"].T)
    table = x["leaves"].reshape(-1, CLASSES)
    return [
        ops.asarray(x["x"]),
        ops.positions(pixels),
        ops.asarray(thresholds),
        ops.asarray(table),
        ops.asarray(leaves),
    ]


def _compare_all(
    ops: Ops, p: Parameters, x: Array, pixels: Array, thresholds: Array, table: Array, leaves: Array
) -> Array:
    seen = ops.reshape(ops.take(x, pixels, 1), (p.n, _nodes(p), p.trees))
    right = seen > thresholds
    bits: list[Array] = []
    leaf = ops.zeros((p.n, p.trees), "int32")
    for level in range(p.depth):
        found = [right[:, node, :] for node in range(2**level - 1, 2 ** (level + 1) - 1)]
        for bit in reversed(bits):  # the last branch tells neighbours apart, the first one the halves
            found = [ops.where(bit, b, a) for a, b in zip(found[::2], found[1::2], strict=True)]
        bits.append(found[0])
        leaf = leaf * 2 + ops.astype(found[0], "int32")
    return _leaf_sum(ops, table, leaf + leaves)


def paths(depth: int) -> HostArray:
    """(nodes, 2^d): 1 where the way to a leaf goes right at a node, −1 where it goes left, 0 where it is not on it."""
    out = np.zeros((2**depth - 1, 2**depth))
    for leaf in range(2**depth):
        node = 0
        for level in reversed(range(depth)):
            right = leaf >> level & 1
            out[node, leaf] = 2 * right - 1
            node = 2 * node + 1 + right
    return out


def _gemm_operands(ops: Ops, x: Inputs, p: Parameters) -> Sequence[Array]:
    """One-hot pixels (64, E·nodes), thresholds, the paths (nodes, 2^d) and the leaves (E·2^d, 10)."""
    dtype = x["x"].dtype
    chosen = np.zeros((PIXELS, p.trees * _nodes(p)), dtype)
    chosen[x["pixels"].reshape(-1), np.arange(chosen.shape[1])] = 1
    host = (x["x"], chosen, x["thresholds"].reshape(-1), paths(p.depth).astype(dtype), x["leaves"].reshape(-1, CLASSES))
    return [*(ops.asarray(a) for a in host), ops.asarray(np.ones(1, dtype))]


def _gemm(
    ops: Ops, p: Parameters, x: Array, chosen: Array, thresholds: Array, ways: Array, table: Array, one: Array
) -> Array:
    count, ends = _nodes(p), 2**p.depth
    out = None
    for trees in _slices(p, count + ends):
        width = trees.stop - trees.start
        inner = slice(trees.start * count, trees.stop * count)
        seen = ops.matmul(x, chosen[:, inner])
        signs = ops.where(seen > thresholds[inner], one, -1.0)
        score = ops.matmul(ops.reshape(signs, (p.n * width, count)), ways)
        hot = ops.where(score > p.depth - 0.5, one, 0.0)
        part = ops.matmul(ops.reshape(hot, (p.n, width * ends)), table[trees.start * ends : trees.stop * ends, :])
        out = part if out is None else out + part
    return out


# -- presets ----------------------------------------------------------------------------------------------------------


def _params(n: int, trees: int, depth: int) -> Params:
    return {"n": n, "trees": trees, "depth": depth}


WORKLOAD = Definition(
    name="decision_forest",
    title="forest of decision trees",
    source="Nakandala et al. 2020, A Tensor Compiler for Unified Machine Learning Prediction Serving, OSDI",
    leaves_out="multiplications",
    axes={
        "n": Axis(help="rows of X, images", low=1, high=1e7),
        "trees": Axis(help="trees, E", low=1, high=1e5),
        "depth": Axis(help="comparisons from the root to a leaf, d", low=1, high=12),
    },
    presets={
        "smoke": (Point(_params(8, 4, 3)), Point(_params(5, 2, 1), headline=False)),
        "ideas": (Point(_params(1024, 100, 6)),),
        "standard": (Point(_params(2048, 100, 8)),),
        "full": (Point(_params(100_000, 1000, 8)),),
    },
    inputs=inputs,
    reference=reference,
    formulations={
        "forward": {
            "traverse": forward_step(
                "d rounds of gathers, all trees at once: a place, its value, its threshold", _walk_operands, _traverse
            ),
            "traverse_bag": forward_step(
                "the same walk, the leaves summed as they are read: an embedding bag", _bag_operands, _traverse_bag
            ),
            "compare_all": forward_step(
                "all nodes compared, the way chosen among the answers, one gather of leaves",
                _all_operands,
                _compare_all,
                lambda p: p.depth <= _UNROLLED and p.n * p.trees * _nodes(p) <= 2**29,
            ),
            "gemm": marked_multiplies_zeros(
                forward_step(
                    "Hummingbird's three dense products: pixels chosen, ways matched, leaves summed",
                    _gemm_operands,
                    _gemm,
                    lambda p: len(_slices(p, 2 ** (p.depth + 1))) <= _MOST_SLICES,
                )
            ),
        },
    },
    work=work,
    twins=twins,
)
