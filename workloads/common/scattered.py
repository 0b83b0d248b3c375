"""Ways to multiply by a matrix of scattered non-zeros, forward and in a train step.

Everywhere `a` is (nnz,) in the order of a CSR of m rows and k columns, and B is (k, n).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from backends.ops import CSR, Array, HostArray, Matrix, Ops
from workloads.base import Formulation, Inputs, Mode, Parameters
from workloads.common import patterns, sparse
from workloads.common.patterns import Pattern
from workloads.common.sparse import Products, by_columns, summed_over_columns, transpose

BLOCK = 4  # side of the blocks that the block layout stores around scattered non-zeros


def pattern_of(x: Inputs, p: Parameters) -> Pattern:
    """The pattern of the inputs."""
    return Pattern(x["a_indices"], x["a_indptr"], sparse.shape(p)[:2])


def host_csr(x: Inputs, p: Parameters) -> CSR:
    """A on the host."""
    return CSR(x["a"], x["a_indices"], x["a_indptr"], sparse.shape(p)[:2])


def reference(x: Inputs, p: Parameters, mode: Mode) -> Mapping[str, HostArray]:
    """By dense products of A with its zeros; gradients are taken at the stored values."""
    pattern = pattern_of(x, p)
    dense = np.zeros(pattern.shape, x["a"].dtype)
    dense[pattern.rows, pattern.indices] = x["a"]
    return sparse.reference(dense, lambda full: patterns.take(full, pattern), x, mode)


# -- forward ----------------------------------------------------------------------------------------------------------


def native(format: str) -> sparse.Prepare:
    """Operands of the framework's own product in a format."""
    return lambda ops, x, p: [ops.sparse(host_csr(x, p), format), ops.asarray(x["b"])]


def prepare_vector(ops: Ops, x: Inputs, p: Parameters) -> Sequence[Array | Matrix]:
    """A as CSR, and the single column of B as a vector."""
    return [ops.sparse(host_csr(x, p), "csr"), ops.asarray(np.ascontiguousarray(x["b"][:, 0]))]


def prepare_bsr(ops: Ops, x: Inputs, p: Parameters) -> Sequence[Array | Matrix]:
    """A in blocks of BLOCK around its non-zeros, and B."""
    return [ops.sparse(host_csr(x, p), "bsr", BLOCK), ops.asarray(x["b"])]


def prepare_ell(ops: Ops, x: Inputs, p: Parameters) -> Sequence[Array]:
    """Values and columns of A, rows padded to the longest, and B."""
    ell = sparse.padded(pattern_of(x, p))
    values = np.where(ell.filled, x["a"][ell.slots], np.zeros((), x["a"].dtype))
    return [ops.asarray(v) for v in (values, ell.columns.ravel(), x["b"])]


def ell_product(ops: Ops, p: Parameters, values: Array, columns: Array, b: Array) -> Array:
    """Y from padded rows: a batched product with the rows of B that each meets."""
    m, longest = values.shape
    if b.shape[1] == 1:
        picked = ops.reshape(ops.take(ops.reshape(b, (b.shape[0],)), columns), (m, longest))
        return ops.sum(values * picked, 1, True)

    def product(part: Array) -> Array:
        picked = ops.reshape(ops.take(part, columns), (m, longest, part.shape[1]))
        return ops.einsum("ml,mln->mn", values, picked)

    return by_columns(ops, b, m * longest, product)


def prepare_segments(ops: Ops, x: Inputs, p: Parameters) -> Sequence[Array]:
    """Values, rows and columns of the non-zeros, and B."""
    return [ops.asarray(v) for v in (x["a"], pattern_of(x, p).rows, x["a_indices"], x["b"])]


def segment_product(ops: Ops, rows: int, values: Array, segments: Array, columns: Array, b: Array) -> Array:
    """Rows of b, scaled by the values and summed by segment, (rows, n)."""
    if b.shape[1] == 1:
        picked = ops.take(ops.reshape(b, (b.shape[0],)), columns)
        return ops.expand_dims(ops.segment_sum(values * picked, segments, rows), 1)
    scale = ops.expand_dims(values, 1)
    return by_columns(
        ops, b, columns.shape[0], lambda part: ops.segment_sum(scale * ops.take(part, columns), segments, rows)
    )


def with_zeros(x: Inputs, p: Parameters) -> HostArray:
    """A with its zeros, (m, k)."""
    return host_csr(x, p).dense()


def masked_dense() -> Formulation:
    """The dense product of A with its zeros."""
    return sparse.marked_multiplies_zeros(
        sparse.forward_step(
            "A stored with its zeros, the dense product",
            lambda ops, x, p: [ops.asarray(with_zeros(x, p)), ops.asarray(x["b"])],
            lambda ops, p, a, b: ops.matmul(a, b),
        )
    )


# -- train step -------------------------------------------------------------------------------------------------------

_Sampled = Callable[..., Callable[[Array, Array], Array]]


def _prepare_native(format: str, sampling: Callable[[Pattern], Sequence[HostArray]]) -> sparse.Prepare:
    """The matrix, its transpose, the permutation of values between the two, and what the sampled product needs."""

    def rest(ops: Ops, x: Inputs, p: Parameters) -> Sequence[Array | Matrix]:
        csr = host_csr(x, p)
        flipped, order = csr.transposed()
        extra = (order, *sampling(pattern_of(x, p)))
        return [ops.sparse(csr, format), ops.sparse(flipped, format), *(ops.asarray(v) for v in extra)]

    return rest


