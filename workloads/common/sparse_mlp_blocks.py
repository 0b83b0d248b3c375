"""Sparse training over whole blocks: a step by the products of block_steps.py, and the update that moves blocks.

The inputs say where every weight stands; here that is read as blocks A (blocks, 16, 16) of a layer (out × in).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from backends.ops import Array, HostArray, Matrix, Ops
from workloads.base import Inputs, Parameters
from workloads.common import block_products, block_rows, block_steps, patterns, sparse, topology
from workloads.common.patterns import Pattern
from workloads.common.sparse import Products
from workloads.common.sparse_mlp import dense_of, patterns_of, sizes
from workloads.common.sparse_mlp_steps import passes, step
from workloads.common.sparse_mlp_updates import scores


class BlockForm(NamedTuple):
    """How a layer's blocks are stored and multiplied, in the words of `sparse.train_step`; `rest` makes `each`."""

    values: Callable[[Inputs, Parameters], HostArray]
    rest: sparse.Prepare
    each: int
    products: Callable[..., Products]
    restore: sparse.Restore


def _as_they_are(values: HostArray, x: Inputs, p: Parameters) -> HostArray:
    return values


GATHERED = BlockForm(lambda x, p: x["a"], block_steps.prepare_bmm_step, 5, block_steps.bmm_products, _as_they_are)
ROWS = BlockForm(
    block_products.ell_values, block_rows.prepare_rows_step, 4, block_rows.rows_products, block_rows.restore_ell
)
TAKEN = ROWS._replace(rest=block_rows.prepare_taken_step, products=block_rows.taken_products)


