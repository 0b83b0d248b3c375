"""Sparse training by Top-KAST: every weight is kept, the largest are read, and a larger set of them learns.

The forward product and the gradient of what a layer reads go through a set A, the largest of its weights. The gradient
of the weights is formed and applied at a set B ⊃ A, the largest twice as many. Both are chosen anew every hundred steps
or so, from all the weights (Jayakumar et al. 2020, arXiv:2106.03517). A formulation that stores no zeros stores the
values of B, out of which those of A are taken; the others rest until the next choice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from backends.ops import CSR, Array, HostArray, Matrix, Ops
from workloads.base import LEARNING_RATE, NEAR_TIES, Inputs, Parameters, Work
from workloads.common import decisions, digits, patterns, sparse, sparse_mlp, topology
from workloads.common.patterns import Pattern
from workloads.common.sparse import Products
from workloads.common.sparse_mlp import dense_of, patterns_of, sizes
from workloads.common.sparse_mlp_steps import masked_step, sampled, step
from workloads.common.sparse_mlp_updates import Threshold, scores

_MOVED = 0.1  # how far the weights of B are drawn from where they were chosen, of the spread of all


def work(p: Parameters, itemsize: int) -> Work:
    """That of a sparse step through A, and for the weights of B that are not in A 2B FLOP and e + 4 + 3e bytes.

    A choice reads every weight and writes a byte for each. All weights are alive, and the new values of B.
    """
    e, dims = itemsize, sizes(p)
    flop = topology.useful_flop(p.batch, dims, p.density, False)
    moved, live = sparse_mlp.least_bytes(e, p.batch, dims, p.density, "step", False)
    for (fan_in, fan_out), (few, many) in zip(pairwise(dims), topology.read_and_learnt(dims, p.density), strict=False):
        flop += 2 * p.batch * (many - few)
        moved += (4 * e + 4) * (many - few)
        live += e * (fan_in * fan_out + many - 2 * few) + 4 * many + 4 * (fan_out + 1)
        if p.phase == "update":
            moved += (e + 1) * fan_in * fan_out
    return Work(flop, moved, live)


# -- inputs and reference ----------------------------------------------------------------------------------------------
def drawn(p: Parameters, seed: int) -> Inputs:
    """x (n, features) and target (n, 10) digits; all weights w0… (in, out).

    Of each layer but the last indices and indptr of B (out × in), and w0_seen, which entries of B are in A. They are
    the largest of the weights as these were when they were chosen: those of B have moved since.
    """
    dims, rng = sizes(p), np.random.default_rng([seed, 9])
    out: dict[str, HostArray] = {"x": digits.flat(p.batch, p.features, seed), "target": digits.one_hot(p.batch, seed)}
    chosen = topology.read_and_learnt(dims, p.density)
    for layer, (fan_in, fan_out) in enumerate(pairwise(dims)):
        spread = np.sqrt(2 / fan_in)
        weights = rng.standard_normal((fan_in, fan_out)) * spread
        if layer < p.layers:
            few, many = (patterns.magnitude(weights.T, count / weights.size) for count in chosen[layer])
            weights[many.indices, many.rows] += _MOVED * spread * rng.standard_normal(len(many.indices))
            out[f"w{layer}_indices"], out[f"w{layer}_indptr"] = many.indices, many.indptr
            out[f"w{layer}_seen"] = np.flatnonzero(np.isin(many.flat, few.flat, assume_unique=True)).astype(np.int32)
        out[f"w{layer}"] = weights
    return out


def masks(p: Parameters, rest: Mapping[str, HostArray]) -> list[tuple[HostArray, HostArray]]:
    """Of each sparse layer ones at A, and ones at B, zeros elsewhere, (in × out)."""
    out = []
    for i, learnt in enumerate(patterns_of(rest, sizes(p))):
        there = np.ones(len(learnt.indices), rest[f"w{i}"].dtype)
        inner = np.zeros_like(there)
        inner[rest[f"w{i}_seen"]] = 1
        out.append((dense_of(inner, learnt).T, dense_of(there, learnt).T))
    return out


def reference(p: Parameters, x: HostArray, target: HostArray, rest: Mapping[str, HostArray]) -> Mapping[str, HostArray]:
    """By dense products; of an update also the new sets, 2 in A, 1 in B alone, and where rounding may decide."""
    both, weights = masks(p, rest), [rest[f"w{i}"] for i in range(p.layers + 1)]
    read = [w * seen for w, (seen, _) in zip(weights, both, strict=False)]
    loss, gradients = sparse_mlp.backward([*read, weights[-1]], x, target)
    learnt = [*(mask for _, mask in both), np.ones(weights[-1].shape)]
    new = [w - LEARNING_RATE * g * mask for w, g, mask in zip(weights, gradients, learnt, strict=True)]
    out: dict[str, HostArray] = {"loss": loss, **{f"w{i}": values for i, values in enumerate(new)}}
    if p.phase == "update":
        for i, (few, many) in enumerate(topology.read_and_learnt(sizes(p), p.density)):
            ones = [decisions.largest(new[i], count).astype(np.int64) for count in (few, many)]
            out[f"sets{i}"] = ones[0] + ones[1]
            near = [decisions.near_ties(new[i], count) for count in (few, many)]
            out[f"{NEAR_TIES}sets{i}"] = near[0] | near[1]
    return out


# -- stored with zeros -------------------------------------------------------------------------------------------------
def masked_operands(
    ops: Ops, p: Parameters, x: HostArray, target: HostArray, rest: Mapping[str, HostArray]
) -> list[Array]:
    """x, target, every layer (in × out), the masks of B, and those of A: what `masked_step` reads."""
    both, weights = masks(p, rest), [rest[f"w{i}"] for i in range(p.layers + 1)]
    host = [x, target, *weights, *(learnt for _, learnt in both), *(seen for seen, _ in both)]
    return [ops.asarray(np.ascontiguousarray(v)) for v in host]


def update(ops: Ops, p: Parameters, threshold: Threshold, *operands: Array) -> tuple[Array, ...]:
    """(loss, every layer after a step, the sets of each sparse one, int8): a step, then the choice from its weights.

    So it is one iteration of training with the choice on top, as an update by SET is, and 101 of them make a period.
    """
    loss, *new = masked_step(ops, p, *operands)
    sets = []
    for matrix, (few, many) in zip(new, topology.read_and_learnt(sizes(p), p.density), strict=False):
        size = scores(ops, matrix, 1)
        seen, learnt = threshold(ops, ops.reshape(size, (-1,)), few, many)
        sets.append(ops.astype(size >= seen, "int8") + ops.astype(size >= learnt, "int8"))
    return loss, *new, *sets


# -- sparse formats ----------------------------------------------------------------------------------------------------
def native_operands(
    ops: Ops, p: Parameters, format: str, sampling: str, x: HostArray, target: HostArray, rest: Mapping[str, HostArray]
) -> list[Array | Matrix]:
    """x and target (units × images), the values of B of each layer, and the last layer.

    Then of each layer A and its transpose, where their values are among those of B, and what samples at B: a matrix
    where `sampling` is native, flat positions where it is dense.
    """
    found = patterns_of(rest, sizes(p))
    values = [patterns.take(rest[f"w{i}"].T, learnt) for i, learnt in enumerate(found)]
    out: list[Array | Matrix] = [ops.asarray(np.ascontiguousarray(v.T)) for v in (x, target)]
    out += [ops.asarray(v) for v in (*values, rest[f"w{p.layers}"])]
    for i, learnt in enumerate(found):
        inner = rest[f"w{i}_seen"]
        seen = CSR(values[i][inner], *_inside(learnt, inner))
        flipped, order = seen.transposed()
        out += [ops.sparse(seen, format), ops.sparse(flipped, format), ops.asarray(inner), ops.asarray(inner[order])]
        native = sampling == "native"
        out.append(ops.sparse(CSR(values[i], *learnt), format) if native else ops.asarray(learnt.flat.astype(np.int32)))
    return out


def _inside(pattern: Pattern, entries: HostArray) -> Pattern:
    """The pattern of some of its entries, in their order."""
    lengths = np.bincount(pattern.rows[entries], minlength=pattern.shape[0])
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return Pattern(pattern.indices[entries], indptr, pattern.shape)


def native_step(ops: Ops, p: Parameters, sampling: str, operands: Sequence[Array | Matrix]) -> tuple[Array, ...]:
    """(loss, the values of B of each layer after a step, the last layer)."""
    rest = operands[3 + p.layers :]
    layers = [_layer(ops, sampling, *rest[5 * i : 5 * (i + 1)]) for i in range(p.layers)]
    return step(ops, layers, operands[0], operands[1], operands[2 : 3 + p.layers])


def _layer(ops: Ops, sampling: str, seen: Matrix, flipped: Matrix, inner: Array, order: Array, at: Matrix) -> Products:
    return Products(
        lambda values, h: ops.sparse_matmul(ops.sparse_with_values(seen, ops.take(values, inner)), h),
        sparse.sgd_update(ops, sampled(ops, sampling, at, [at])),
        lambda values, dz: ops.sparse_matmul(ops.sparse_with_values(flipped, ops.take(values, order)), dz),
    )


def stored_names(p: Parameters) -> list[str]:
    """Of what `native_step` returns; the values of B have not the names of the weights, of which they are some."""
    return ["loss", *(f"learnt{i}" for i in range(p.layers)), f"w{p.layers}"]


def from_stored(p: Parameters, outputs: Mapping[str, HostArray]) -> Mapping[str, HostArray]:
    """All weights of each layer, (in × out): the values of B as they are after the step, the others as they were."""
    out = {"loss": outputs["loss"], f"w{p.layers}": outputs[f"w{p.layers}"]}
    for i, learnt in enumerate(patterns_of(outputs, sizes(p))):
        weights = outputs[f"w{i}"].astype(outputs[f"learnt{i}"].dtype)
        weights[learnt.indices, learnt.rows] = outputs[f"learnt{i}"]
        out[f"w{i}"] = weights
    return out