def _native_products(sampled: _Sampled) -> Callable[..., Products]:
    def products(ops: Ops, p: Parameters, a: Matrix, flipped: Matrix, order: Array, *extra: Array) -> Products:
        def backward(values: Array, dy: Array) -> Array:
            return ops.sparse_matmul(ops.sparse_with_values(flipped, ops.take(values, order)), dy)

        return Products(
            lambda values, b: ops.sparse_matmul(ops.sparse_with_values(a, values), b),
            sparse.sgd_update(ops, sampled(ops, a, *extra)),
            backward,
        )

    return products


def _sampled_native(ops: Ops, a: Matrix) -> Callable[[Array, Array], Array]:
    return lambda dy, b: ops.sampled_matmul(a, dy, b)


def _sampled_gather(ops: Ops, a: Matrix, rows: Array, columns: Array) -> Callable[[Array, Array], Array]:
    def product(dy: Array, b: Array) -> Array:
        return ops.sum(ops.take(dy, rows) * ops.take(b, columns), 1)

    return lambda dy, b: summed_over_columns(dy, b, rows.shape[0], product)


def _sampled_dense(ops: Ops, a: Matrix, flat: Array) -> Callable[[Array, Array], Array]:
    def product(dy: Array, b: Array) -> Array:
        full = ops.matmul(dy, transpose(ops, b))
        return ops.take(ops.reshape(full, (full.shape[0] * full.shape[1],)), flat)

    return product


def _flat(pattern: Pattern) -> Sequence[HostArray]:
    if pattern.shape[0] * pattern.shape[1] > 2**31 - 1:
        raise ValueError(f"positions in {pattern.shape[0]}×{pattern.shape[1]} do not fit int32; use a gather instead")
    return (pattern.flat.astype(np.int32),)


_SAMPLED: Mapping[str, tuple[_Sampled, Callable[[Pattern], Sequence[HostArray]]]] = {
    "native": (_sampled_native, lambda pattern: ()),
    "gather": (_sampled_gather, lambda pattern: (pattern.rows, pattern.indices)),
    "dense": (_sampled_dense, _flat),
}


def native_step(note: str, format: str, sampling: str) -> Formulation:
    """A train step of the framework's own products in `format`; `sampling` is native, gather or dense."""
    sampled, operands = _SAMPLED[sampling]
    return sparse.train_step(note, lambda x, p: x["a"], _prepare_native(format, operands), _native_products(sampled))


def transposing_step(note: str, format: str) -> Formulation:
    """As `native_step` with sampling `dense`, but ∂B is a product with the transpose of the one matrix that is made."""

    def rest(ops: Ops, x: Inputs, p: Parameters) -> Sequence[Array | Matrix]:
        pattern = pattern_of(x, p)
        return [ops.sparse(host_csr(x, p), format), *(ops.asarray(v) for v in _flat(pattern))]

    def products(ops: Ops, p: Parameters, a: Matrix, flat: Array) -> Products:
        return Products(
            lambda values, b: ops.sparse_matmul(ops.sparse_with_values(a, values), b),
            sparse.sgd_update(ops, _sampled_dense(ops, a, flat)),
            lambda values, dy: ops.sparse_matmul_transposed(ops.sparse_with_values(a, values), dy),
        )

    return sparse.train_step(note, lambda x, p: x["a"], rest, products)


def autodiff_step(note: str, format: str) -> Formulation:
    """A train step that the framework differentiates through its own product in `format`."""
    return sparse.autodiff_step(
        note,
        lambda x, p: x["a"],
        lambda ops, x, p: [ops.sparse(host_csr(x, p), format)],
        lambda ops, p, values, b, a: ops.sparse_matmul(ops.sparse_with_values(a, values), b),
    )


def prepare_segment_step(ops: Ops, x: Inputs, p: Parameters) -> Sequence[Array]:
    """Rows and columns of the non-zeros, the transpose's, and the order between the two."""
    return sparse.both_ways(ops, pattern_of(x, p))


def segment_products(
    ops: Ops, p: Parameters, rows: Array, columns: Array, flipped_rows: Array, flipped_columns: Array, order: Array
) -> Products:
    """Gathered rows and segment sums in all three products."""
    m, k, _ = sparse.shape(p)
    return Products(
        lambda values, b: segment_product(ops, m, values, rows, columns, b),
        sparse.sgd_update(ops, _sampled_gather(ops, None, rows, columns)),
        lambda values, dy: segment_product(ops, k, ops.take(values, order), flipped_rows, flipped_columns, dy),
    )


def masked_dense_step() -> Formulation:
    """A train step of dense products, in which a mask keeps the zeros of A."""
    return sparse.marked_multiplies_zeros(
        sparse.train_step(
            "A stored with its zeros, dense products, a mask on the gradient",
            with_zeros,
            _prepare_mask,
            sparse.dense_products,
            lambda a, x, p: patterns.take(a, pattern_of(x, p)),
        )
    )


def _prepare_mask(ops: Ops, x: Inputs, p: Parameters) -> Sequence[Array]:
    return [ops.asarray(host_csr(x, p)._replace(values=np.ones_like(x["a"])).dense())]
