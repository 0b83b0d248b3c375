"""Products with the transpose of a sparse matrix, where a framework has them without building the transpose."""

from __future__ import annotations

import numpy as np
import pytest
from _interleaved import BACKENDS, adapter

from backends.ops import CSR, SPARSE_FORMATS, Unsupported
from workloads import dense_matmul

REFUSED = {"torch": {"bag", "bsr"}, "jax": {"csr"}, "tensorflow": set()}


def _matrix() -> CSR:
    dense = np.where(np.random.default_rng(0).random((8, 12)) < 0.4, 1.5, 0).astype(np.float32)
    dense[:, 0] = np.arange(1, 9)
    rows, columns = np.nonzero(dense)
    pointers = np.searchsorted(rows, np.arange(9)).astype(np.int32)
    return CSR(dense[rows, columns], columns.astype(np.int32), pointers, dense.shape)


@pytest.mark.parametrize("format", SPARSE_FORMATS)
@pytest.mark.parametrize("framework", BACKENDS)
def test_the_transpose_times_a_dense_matrix_or_a_refusal(framework, format):
    """aᵀ·b of what the framework converts; a format without such a product says so, and never runs another."""
    ops, csr = adapter(framework), _matrix()
    b = np.random.default_rng(1).standard_normal((8, 3)).astype(np.float32)
    try:
        a = ops.sparse(csr, format, 4)
    except Unsupported:
        pytest.skip(f"{framework} has no {format}")
    if format in REFUSED.get(framework, ()):
        with pytest.raises(Unsupported):
            ops.sparse_matmul_transposed(a, ops.asarray(b))
        return
    found = ops.to_numpy(ops.sparse_matmul_transposed(a, ops.asarray(b)))
    np.testing.assert_allclose(found, csr.dense().T @ b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 1), (3, 700), (300, 517), (512, 256)])
def test_a_matrix_turned_tile_by_tile_is_its_transpose(shape):
    x = np.random.default_rng(0).standard_normal(shape).astype("float32")
    turned = dense_matmul._turned(x)
    assert turned.flags.c_contiguous
    np.testing.assert_array_equal(turned, x.T)
