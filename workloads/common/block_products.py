"""Ways to multiply by a block-sparse matrix, forward and in a train step: what `block_sparse` is made of.

Everywhere `a` is (blocks, b, b) with a pattern in units of blocks, m rows, k columns, and B is (k, n).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from backends.ops import CSR, Array, HostArray, Matrix, Ops
from workloads.base import LEARNING_RATE, Formulation, Inputs, Params
from workloads.common import patterns, sparse
from workloads.common.patterns import Pattern
from workloads.common.sparse import Products, by_columns, summed_over_columns, transpose


def block_pattern(x: Inputs, params: Params) -> Pattern:
    """The pattern of the inputs, in units of blocks."""
    m, k, _ = sparse.shape(params)
    return Pattern(x["a_indices"], x["a_indptr"], patterns.blocks(m, k, int(params["block"])))


def with_zeros(x: Inputs, params: Params) -> HostArray:
    """A with its zeros, (m, k), in the dtype of the values."""
    m, k, _ = sparse.shape(params)
    block, pattern = int(params["block"]), block_pattern(x, params)
    dense = np.zeros((m, k), x["a"].dtype)
    tiles = dense.reshape(m // block, block, k // block, block)
    tiles[pattern.rows, :, pattern.indices, :] = x["a"]
    return dense


def unrolled(x: Inputs, params: Params) -> tuple[CSR, HostArray]:
    """The same matrix as scalar CSR, and the permutation (nnz,) with `csr.values == a.ravel()[permutation]`."""
    m, k, _ = sparse.shape(params)
    block, pattern = int(params["block"]), block_pattern(x, params)
    within = np.arange(block, dtype=np.int64)
    rows = pattern.rows[:, None, None] * np.int64(block) + within[:, None]
    columns = pattern.indices[:, None, None] * np.int64(block) + within
    flat = (rows * k + columns).ravel()
    order = np.argsort(flat)
    indptr = np.searchsorted(flat[order], np.arange(m + 1, dtype=np.int64) * k).astype(np.int32)
    return CSR(x["a"].ravel()[order], (flat[order] % k).astype(np.int32), indptr, (m, k)), order


# -- forward -----------------------------------------------------------------------------------------------------------


def native(format: str) -> sparse.Prepare:
    """Operands of the framework's own product in a format."""

    def prepare(ops: Ops, x: Inputs, params: Params) -> Sequence[Array | Matrix]:
        return [ops.sparse(unrolled(x, params)[0], format, int(params["block"])), ops.asarray(x["b"])]

    return prepare