def in_blocks(pattern: Pattern) -> Pattern:
    """A pattern of full blocks in units of them: a block is where its first weight is."""
    side = topology.SIDE
    first = (pattern.rows % side == 0) & (pattern.indices % side == 0)
    rows, columns = (length // side for length in pattern.shape)
    return Pattern(pattern.indices[first] // side, pattern.indptr[::side] // side**2, (rows, columns))


def _layers(p: Parameters, rest: Mapping[str, HostArray]) -> list[tuple[Inputs, Parameters]]:
    """Each sparse layer as `block_sparse` has its operand, and the axes of its product."""
    out: list[tuple[Inputs, Parameters]] = []
    for i, pattern in enumerate(patterns_of(rest, sizes(p))):
        found = in_blocks(pattern)
        blocks = patterns.take_blocks(dense_of(rest[f"w{i}"], pattern), found, topology.SIDE)
        out.append((patterns.sparse_inputs(blocks, found), _axes(p, i)))
    return out


def _axes(p: Parameters, layer: int) -> Parameters:
    fan_in, fan_out = sizes(p)[layer : layer + 2]
    return Parameters({"m": fan_out, "k": fan_in, "n": p.batch, "block": topology.SIDE})


# -- a step ------------------------------------------------------------------------------------------------------------
def operands(
    ops: Ops, p: Parameters, form: BlockForm, x: HostArray, target: HostArray, rest: Mapping[str, HostArray]
) -> list[Array | Matrix]:
    """x and target (units × images), the blocks of each layer as `form` stores them, the last layer, and the rest."""
    layers = _layers(p, rest)
    host = [x.T, target.T, *(form.values(*layer) for layer in layers), rest[f"w{p.layers}"]]
    out: list[Array | Matrix] = [ops.asarray(np.ascontiguousarray(v)) for v in host]
    for layer in layers:
        out += form.rest(ops, *layer)
    return out


def _products(ops: Ops, p: Parameters, form: BlockForm, rest: Sequence[Array | Matrix]) -> list[Products]:
    each = form.each
    return [form.products(ops, _axes(p, i), *rest[each * i : each * (i + 1)]) for i in range(p.layers)]


def block_step(ops: Ops, p: Parameters, form: BlockForm, *operands: Array | Matrix) -> tuple[Array, ...]:
    """(loss, the blocks of each layer after a step as `form` stores them, the last layer)."""
    weights, rest = operands[2 : 3 + p.layers], operands[3 + p.layers :]
    return step(ops, _products(ops, p, form, rest), operands[0], operands[1], weights)


def from_blocks(p: Parameters, form: BlockForm, outputs: Mapping[str, HostArray]) -> Mapping[str, HostArray]:
    """The stored values of each updated layer, in the order of its pattern."""
    out = {"loss": outputs["loss"], f"w{p.layers}": outputs[f"w{p.layers}"]}
    for i, pattern in enumerate(patterns_of(outputs, sizes(p))):
        found, axes = in_blocks(pattern), _axes(p, i)
        shape = (len(found.indices), topology.SIDE, topology.SIDE)
        x = patterns.sparse_inputs(np.empty(shape, outputs[f"w{i}"].dtype), found)
        order = block_products.unrolled_pattern(found, topology.SIDE)[1]
        out[f"w{i}"] = form.restore(outputs[f"w{i}"], x, axes).ravel()[order]
    return out


# -- an update ---------------------------------------------------------------------------------------------------------
def moving_operands(
    ops: Ops, p: Parameters, x: HostArray, target: HostArray, rest: Mapping[str, HostArray]
) -> list[Array | Matrix]:
    """As `operands` of gathered blocks, then of each layer the flat place of each block in (out × in)."""
    places = [in_blocks(pattern).flat.astype(np.int32) for pattern in patterns_of(rest, sizes(p))]
    return [*operands(ops, p, GATHERED, x, target, rest), *(ops.asarray(v) for v in places)]


def moved(ops: Ops, p: Parameters, *operands: Array) -> tuple[Array, ...]:
    """Of every sparse layer its blocks after an update, in the order of their places; then the places.

    Then the order of the transpose, which the next step needs. A dropped block's storage is a grown one's, so that
    everything keeps its shape: the matrix is built anew within the call, and nothing stores a zero.
    """
    count = p.layers
    weights, rest, places = operands[2 : 3 + count], operands[3 + count : -count], operands[-count:]
    layers = _products(ops, p, GATHERED, rest)
    _, read, errors, _ = passes(ops, layers, operands[0], operands[1], weights)
    found = []
    for values, place, h, dz in zip(weights, places, read, errors, strict=False):
        found.append(_exchanged(ops, values, place, ops.matmul(dz, sparse.transpose(ops, h))))
    return tuple(array for several in zip(*found, strict=True) for array in several)


def _exchanged(ops: Ops, values: Array, places: Array, gradient: Array) -> tuple[Array, Array, Array]:
    """The blocks (blocks, 16, 16) after the smallest gave way to zeros, where they stand, and the transpose's order."""
    stored, side, _ = values.shape
    rows, columns = (length // side for length in gradient.shape)
    dropped = topology.exchanged(stored)
    stays = ops.astype(ops.topk(ops.sum(values * values, (1, 2)), stored - dropped)[1], "int32")
    held = ops.take(places, stays)
    there = ops.scatter(held * 0 + 1, held, rows * columns)
    wanted = ops.where(there > 0, 0.0, ops.reshape(scores(ops, gradient, side), (rows * columns,)))
    grown = ops.astype(ops.topk(wanted, dropped)[1], "int32")
    after = ops.concat([held, grown], 0)
    order = ops.argsort(after)
    found = ops.take(values, ops.take(ops.concat([stays, grown * 0], 0), order))  # of a grown one any, and then zeros
    blocks = ops.where(ops.reshape(order < stored - dropped, (stored, 1, 1)), found, 0.0)
    sorted_places = ops.take(after, order)
    return blocks, sorted_places, ops.argsort(sorted_places % columns * rows + sorted_places // columns)


def from_moved(p: Parameters, outputs: Mapping[str, HostArray]) -> Mapping[str, HostArray]:
    """The new weights (in × out) with their zeros, and the mask of the blocks, which is read in the transpose's order.

    A block that comes after one of a later place, or twice, is missing in the weights; one that does so in the order of
    the transpose is missing in the mask.
    """
    out, side = {}, topology.SIDE
    for i in range(p.layers):
        fan_in, fan_out = sizes(p)[i : i + 2]
        places, order = outputs[f"places{i}"], outputs[f"order{i}"]
        tiles = np.zeros((fan_out // side * (fan_in // side), side, side), outputs[f"new{i}"].dtype)
        in_order = _ascending(places)
        tiles[places[in_order]] = outputs[f"new{i}"][in_order]
        dense = tiles.reshape(fan_out // side, fan_in // side, side, side).transpose(0, 2, 1, 3)
        out[f"new{i}"] = dense.reshape(fan_out, fan_in).T
        column, row = places[order] % (fan_in // side), places[order] // (fan_in // side)
        mask = np.zeros((fan_in // side, fan_out // side), np.int64)
        in_order = _ascending(column * (fan_out // side) + row)
        mask[column[in_order], row[in_order]] = 1
        out[f"mask{i}"] = mask
    return out


def _ascending(keys: HostArray) -> HostArray:
    """Which keys are larger than all before them."""
    before = np.maximum.accumulate(np.concatenate([[-1], keys[:-1]]))
    larger: HostArray = keys > before
    return larger
