"""Train steps with a block-sparse matrix: what `block_sparse` is made of, beside the products of block_products.py.

Everywhere `a` is (blocks, b, b) with a pattern in units of blocks, m rows, k columns, and B is (k, n).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from backends.ops import Array, HostArray, Matrix, Ops
from workloads.base import LEARNING_RATE, Formulation, Inputs, Parameters
from workloads.common import sparse
from workloads.common.block_products import (
    block_bmm,
    block_pattern,
    equal_rows,
    equal_rows_product,
    rows_by_length,
    unrolled,
    with_zeros,
)
from workloads.common.sparse import Products, transpose


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


def prepare_bsr(ops: Ops, x: Inputs, p: Parameters) -> Sequence[Array | Matrix]:
    """A and its transpose as block matrices, the order of blocks between the two, rows and columns."""
    pattern, block, csr = block_pattern(x, p), p.block, unrolled(x, p)[0]
    _, order = pattern.transposed()
    matrices = [ops.sparse(m, "bsr", block) for m in (csr, csr.transposed()[0])]
    return [*matrices, *(ops.asarray(v) for v in (order, pattern.rows, pattern.indices))]


def bsr_products(native: bool) -> Callable[..., Products]:
    """Block products; the sampled product native, or batched over the blocks."""

    def products(
        ops: Ops, p: Parameters, a: Matrix, flipped: Matrix, order: Array, rows: Array, columns: Array
    ) -> Products:
        def backward(values: Array, dy: Array) -> Array:
            return ops.sparse_matmul(ops.sparse_with_values(flipped, _blocks_back(ops, values, order)), dy)

        own = sparse.sgd_update(ops, lambda dy, b: ops.sampled_matmul(a, dy, b))
        return Products(
            lambda values, b: ops.sparse_matmul(ops.sparse_with_values(a, values), b),
            own if native else _outer(ops, p.block, rows, columns),
            backward,
        )

    return products


def prepare_matrix(ops: Ops, x: Inputs, p: Parameters) -> Sequence[Array | Matrix]:
    """A as a block matrix."""
    return [ops.sparse(unrolled(x, p)[0], "bsr", p.block)]


def matrix_product(ops: Ops, p: Parameters, values: Array, b: Array, a: Matrix) -> Array:
    """Y from other blocks in the pattern of a block matrix."""
    return ops.sparse_matmul(ops.sparse_with_values(a, values), b)


def prepare_places(ops: Ops, x: Inputs, p: Parameters) -> Sequence[Array]:
    """The block row and block column of each block."""
    pattern = block_pattern(x, p)
    return [ops.asarray(v) for v in (pattern.rows, pattern.indices)]


def bmm_product(ops: Ops, p: Parameters, values: Array, b: Array, rows: Array, columns: Array) -> Array:
    """Y from blocks and their places."""
    return block_bmm(ops, p.m // p.block, values, rows, columns, b)


def equal_rows_step(note: str) -> Formulation:
    """`equal_rows_product` and its derivative by the framework; the parameter is stored by group."""

    def prepare(ops: Ops, x: Inputs, p: Parameters) -> Sequence[Array]:
        return [ops.asarray(x["b"]), ops.asarray(x["target"]), *equal_rows(ops, x, p)]

    def step(ops: Ops, p: Parameters) -> Callable[..., tuple[Array, ...]]:
        n = p.n

        def loss(b: Array, target: Array, *others: Array) -> Array:
            error = equal_rows_product(ops, p, b, *others) - target
            return ops.sum(error * error) * (0.5 / n)

        def run(*operands: Array) -> tuple[Array, ...]:
            values = range(3, 3 + (len(operands) - 3) // 2)  # behind B, the target and the order
            value, (grad_b, *grads) = ops.value_and_grad(loss, (0, *values))(*operands)
            new = (ops.sgd_step(operands[i], grad, LEARNING_RATE) for i, grad in zip(values, grads, strict=True))
            return value, *new, grad_b

        return run

    def restore(outputs: Sequence[HostArray], x: Inputs, p: Parameters) -> Mapping[str, HostArray]:
        loss, *values, grad_b = outputs
        block = p.block
        a = np.empty_like(x["a"], dtype=loss.dtype)
        for (_, slots), stored in zip(rows_by_length(x), values, strict=True):
            a[slots] = stored.reshape(len(slots), block, slots.shape[1], block).transpose(0, 2, 1, 3)
        return {"loss": loss, "a": a, "grad_b": grad_b}

    return Formulation(note=note, prepare=prepare, step=step, restore=restore)


def prepare_unrolled(format: str) -> sparse.Prepare:
    """A and its transpose in a scalar format, the order between the two, and the positions of the values."""

    def rest(ops: Ops, x: Inputs, p: Parameters) -> Sequence[Array | Matrix]:
        csr = unrolled(x, p)[0]
        flipped, order = csr.transposed()
        flat = csr.rows * np.int64(csr.shape[1]) + csr.indices
        if csr.shape[0] * csr.shape[1] > 2**31 - 1:
            raise ValueError(f"positions in {csr.shape[0]}×{csr.shape[1]} do not fit int32; use bsr or gather_bmm")
        matrices = [ops.sparse(m, format) for m in (csr, flipped)]
        return [*matrices, *(ops.asarray(v) for v in (order, flat.astype(np.int32)))]

    return rest


def unrolled_products(ops: Ops, p: Parameters, a: Matrix, flipped: Matrix, order: Array, flat: Array) -> Products:
    """Products of the unrolled matrix; its gradient dense, then taken at the values."""

    def sampled(dy: Array, b: Array) -> Array:
        full = ops.matmul(dy, transpose(ops, b))
        return ops.take(ops.reshape(full, (full.shape[0] * full.shape[1],)), flat)

    def backward(values: Array, dy: Array) -> Array:
        return ops.sparse_matmul(ops.sparse_with_values(flipped, ops.take(values, order)), dy)

    return Products(
        lambda values, b: ops.sparse_matmul(ops.sparse_with_values(a, values), b),
        sparse.sgd_update(ops, sampled),
        backward,
    )


def prepare_unrolled_blocks(format: str) -> sparse.Prepare:
    """A and its transpose in a scalar format, where their values stand in the blocks, and where the blocks stand."""

    def rest(ops: Ops, x: Inputs, p: Parameters) -> Sequence[Array | Matrix]:
        (csr, places), pattern = unrolled(x, p), block_pattern(x, p)
        flipped, order = csr.transposed()
        matrices = [ops.sparse(m, format) for m in (csr, flipped)]
        host = (places, places[order], pattern.rows, pattern.indices)
        return [*matrices, *(ops.positions(v) for v in host)]

    return rest


def unrolled_block_products(
    ops: Ops, p: Parameters, a: Matrix, flipped: Matrix, places: Array, back: Array, rows: Array, columns: Array
) -> Products:
    """Products of the unrolled matrix, its values taken out of the blocks; the gradient batched over the blocks."""

    def times(matrix: Matrix, taken: Array, values: Array, b: Array) -> Array:
        flat = ops.reshape(values, (values.shape[0] * values.shape[1] * values.shape[2],))
        return ops.sparse_matmul(ops.sparse_with_values(matrix, ops.take(flat, taken)), b)

    return Products(
        lambda values, b: times(a, places, values, b),
        _outer(ops, p.block, rows, columns),
        lambda values, dy: times(flipped, back, values, dy),
    )


def restore_unrolled(a: HostArray, x: Inputs, p: Parameters) -> HostArray:
    """Unrolled values back into blocks."""
    out = np.empty_like(a)
    out[unrolled(x, p)[1]] = a
    return out.reshape(x["a"].shape)


def prepare_bmm_step(ops: Ops, x: Inputs, p: Parameters) -> Sequence[Array]:
    """Block rows and columns, the transpose's, and the order between the two."""
    return sparse.both_ways(ops, block_pattern(x, p))


def bmm_products(
    ops: Ops, p: Parameters, rows: Array, columns: Array, flipped_rows: Array, flipped_columns: Array, order: Array
) -> Products:
    """Batched products of gathered blocks."""
    m, k, _ = sparse.shape(p)
    block = p.block
    return Products(
        lambda values, b: block_bmm(ops, m // block, values, rows, columns, b),
        _outer(ops, block, rows, columns),
        lambda values, dy: block_bmm(
            ops, k // block, _blocks_back(ops, values, order), flipped_rows, flipped_columns, dy
        ),
    )


def prepare_mask(ops: Ops, x: Inputs, p: Parameters) -> Sequence[Array]:
    """A mask of the shape of A."""
    return [ops.asarray(with_zeros({**x, "a": np.ones_like(x["a"])}, p))]


def step(note: str, rest: sparse.Prepare, products: Callable[..., Products], scalar: bool = False) -> Formulation:
    """A train step whose parameter is stored as blocks, or unrolled."""
    if scalar:
        return sparse.train_step(note, lambda x, p: unrolled(x, p)[0].values, rest, products, restore_unrolled)
    return sparse.train_step(note, lambda x, p: x["a"], rest, products)
