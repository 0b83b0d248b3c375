"""The update of a pattern by the dense gradient, weights stored with their zeros, and how it finds its thresholds.

What moves is a weight, scored by its magnitude, or a block of them, scored by the sum of its squares.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np

from backends.ops import Array, HostArray, Ops
from workloads.base import LEARNING_RATE, Parameters
from workloads.common import topology
from workloads.common.sparse_mlp import dense_of, growing, patterns_of, sizes, with_zeros
from workloads.common.sparse_mlp_steps import dense_gradients

_SAMPLE = 10_000  # values, about
_MORE, _SPARE = 1.15, 50  # times as many are taken as a sample says, and some: it may have too few of the greatest
_PARTS = 8  # of a layer, side by side: 4 and 16 are no faster in XLA, and Inductor takes the same time by all
# Of a flat array the how many-th greatest, one for each number that is given.
Threshold: TypeAlias = Callable[..., list[Array]]


# -- thresholds --------------------------------------------------------------------------------------------------------
def by_selection(ops: Ops, values: Array, *counts: int) -> list[Array]:
    """As the framework selects."""
    return [ops.kth_greatest(values, count) for count in counts]


def by_sort(ops: Ops, values: Array, *counts: int) -> list[Array]:
    """All in order."""
    ordered = ops.sort(values, -1, True)
    return [ordered[count - 1] for count in counts]


def by_sample(ops: Ops, values: Array, *counts: int) -> list[Array]:
    """Of those above what a sample says, where these are enough: the host reads how many there are."""
    length, most = values.shape[0], max(counts)
    if 2 * most <= length:
        sample = values[:: max(1, length // _SAMPLE)]
        size = sample.shape[0]
        above = ops.nonzero(values >= ops.kth_greatest(sample, min(size, round(_MORE * most * size / length) + _SPARE)))
        values = ops.take(values, above) if above.shape[0] >= most else values
    return [ops.kth_greatest(values, count) for count in counts]


def by_bisection(ops: Ops, values: Array, *counts: int) -> list[Array]:
    """Bit by bit, the greatest number that `count` values are at least: bits of positive floats are in their order."""
    bits = ops.bitcast(values, "int32")
    out = []
    for count in counts:
        found = ops.astype(ops.sum(bits * 0, 0), "int32")
        for bit in range(30, -1, -1):
            tried = found + (1 << bit)
            found = ops.where(ops.sum(ops.astype(bits >= tried, "int32"), 0) >= count, tried, found)
        out.append(ops.bitcast(found, "float32"))
    return out


def by_loop(ops: Ops, values: Array, *counts: int, powers: Array) -> list[Array]:
    """The same with the passes as steps of a loop, which reads the bits where they were written; `powers` of two.

    A pass adds up a few values that lie far apart, then what each of these sums has. XLA adds up a long vector in
    windows of 32, and writes down every comparison for it; so few it adds as it compares.
    """
    bits = ops.bitcast(values, "int32")
    parts = math.gcd(values.shape[0], _PARTS)
    lanes = ops.reshape(bits, (parts, values.shape[0] // parts))

    def as_many(least: Array, count: int) -> Array:
        of_lanes = ops.maximum(ops.sum(ops.astype(lanes >= least, "int32"), 0), 0)  # else XLA makes one sum of both
        return ops.sum(of_lanes, 0) >= count

    def narrowed(found: tuple[Array, ...], power: tuple[Array, ...]) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        tried = [one + power[0] for one in found]
        several = zip(found, tried, counts, strict=True)
        better = [ops.where(as_many(more, count), more, one) for one, more, count in several]
        return tuple(better), (tried[0],)

    starts = tuple(ops.astype(ops.sum(bits * 0, 0), "int32") for _ in counts)  # Inductor refuses one array twice
    found, _ = ops.scan(narrowed, starts, (powers,))
    return [ops.bitcast(one, "float32") for one in found]


# -- the update --------------------------------------------------------------------------------------------------------
def operands(ops: Ops, p: Parameters, x: HostArray, target: HostArray, rest: Mapping[str, HostArray]) -> list[Array]:
    """x, target, every layer (in × out) with its zeros, and the masks of what moves.

    Then where SET grows, and the flat places of what is stored, of each sparse layer.
    """
    side, patterns = topology.side_of(p.rule), patterns_of(rest, sizes(p))
    masks = [dense_of(np.ones_like(rest[f"w{i}"]), pattern).T[::side, ::side] for i, pattern in enumerate(patterns)]
    host = [x, target, *with_zeros(p, rest), *masks]
    if p.rule == "set":
        host += [growing(rest[f"grow{i}"], pattern.shape).astype(x.dtype) for i, pattern in enumerate(patterns)]
    else:  # nothing is multiplied by them
        host[-len(masks) :] = [mask.astype(np.int8) for mask in masks]
    host += [np.flatnonzero(mask.ravel()).astype(np.int32) for mask in masks]
    return [ops.asarray(np.ascontiguousarray(v)) for v in host]


def scores(ops: Ops, x: Array, side: int) -> Array:
    """How large what moves is in each place of a matrix: weights, or blocks of `side`²."""
    if side == 1:
        return ops.maximum(x, -x)
    rows, columns = x.shape
    down = ops.sum(ops.reshape(x * x, (rows // side, side, columns)), 1)  # whole rows first: they lie side by side
    return ops.sum(ops.reshape(down, (rows // side, columns // side, side)), 2)


def _kept_only(ops: Ops, kept: Array, x: Array, side: int) -> Array:
    """x where `kept` is true of a weight or its block, zero elsewhere."""
    if side == 1:
        return ops.where(kept, x, 0.0)
    rows, columns = x.shape
    there = ops.reshape(kept, (rows // side, 1, columns // side, 1))
    tiles = ops.reshape(x, (rows // side, side, columns // side, side))
    return ops.reshape(ops.where(there, tiles, 0.0), (rows, columns))


def update(ops: Ops, p: Parameters, threshold: Threshold, *operands: Array) -> tuple[Array, ...]:
    """The new weights of every sparse layer, then the masks (int8); of SET also the last layer after its step."""
    x, target, *rest = operands
    count, side = p.layers, topology.side_of(p.rule)
    weights, masks, growth = rest[: count + 1], rest[count + 1 : 2 * count + 1], rest[2 * count + 1 :]
    places = rest[len(rest) - count :]
    _, gradients = dense_gradients(ops, x, target, weights)
    new, chosen = [], []
    for i in range(count):
        matrix, score, stored = weights[i], gradients[i], places[i].shape[0]
        if p.rule == "set":
            matrix, score = ops.sgd_step(matrix, gradients[i] * masks[i], LEARNING_RATE), growth[i]
        magnitude, dropped = scores(ops, matrix, side), topology.exchanged(stored)
        found = ops.take(ops.reshape(magnitude, (-1,)), places[i])  # few: a tenth of the values to find one among
        [least] = threshold(ops, found, stored - dropped)
        kept = (magnitude >= least) & (masks[i] > 0)
        wanted = scores(ops, score, side)
        wanted = ops.where(kept, 0.0 * wanted, wanted)
        grown = wanted > 0 if p.rule == "set" else wanted >= threshold(ops, ops.reshape(wanted, (-1,)), dropped)[0]
        new.append(_kept_only(ops, kept, matrix, side))
        chosen.append(ops.astype(kept | grown, "int8"))
    last = [ops.sgd_step(weights[count], gradients[count], LEARNING_RATE)] if p.rule == "set" else []
    return *new, *chosen, *last
