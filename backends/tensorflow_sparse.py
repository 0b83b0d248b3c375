"""Sparse products of TensorFlow: `csr` is CSRSparseMatrix (one opaque tensor), `coo` the operation of tf.sparse.

Both are called by their public raw operations, gradients included. XLA has neither. For many columns `csr` is 30 to 40
times faster than `coo`; replacing its values builds the matrix anew, a sort of all coordinates, because no operation
takes the arrays of a CSR matrix. Float16 and bfloat16 exist in `coo` only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from backends.ops import CSR, Array, HostArray, Unsupported


class CsrMatrix(NamedTuple):
    """`matrix`: the opaque tensor; `values` (nnz,); `coordinates` (nnz, 2) int64, needed to replace the values."""

    matrix: Array
    values: Array
    coordinates: Array
    shape: tuple[int, int]


class CooMatrix(NamedTuple):
    """`values` (nnz,) and `coordinates` (nnz, 2), row-major; int64 as tf.sparse.SparseTensor demands them."""

    values: Array
    coordinates: Array
    shape: tuple[int, int]


class Sparse:
    """The sparse half of TensorflowOps; `ints` makes small constant tensors."""

    def __init__(self, tf: Any, ints: Callable[[tuple[int, ...], str], Array]) -> None:
        self._tf = tf
        self._raw = tf.raw_ops
        self._csr_product = tf.raw_ops.SparseMatrixMatMul  # looked up once
        self._eager: type[Any] = object  # of tensors outside a graph; public TensorFlow has no name for it
        self._ints = ints

    def make(self, csr: CSR, format: str, asarray: Callable[[HostArray], Array]) -> CsrMatrix | CooMatrix:
        """Convert to `csr` or `coo`; Unsupported names these two for another."""
        if format not in ("csr", "coo"):
            raise Unsupported(f"TensorFlow is offered here with the sparse formats csr and coo, not {format}")
        values = asarray(csr.values)
        self._eager = type(values)
        coordinates = asarray(np.stack([csr.rows, csr.indices], axis=1).astype(np.int64))
        if format == "coo":
            return CooMatrix(values, coordinates, csr.shape)
        return CsrMatrix(self._csr(values, coordinates, csr.shape), values, coordinates, csr.shape)

    def _csr(self, values: Array, coordinates: Array, shape: tuple[int, int]) -> Array:
        return self._raw.SparseTensorToCSRSparseMatrix(
            indices=coordinates, values=values, dense_shape=self._ints(shape, "int64")
        )

    def with_values(self, a: CsrMatrix | CooMatrix, values: Array) -> CsrMatrix | CooMatrix:
        """The same pattern with other values; `csr` is built anew on the device."""
        if isinstance(a, CooMatrix):
            return CooMatrix(values, a.coordinates, a.shape)
        return CsrMatrix(self._csr(values, a.coordinates, a.shape), values, a.coordinates, a.shape)

    def matmul(self, a: CsrMatrix | CooMatrix, b: Array, transposed: bool = False) -> Array:
        """a (M×K) · b (K×N) → (M×N); `transposed`, aᵀ · b (M×N) → (K×N). Unsupported for a vector."""
        try:
            if isinstance(a, CooMatrix):
                shape = self._ints(a.shape, "int64")
                return self._raw.SparseTensorDenseMatMul(
                    a_indices=a.coordinates, a_values=a.values, a_shape=shape, b=b, adjoint_a=transposed
                )
            if not isinstance(a.matrix, self._eager):  # to ask whether this is a graph takes longer
                _describe(self._tf, a)
            return self._csr_product(a=a.matrix, b=b, transpose_a=transposed)
        except Exception as error:
            if b.shape.rank == 1:  # asked only now: to look at a shape costs a percent of a small call
                words = "TensorFlow's sparse products take a matrix, a vector only as one of a single column"
                raise Unsupported(words) from error
            raise

    def segment_sum(self, x: Array, segment_ids: Array, num_segments: int, xla: bool) -> Array:
        """Sum of the rows of each segment, (num_segments, …).

        The sorted operation is some 5 times faster on the CPU than the unsorted one, but ends at the last segment that
        has a row: the rest is padded. XLA knows only shapes given beforehand, and so the unsorted one.
        """
        if xla:
            return self._raw.UnsortedSegmentSum(data=x, segment_ids=segment_ids, num_segments=num_segments)
        y = self._raw.SegmentSum(data=x, segment_ids=segment_ids)
        if y.shape[0] == num_segments:
            return y
        missing = num_segments - self._tf.shape(y)[0]
        padded = self._tf.pad(y, [[0, missing], *[[0, 0]] * (x.shape.rank - 1)])
        padded.set_shape((num_segments, *x.shape[1:]))
        return padded


def _describe(tf: Any, a: CsrMatrix) -> None:
    """Tell a graph the shape and dtype inside an opaque tensor that is one of its arguments.

    Shape inference asks for them; a `tf.function` drops them on the way in and no public function sets them.
    """
    try:
        from tensorflow.python.ops.handle_data_util import create_handle_data, set_handle_data
    except ImportError as error:
        raise Unsupported(f"this TensorFlow does not take a CSRSparseMatrix into a graph: {error}") from error
    set_handle_data(a.matrix, create_handle_data(tf.TensorShape(a.shape), a.values.dtype))
