"""Ways to multiply by a block-sparse matrix: what `block_sparse` is made of, its train steps in block_steps.py.

Everywhere `a` is (blocks, b, b) with a pattern in units of blocks, m rows, k columns, and B is (k, n).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from backends.ops import CSR, Array, HostArray, Matrix, Ops
from workloads.base import Inputs, Parameters
from workloads.common import patterns, sparse
from workloads.common.patterns import Pattern
from workloads.common.sparse import by_columns


def block_pattern(x: Inputs, p: Parameters) -> Pattern:
    """The pattern of the inputs, in units of blocks."""
    m, k, _ = sparse.shape(p)
    return Pattern(x["a_indices"], x["a_indptr"], patterns.blocks(m, k, p.block))


def with_zeros(x: Inputs, p: Parameters) -> HostArray:
    """A with its zeros, (m, k), in the dtype of the values."""
    m, k, _ = sparse.shape(p)
    block, pattern = p.block, block_pattern(x, p)
    dense = np.zeros((m, k), x["a"].dtype)
    tiles = dense.reshape(m // block, block, k // block, block)
    tiles[pattern.rows, :, pattern.indices, :] = x["a"]
    return dense


def unrolled_pattern(pattern: Pattern, block: int) -> tuple[Pattern, HostArray]:
    """A pattern of blocks in units of entries, and the permutation (nnz,) that puts values of blocks into its order."""
    rows, columns = (side * block for side in pattern.shape)
    within = np.arange(block, dtype=np.int64)
    down = pattern.rows[:, None, None] * np.int64(block) + within[:, None]
    right = pattern.indices[:, None, None] * np.int64(block) + within
    flat = (down * columns + right).ravel()
    order = np.argsort(flat)
    indptr = np.searchsorted(flat[order], np.arange(rows + 1, dtype=np.int64) * columns).astype(np.int32)
    return Pattern((flat[order] % columns).astype(np.int32), indptr, (rows, columns)), order


def unrolled(x: Inputs, p: Parameters) -> tuple[CSR, HostArray]:
    """The same matrix as scalar CSR, and the permutation (nnz,) with `csr.values == a.ravel()[permutation]`."""
    found, order = unrolled_pattern(block_pattern(x, p), p.block)
    return CSR(x["a"].ravel()[order], *found), order


# -- forward -----------------------------------------------------------------------------------------------------------


def native(format: str) -> sparse.Prepare:
    """Operands of the framework's own product in a format."""

    def prepare(ops: Ops, x: Inputs, p: Parameters) -> Sequence[Array | Matrix]:
        return [ops.sparse(unrolled(x, p)[0], format, p.block), ops.asarray(x["b"])]

    return prepare


def block_bmm(ops: Ops, rows: int, values: Array, segments: Array, columns: Array, b: Array) -> Array:
    """A batched product of every block with its b rows of B, summed by block row: (rows·block, n)."""
    count, block, _ = values.shape

    def product(part: Array) -> Array:
        n = part.shape[1]
        picked = ops.take(ops.reshape(part, (part.shape[0] // block, block, n)), columns)
        return ops.reshape(ops.segment_sum(ops.matmul(values, picked), segments, rows), (rows * block, n))

    return by_columns(ops, b, count * block, product)


def prepare_bmm(ops: Ops, x: Inputs, p: Parameters) -> Sequence[Array]:
    """Blocks, the block row and block column of each, and B."""
    pattern = block_pattern(x, p)
    return [ops.asarray(v) for v in (x["a"], pattern.rows, pattern.indices, x["b"])]


def forward_bmm(ops: Ops, p: Parameters, *operands: Array) -> Array:
    """Y from the operands of `prepare_bmm`."""
    return block_bmm(ops, p.m // p.block, *operands)


def ell_values(x: Inputs, p: Parameters) -> HostArray:
    """Block rows padded to the longest and laid side by side: (m/b, b, longest·b)."""
    ell, block = sparse.padded(block_pattern(x, p)), p.block
    tiles = np.where(ell.filled[..., None, None], x["a"][ell.slots], np.zeros((), x["a"].dtype))
    return np.ascontiguousarray(tiles.transpose(0, 2, 1, 3)).reshape(len(tiles), block, -1)


def prepare_ell(ops: Ops, x: Inputs, p: Parameters) -> Sequence[Array]:
    """Padded block rows, the block columns of each laid out flat, and B."""
    ell = sparse.padded(block_pattern(x, p))
    return [ops.asarray(v) for v in (ell_values(x, p), ell.columns.ravel(), x["b"])]


def picked_tiles(ops: Ops, rows: int, block: int, columns: Array, b: Array) -> Array:
    """The rows of B that each padded block row meets, (rows, longest·block, n)."""
    tiles = ops.reshape(b, (b.shape[0] // block, block, b.shape[1]))
    return ops.reshape(ops.take(tiles, columns), (rows, columns.shape[0] // rows * block, b.shape[1]))


def ell_product(ops: Ops, p: Parameters, values: Array, columns: Array, b: Array) -> Array:
    """Y from padded block rows: one batched product of (b, longest·b) by (longest·b, n) matrices."""
    rows, block, wide = values.shape

    def product(part: Array) -> Array:
        y = ops.matmul(values, picked_tiles(ops, rows, block, columns, part))
        return ops.reshape(y, (rows * block, part.shape[1]))

    return by_columns(ops, b, rows * wide, product)


def rows_by_length(x: Inputs) -> list[tuple[HostArray, HostArray]]:
    """For each length of block rows: the rows (r,), and where their blocks stand (r, length); 0 is a length too."""
    starts = x["a_indptr"]
    lengths = np.diff(starts)
    groups = ((int(length), np.flatnonzero(lengths == length)) for length in np.unique(lengths))
    return [(rows, starts[rows][:, None] + np.arange(length)) for length, rows in groups]


def prepare_equal_rows(ops: Ops, x: Inputs, p: Parameters) -> Sequence[Array]:
    """B and what `equal_rows` makes."""
    return [ops.asarray(x["b"]), *equal_rows(ops, x, p)]


def equal_rows(ops: Ops, x: Inputs, p: Parameters) -> list[Array]:
    """Where each block row of Y stands among the groups; of each group the values; of each group the block columns.

    A group has the r block rows of one length, values (r, b, length·b) and columns (r·length,).
    """
    block, groups = p.block, rows_by_length(x)
    order = np.argsort(np.concatenate([rows for rows, _ in groups])).astype(np.int32)
    tiles = (x["a"][slots].transpose(0, 2, 1, 3) for _, slots in groups)  # (r, b, length, b)
    values = (t.reshape(len(t), block, t.shape[2] * block) for t in tiles)
    columns = (x["a_indices"][slots].ravel() for _, slots in groups)
    return [ops.asarray(np.ascontiguousarray(v)) for v in (order, *values, *columns)]


def equal_rows_product(ops: Ops, p: Parameters, b: Array, order: Array, *groups: Array) -> Array:
    """Y from block rows by their length: a batched product for each length, neither padded nor summed."""
    half = len(groups) // 2
    pairs = tuple(zip(groups[:half], groups[half:], strict=True))
    block = p.block

    def product(part: Array) -> Array:
        parts = [ops.matmul(v, picked_tiles(ops, v.shape[0], block, columns, part)) for v, columns in pairs]
        return ops.reshape(ops.take(ops.concat(parts, 0), order), (order.shape[0] * block, part.shape[1]))

    return by_columns(ops, b, sum(v.shape[0] * v.shape[2] for v, _ in pairs), product)
