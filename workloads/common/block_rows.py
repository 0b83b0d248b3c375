"""Train steps in padded block rows: every block row as long as the longest, so that one batched product does them all.

Everywhere `a` is (blocks, b, b) with a pattern in units of blocks, m rows, k columns, and B is (k, n).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from backends.ops import Array, HostArray, Ops
from workloads.base import Inputs, Parameters
from workloads.common import sparse
from workloads.common.block_products import block_pattern, ell_product, picked_tiles
from workloads.common.sparse import Products, summed_over_columns


def prepare_ell_step(ops: Ops, x: Inputs, p: Parameters) -> Sequence[Array]:
    """Columns and mask of the padded rows; the same of the transpose's, and where its blocks stand in the first."""
    pattern, block = block_pattern(x, p), p.block
    flipped, order = pattern.transposed()
    ell, back = sparse.padded(pattern), sparse.padded(flipped)
    places = np.flatnonzero(ell.filled).astype(np.int32)[order][back.slots]
    dtype = x["a"].dtype
    mask = np.repeat(ell.filled.astype(dtype), block, axis=1)[:, None, :]
    back_mask = back.filled.astype(dtype).reshape(-1, 1, 1)
    return [ops.asarray(v) for v in (ell.columns.ravel(), mask, back.columns.ravel(), back_mask, places.ravel())]


def ell_sampled(ops: Ops, p: Parameters, columns: Array, mask: Array) -> Callable[[Array, Array], Array]:
    """The gradient of padded block rows, in their shape: a batched product of a block row with the rows that it meets.

    A mask keeps it zero where there is only padding.
    """
    block, rows = p.block, p.m // p.block
    longest = columns.shape[0] // rows

    def product(left: Array, right: Array) -> Array:
        picked = picked_tiles(ops, rows, block, columns, right)
        tiles = ops.reshape(left, (rows, block, left.shape[1]))
        return ops.matmul(tiles, ops.permute_dims(picked, (0, 2, 1)))

    return lambda dy, b: summed_over_columns(dy, b, rows * longest * block, product) * mask


def ell_products(
    ops: Ops, p: Parameters, columns: Array, mask: Array, back_columns: Array, back_mask: Array, places: Array
) -> Products:
    """Products of padded block rows; a mask keeps the padding's value zero."""
    m, k, _ = sparse.shape(p)
    block = p.block
    rows, back_rows = m // block, k // block
    longest, back_longest = columns.shape[0] // rows, back_columns.shape[0] // back_rows

    def backward(values: Array, dy: Array) -> Array:
        tiles = ops.permute_dims(ops.reshape(values, (rows, block, longest, block)), (0, 2, 3, 1))
        tiles = ops.take(ops.reshape(tiles, (rows * longest, block, block)), places) * back_mask
        tiles = ops.permute_dims(ops.reshape(tiles, (back_rows, back_longest, block, block)), (0, 2, 1, 3))
        return ell_product(ops, p, ops.reshape(tiles, (back_rows, block, back_longest * block)), back_columns, dy)

    return Products(
        lambda values, b: ell_product(ops, p, values, columns, b),
        sparse.sgd_update(ops, ell_sampled(ops, p, columns, mask)),
        backward,
    )


def prepare_rows_step(ops: Ops, x: Inputs, p: Parameters) -> Sequence[Array]:
    """Columns and mask of the padded rows; where the blocks stand among them by block column, and that column."""
    pattern = block_pattern(x, p)
    flipped, order = pattern.transposed()
    ell = sparse.padded(pattern)
    mask = np.repeat(ell.filled.astype(x["a"].dtype), p.block, axis=1)[:, None, :]
    places = np.flatnonzero(ell.filled).astype(np.int32)[order]
    return [ops.asarray(v) for v in (ell.columns.ravel(), mask, places, flipped.rows)]


def rows_products(ops: Ops, p: Parameters, columns: Array, mask: Array, places: Array, flipped_rows: Array) -> Products:
    """Batched products of padded block rows in both directions; backward their results are summed by block column."""
    block, rows, columns_of_blocks = p.block, p.m // p.block, p.k // p.block
    longest = columns.shape[0] // rows

    def backward(values: Array, dy: Array) -> Array:
        def product(part: Array) -> Array:
            n = part.shape[1]
            tiles = ops.matmul(ops.permute_dims(values, (0, 2, 1)), ops.reshape(part, (rows, block, n)))
            found = ops.take(ops.reshape(tiles, (rows * longest, block, n)), places)
            return ops.reshape(ops.segment_sum(found, flipped_rows, columns_of_blocks), (p.k, n))

        return sparse.by_columns(ops, dy, rows * longest * block, product)

    return Products(
        lambda values, b: ell_product(ops, p, values, columns, b),
        sparse.sgd_update(ops, ell_sampled(ops, p, columns, mask)),
        backward,
    )


def prepare_taken_step(ops: Ops, x: Inputs, p: Parameters) -> Sequence[Array]:
    """Columns and mask of the padded rows; where the blocks of each block column stand among them, and their mask."""
    pattern = block_pattern(x, p)
    flipped, order = pattern.transposed()
    ell, back = sparse.padded(pattern), sparse.padded(flipped)
    dtype = x["a"].dtype
    mask = np.repeat(ell.filled.astype(dtype), p.block, axis=1)[:, None, :]
    places = np.flatnonzero(ell.filled).astype(np.int32)[order][back.slots]
    return [ops.asarray(v) for v in (ell.columns.ravel(), mask, places, back.filled.astype(dtype)[..., None, None])]


def taken_products(ops: Ops, p: Parameters, columns: Array, mask: Array, places: Array, filled: Array) -> Products:
    """As `rows_products`; backward the results of each block column are taken together and added up, none scattered."""
    block, rows = p.block, p.m // p.block
    longest = columns.shape[0] // rows

    def backward(values: Array, dy: Array) -> Array:
        def product(part: Array) -> Array:
            n = part.shape[1]
            tiles = ops.matmul(ops.permute_dims(values, (0, 2, 1)), ops.reshape(part, (rows, block, n)))
            found = ops.take(ops.reshape(tiles, (rows * longest, block, n)), places)
            return ops.reshape(ops.sum(found * filled, 1), (p.k, n))

        return sparse.by_columns(ops, dy, filled.shape[0] * filled.shape[1] * block, product)

    return Products(
        lambda values, b: ell_product(ops, p, values, columns, b),
        sparse.sgd_update(ops, ell_sampled(ops, p, columns, mask)),
        backward,
    )


def restore_ell(a: HostArray, x: Inputs, p: Parameters) -> HostArray:
    """Padded block rows back into blocks."""
    ell, block = sparse.padded(block_pattern(x, p)), p.block
    tiles = a.reshape(len(a), block, -1, block).transpose(0, 2, 1, 3)
    blocks: HostArray = tiles[ell.filled]
    return blocks