def _bmm(ops: Ops, rows: int, values: Array, segments: Array, columns: Array, b: Array) -> Array:
    """A batched product of every block with its b rows of B, summed by block row: (rows·block, n)."""
    count, block, _ = values.shape

    def product(part: Array) -> Array:
        n = part.shape[1]
        picked = ops.take(ops.reshape(part, (part.shape[0] // block, block, n)), columns)
        return ops.reshape(ops.segment_sum(ops.matmul(values, picked), segments, rows), (rows * block, n))

    return by_columns(ops, b, count * block, product)


def prepare_bmm(ops: Ops, x: Inputs, params: Params) -> Sequence[Array]:
    """Blocks, the block row and block column of each, and B."""
    pattern = block_pattern(x, params)
    return [ops.asarray(v) for v in (x["a"], pattern.rows, pattern.indices, x["b"])]


def forward_bmm(ops: Ops, params: Params, *operands: Array) -> Array:
    """Y from the operands of `prepare_bmm`."""
    return _bmm(ops, int(params["m"]) // int(params["block"]), *operands)


def ell_values(x: Inputs, params: Params) -> HostArray:
    """Block rows padded to the longest and laid side by side: (m/b, b, longest·b)."""
    ell, block = sparse.padded(block_pattern(x, params)), int(params["block"])
    tiles = np.where(ell.filled[..., None, None], x["a"][ell.slots], np.zeros((), x["a"].dtype))
    return np.ascontiguousarray(tiles.transpose(0, 2, 1, 3)).reshape(len(tiles), block, -1)


def prepare_ell(ops: Ops, x: Inputs, params: Params) -> Sequence[Array]:
    """Padded block rows, the block columns of each laid out flat, and B."""
    ell = sparse.padded(block_pattern(x, params))
    return [ops.asarray(v) for v in (ell_values(x, params), ell.columns.ravel(), x["b"])]


def _picked(ops: Ops, rows: int, block: int, columns: Array, b: Array) -> Array:
    """The rows of B that each padded block row meets, (rows, longest·block, n)."""
    tiles = ops.reshape(b, (b.shape[0] // block, block, b.shape[1]))
    return ops.reshape(ops.take(tiles, columns), (rows, columns.shape[0] // rows * block, b.shape[1]))


def ell_product(ops: Ops, params: Params, values: Array, columns: Array, b: Array) -> Array:
    """Y from padded block rows: one batched product of (b, longest·b) by (longest·b, n) matrices."""
    rows, block, wide = values.shape

    def product(part: Array) -> Array:
        y = ops.matmul(values, _picked(ops, rows, block, columns, part))
        return ops.reshape(y, (rows * block, part.shape[1]))

    return by_columns(ops, b, rows * wide, product)


def _lengths(x: Inputs) -> list[tuple[HostArray, HostArray]]:
    """For each length of block rows: the rows (r,), and where their blocks stand (r, length); 0 is a length too."""
    starts = x["a_indptr"]
    lengths = np.diff(starts)
    groups = ((int(length), np.flatnonzero(lengths == length)) for length in np.unique(lengths))
    return [(rows, starts[rows][:, None] + np.arange(length)) for length, rows in groups]


def prepare_equal_rows(ops: Ops, x: Inputs, params: Params) -> Sequence[Array]:
    """B and what `_equal_rows` makes."""
    return [ops.asarray(x["b"]), *_equal_rows(ops, x, params)]


def _equal_rows(ops: Ops, x: Inputs, params: Params) -> list[Array]:
    """Where each block row of Y stands among the groups; of each group the values; of each group the block columns.

    A group has the r block rows of one length, values (r, b, length·b) and columns (r·length,).
    """
    block, groups = int(params["block"]), _lengths(x)
    order = np.argsort(np.concatenate([rows for rows, _ in groups])).astype(np.int32)
    tiles = (x["a"][slots].transpose(0, 2, 1, 3) for _, slots in groups)  # (r, b, length, b)
    values = (t.reshape(len(t), block, t.shape[2] * block) for t in tiles)
    columns = (x["a_indices"][slots].ravel() for _, slots in groups)
    return [ops.asarray(np.ascontiguousarray(v)) for v in (order, *values, *columns)]


def equal_rows_product(ops: Ops, params: Params, b: Array, order: Array, *groups: Array) -> Array:
    """Y from block rows by their length: a batched product for each length, neither padded nor summed."""
    half = len(groups) // 2
    pairs = tuple(zip(groups[:half], groups[half:], strict=True))
    block = int(params["block"])

    def product(part: Array) -> Array:
        parts = [ops.matmul(v, _picked(ops, v.shape[0], block, columns, part)) for v, columns in pairs]
        return ops.reshape(ops.take(ops.concat(parts, 0), order), (order.shape[0] * block, part.shape[1]))

    return by_columns(ops, b, sum(v.shape[0] * v.shape[2] for v, _ in pairs), product)


# -- train step --------------------------------------------------------------------------------------------------------


def _blocks_back(ops: Ops, values: Array, order: Array) -> Array:
    """The blocks of the transpose: in its order, each transposed."""
    return ops.permute_dims(ops.take(values, order), (0, 2, 1))


def _outer(ops: Ops, block: int, rows: Array, columns: Array) -> Callable[[Array, Array, Array], Array]:
    """The update along ∂Y·Bᵀ in the blocks only, a batched product of b rows of ∂Y with b rows of B for each block."""

    def update(values: Array, dy: Array, b: Array) -> Array:
        for slices in sparse.column_slices(dy, b, rows.shape[0] * block):
            left, right = (
                ops.take(ops.reshape(x, (x.shape[0] // block, block, x.shape[1])), at)
                for x, at in zip(slices, (rows, columns), strict=True)
            )
            values = ops.sgd_step_along(values, left, ops.permute_dims(right, (0, 2, 1)), LEARNING_RATE)
        return values

    return update


def prepare_bsr(ops: Ops, x: Inputs, params: Params) -> Sequence[Array | Matrix]:
    """A and its transpose as block matrices, the order of blocks between the two, rows and columns."""
    pattern, block, csr = block_pattern(x, params), int(params["block"]), unrolled(x, params)[0]
    _, order = pattern.transposed()
    matrices = [ops.sparse(m, "bsr", block) for m in (csr, csr.transposed()[0])]
    return [*matrices, *(ops.asarray(v) for v in (order, pattern.rows, pattern.indices))]


def bsr_products(native: bool) -> Callable[..., Products]:
    """Block products; the sampled product native, or batched over the blocks."""

    def products(
        ops: Ops, params: Params, a: Matrix, flipped: Matrix, order: Array, rows: Array, columns: Array
    ) -> Products:
        def backward(values: Array, dy: Array) -> Array:
            return ops.sparse_matmul(ops.sparse_with_values(flipped, _blocks_back(ops, values, order)), dy)

        own = sparse.descending(ops, lambda dy, b: ops.sampled_matmul(a, dy, b))
        return Products(
            lambda values, b: ops.sparse_matmul(ops.sparse_with_values(a, values), b),
            own if native else _outer(ops, int(params["block"]), rows, columns),
            backward,
        )

    return products


def prepare_matrix(ops: Ops, x: Inputs, params: Params) -> Sequence[Array | Matrix]:
    """A as a block matrix."""
    return [ops.sparse(unrolled(x, params)[0], "bsr", int(params["block"]))]


def matrix_product(ops: Ops, params: Params, values: Array, b: Array, a: Matrix) -> Array:
    """Y from other blocks in the pattern of a block matrix."""
    return ops.sparse_matmul(ops.sparse_with_values(a, values), b)


def prepare_places(ops: Ops, x: Inputs, params: Params) -> Sequence[Array]:
    """The block row and block column of each block."""
    pattern = block_pattern(x, params)
    return [ops.asarray(v) for v in (pattern.rows, pattern.indices)]


def bmm_product(ops: Ops, params: Params, values: Array, b: Array, rows: Array, columns: Array) -> Array:
    """Y from blocks and their places."""
    return _bmm(ops, int(params["m"]) // int(params["block"]), values, rows, columns, b)


def equal_rows_step(note: str) -> Formulation:
    """`equal_rows_product` and its derivative by the framework; the parameter is stored by group."""

    def prepare(ops: Ops, x: Inputs, params: Params) -> Sequence[Array]:
        return [ops.asarray(x["b"]), ops.asarray(x["target"]), *_equal_rows(ops, x, params)]

    def step(ops: Ops, params: Params) -> Callable[..., tuple[Array, ...]]:
        n = int(params["n"])

        def loss(b: Array, target: Array, *others: Array) -> Array:
            error = equal_rows_product(ops, params, b, *others) - target
            return ops.sum(error * error) * (0.5 / n)

        def run(*operands: Array) -> tuple[Array, ...]:
            values = range(3, 3 + (len(operands) - 3) // 2)  # behind B, the target and the order
            value, (grad_b, *grads) = ops.value_and_grad(loss, (0, *values))(*operands)
            new = (ops.sgd_step(operands[i], grad, LEARNING_RATE) for i, grad in zip(values, grads, strict=True))
            return value, *new, grad_b

        return run

    def restore(outputs: Sequence[HostArray], x: Inputs, params: Params) -> Mapping[str, HostArray]:
        loss, *values, grad_b = outputs
        block = int(params["block"])
        a = np.empty_like(x["a"], dtype=loss.dtype)
        for (_, slots), stored in zip(_lengths(x), values, strict=True):
            a[slots] = stored.reshape(len(slots), block, slots.shape[1], block).transpose(0, 2, 1, 3)
        return {"loss": loss, "a": a, "grad_b": grad_b}

    return Formulation(note=note, prepare=prepare, step=step, restore=restore)


def prepare_unrolled(format: str) -> sparse.Prepare:
    """A and its transpose in a scalar format, the order between the two, and the positions of the values."""

    def rest(ops: Ops, x: Inputs, params: Params) -> Sequence[Array | Matrix]:
        csr = unrolled(x, params)[0]
        flipped, order = csr.transposed()
        flat = csr.rows * np.int64(csr.shape[1]) + csr.indices
        if csr.shape[0] * csr.shape[1] > 2**31 - 1:
            raise ValueError(f"positions in {csr.shape[0]}×{csr.shape[1]} do not fit int32; use bsr or gather_bmm")
        matrices = [ops.sparse(m, format) for m in (csr, flipped)]
        return [*matrices, *(ops.asarray(v) for v in (order, flat.astype(np.int32)))]

    return rest


def unrolled_products(ops: Ops, params: Params, a: Matrix, flipped: Matrix, order: Array, flat: Array) -> Products:
    """Products of the unrolled matrix; its gradient dense, then taken at the values."""

    def sampled(dy: Array, b: Array) -> Array:
        full = ops.matmul(dy, transpose(ops, b))
        return ops.take(ops.reshape(full, (full.shape[0] * full.shape[1],)), flat)

    def backward(values: Array, dy: Array) -> Array:
        return ops.sparse_matmul(ops.sparse_with_values(flipped, ops.take(values, order)), dy)

    return Products(
        lambda values, b: ops.sparse_matmul(ops.sparse_with_values(a, values), b),
        sparse.descending(ops, sampled),
        backward,
    )


def prepare_unrolled_blocks(format: str) -> sparse.Prepare:
    """A and its transpose in a scalar format, where their values stand in the blocks, and where the blocks stand."""

    def rest(ops: Ops, x: Inputs, params: Params) -> Sequence[Array | Matrix]:
        (csr, places), pattern = unrolled(x, params), block_pattern(x, params)
        flipped, order = csr.transposed()
        matrices = [ops.sparse(m, format) for m in (csr, flipped)]
        host = (places, places[order], pattern.rows, pattern.indices)
        return [*matrices, *(ops.positions(v) for v in host)]

    return rest


def unrolled_block_products(
    ops: Ops, params: Params, a: Matrix, flipped: Matrix, places: Array, back: Array, rows: Array, columns: Array
) -> Products:
    """Products of the unrolled matrix, its values taken out of the blocks; the gradient batched over the blocks."""

    def times(matrix: Matrix, taken: Array, values: Array, b: Array) -> Array:
        flat = ops.reshape(values, (values.shape[0] * values.shape[1] * values.shape[2],))
        return ops.sparse_matmul(ops.sparse_with_values(matrix, ops.take(flat, taken)), b)

    return Products(
        lambda values, b: times(a, places, values, b),
        _outer(ops, int(params["block"]), rows, columns),
        lambda values, dy: times(flipped, back, values, dy),
    )


def restore_unrolled(a: HostArray, x: Inputs, params: Params) -> HostArray:
    """Unrolled values back into blocks."""
    out = np.empty_like(a)
    out[unrolled(x, params)[1]] = a
    return out.reshape(x["a"].shape)


def prepare_bmm_step(ops: Ops, x: Inputs, params: Params) -> Sequence[Array]:
    """Block rows and columns, the transpose's, and the order between the two."""
    pattern = block_pattern(x, params)
    flipped, order = pattern.transposed()
    host = (pattern.rows, pattern.indices, flipped.rows, flipped.indices, order)
    return [ops.asarray(v) for v in host]


def bmm_products(
    ops: Ops, params: Params, rows: Array, columns: Array, flipped_rows: Array, flipped_columns: Array, order: Array
) -> Products:
    """Batched products of gathered blocks."""
    m, k, _ = sparse.shape(params)
    block = int(params["block"])
    return Products(
        lambda values, b: _bmm(ops, m // block, values, rows, columns, b),
        _outer(ops, block, rows, columns),
        lambda values, dy: _bmm(ops, k // block, _blocks_back(ops, values, order), flipped_rows, flipped_columns, dy),
    )


def prepare_ell_step(ops: Ops, x: Inputs, params: Params) -> Sequence[Array]:
    """Columns and mask of the padded rows; the same of the transpose's, and where its blocks stand in the first."""
    pattern, block = block_pattern(x, params), int(params["block"])
    flipped, order = pattern.transposed()
    ell, back = sparse.padded(pattern), sparse.padded(flipped)
    places = np.flatnonzero(ell.filled).astype(np.int32)[order][back.slots]
    dtype = x["a"].dtype
    mask = np.repeat(ell.filled.astype(dtype), block, axis=1)[:, None, :]
    back_mask = back.filled.astype(dtype).reshape(-1, 1, 1)
    return [ops.asarray(v) for v in (ell.columns.ravel(), mask, back.columns.ravel(), back_mask, places.ravel())]


def ell_products(
    ops: Ops, params: Params, columns: Array, mask: Array, back_columns: Array, back_mask: Array, places: Array
) -> Products:
    """Products of padded block rows; a mask keeps the padding's value zero."""
    m, k, _ = sparse.shape(params)
    block = int(params["block"])
    rows, back_rows = m // block, k // block
    longest, back_longest = columns.shape[0] // rows, back_columns.shape[0] // back_rows

    def sampled(dy: Array, b: Array) -> Array:
        def product(left: Array, right: Array) -> Array:
            picked = _picked(ops, rows, block, columns, right)
            tiles = ops.reshape(left, (rows, block, left.shape[1]))
            return ops.matmul(tiles, ops.permute_dims(picked, (0, 2, 1)))

        return summed_over_columns(dy, b, rows * longest * block, product) * mask

    def backward(values: Array, dy: Array) -> Array:
        tiles = ops.permute_dims(ops.reshape(values, (rows, block, longest, block)), (0, 2, 3, 1))
        tiles = ops.take(ops.reshape(tiles, (rows * longest, block, block)), places) * back_mask
        tiles = ops.permute_dims(ops.reshape(tiles, (back_rows, back_longest, block, block)), (0, 2, 1, 3))
        return ell_product(ops, params, ops.reshape(tiles, (back_rows, block, back_longest * block)), back_columns, dy)

    return Products(
        lambda values, b: ell_product(ops, params, values, columns, b), sparse.descending(ops, sampled), backward
    )


def restore_ell(a: HostArray, x: Inputs, params: Params) -> HostArray:
    """Padded block rows back into blocks."""
    ell, block = sparse.padded(block_pattern(x, params)), int(params["block"])
    tiles = a.reshape(len(a), block, -1, block).transpose(0, 2, 1, 3)
    blocks: HostArray = tiles[ell.filled]
    return blocks


def prepare_mask(ops: Ops, x: Inputs, params: Params) -> Sequence[Array]:
    """A mask of the shape of A."""
    return [ops.asarray(with_zeros({**x, "a": np.ones_like(x["a"])}, params))]


def step(note: str, rest: sparse.Prepare, products: Callable[..., Products], scalar: bool = False) -> Formulation:
    """A train step whose parameter is stored as blocks, or unrolled."""
    if scalar:
        return sparse.train_step(note, lambda x, p: unrolled(x, p)[0].values, rest, products, restore_unrolled)
    return sparse.train_step(note, lambda x, p: x["a"], rest, products)
