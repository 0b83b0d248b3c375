"""JAX's own sparse operands and products: CSR is `BCSR`, COO is `BCOO`, with one non-zero an entry.

Imports JAX: only an opened backend imports this file. `BCSR` has a kernel for some devices and dtypes only, and quietly
runs the `BCOO` product, 15–18× slower for many columns, for all others (mixed dtypes, transposed or batched operands
too): those are refused here, so that a row named `csr` is never another product.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jax.experimental import sparse

from backends.ops import CSR, Array, HostArray, Matrix, Unsupported

FORMATS = ("csr", "coo")
CSR_KERNELS = {"cpu": ("float32", "float64"), "cuda": ("float32", "float64")}  # by Device.kind
PRODUCT = (((1,), (0,)), ((), ()))  # a · b
SAMPLED = (((1,), (1,)), ((), ()))  # x · yᵀ


def convert(csr: CSR, format: str, put: Callable[[HostArray], Array], kind: str) -> Matrix:
    """Copy a host CSR to the device as `BCSR` or `BCOO`; Unsupported where JAX has no product for format and dtype."""
    if format not in FORMATS:
        raise Unsupported(f"jax.experimental.sparse has products for {' and '.join(FORMATS)}, not for {format}")
    dtype = str(csr.values.dtype)
    if format == "coo":
        indices = np.stack([csr.rows, csr.indices], axis=1)
        return sparse.BCOO((put(csr.values), put(indices)), shape=csr.shape, indices_sorted=True, unique_indices=True)
    if dtype not in CSR_KERNELS.get(kind, ()):
        raise Unsupported(f"JAX has no CSR kernel for {dtype} on {kind} and would run its COO product: use coo")
    return _bcsr(put(csr.values), put(csr.indices), put(csr.indptr), csr.shape)


def _bcsr(values: Array, indices: Array, indptr: Array, shape: tuple[int, int]) -> Matrix:
    return sparse.BCSR((values, indices, indptr), shape=shape, indices_sorted=True, unique_indices=True)


def matmul(a: Matrix, b: Array) -> Array:
    """a (M×K) · b (K×N); TypeError for operands of two dtypes, which leave the kernel without a word."""
    if a.data.dtype != b.dtype:
        raise TypeError(f"sparse values are {a.data.dtype} and the dense operand is {b.dtype}: convert one of them")
    product = sparse.bcsr_dot_general if isinstance(a, sparse.BCSR) else sparse.bcoo_dot_general
    return product(a, b, dimension_numbers=PRODUCT)


def matmul_transposed(a: Matrix, b: Array) -> Array:
    """aᵀ (K×M) · b (M×N); `BCSR` has no kernel for it and would run the `BCOO` product."""
    if isinstance(a, sparse.BCSR):
        raise Unsupported("JAX's CSR kernel does not multiply transposed and its COO product would run: convert both")
    return sparse.bcoo_dot_general(a, b, dimension_numbers=(((0,), (0,)), ((), ())))


def with_values(a: Matrix, values: Array) -> Matrix:
    """The same index arrays with other values."""
    if isinstance(a, sparse.BCSR):
        return _bcsr(values, a.indices, a.indptr, a.shape)
    return sparse.BCOO((values, a.indices), shape=a.shape, indices_sorted=True, unique_indices=True)


def sampled_matmul(a: Matrix, x: Array, y: Array) -> Array:
    """`bcoo_dot_general_sampled`: gathers a row of x and of y for every non-zero; never forms x · yᵀ.

    There is no CSR form: row numbers are first made from the row pointers, as `BCSR.to_bcoo` does.
    """
    indices = a.to_bcoo().indices if isinstance(a, sparse.BCSR) else a.indices
    return sparse.bcoo_dot_general_sampled(x, y, indices, dimension_numbers=SAMPLED)
