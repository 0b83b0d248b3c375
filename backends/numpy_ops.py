"""NumPy's operators: those of the array API standard, and what NumPy and SciPy have beyond it."""

from __future__ import annotations

import numpy as np
import scipy.sparse

from backends import numpy_threads
from backends.array_api_ops import ArrayApiOps
from backends.ops import CSR, Array, Device, HostArray, Layout, Matrix, Scalar, Unsupported


class NumpyOps(ArrayApiOps):
    """Arrays are numpy.ndarray; sparse operands are scipy.sparse arrays."""

    framework = "NumPy"

    def __init__(self, device: Device) -> None:
        if device.kind != "cpu":
            raise Unsupported(f"NumPy runs on cpu only, not on {device}")
        numpy_threads.limit()
        super().__init__(np, device)

    def dtype(self, name: str) -> np.dtype:
        return np.dtype(name)

    def asarray(self, x: HostArray) -> Array:
        if x.dtype.kind not in "iubf":  # arrays of ml_dtypes become float32 or float64 in most operations
            raise Unsupported(f"NumPy has no dtype {x.dtype.name}: it computes with its arrays in another one")
        return np.array(x, order="C")

    def to_numpy(self, x: Array) -> HostArray:
        return np.asarray(x)

    def wait(self, outputs: object) -> None:
        return None  # NumPy computes before it returns

    def astype(self, x: Array, dtype: str) -> Array:
        return x.astype(np.dtype(dtype))

    def take(self, x: Array, indices: Array, axis: int = 0) -> Array:
        return np.take(x, indices, axis)

    def sort(self, x: Array, axis: int = -1, descending: bool = False) -> Array:
        ordered = np.sort(x, axis)
        return np.flip(ordered, axis) if descending else ordered

    def kth_greatest(self, x: Array, k: int) -> Array:
        return np.partition(x, x.shape[-1] - k)[x.shape[-1] - k]

    def topk(self, x: Array, k: int) -> tuple[Array, Array]:
        """Only the k greatest are sorted: the rest is told apart from them by a partition."""
        first = x.shape[-1] - k
        chosen = np.argpartition(x, first, axis=-1)[..., first:] if 0 < first < x.shape[-1] else None
        values = x if chosen is None else np.take_along_axis(x, chosen, -1)
        order = np.flip(np.argsort(values, axis=-1), -1)[..., :k]
        places = order if chosen is None else np.take_along_axis(chosen, order, -1)
        return np.take_along_axis(values, order, -1), places

    def scatter(self, x: Array, indices: Array, length: int) -> Array:
        out = np.zeros((length, *x.shape[1:]), x.dtype)
        out[indices] = x
        return out

    def popcount(self, x: Array) -> Array:
        return np.bitwise_count(x if x.dtype == np.uint8 else x.view(np.uint32)).astype(np.int32)

    def bitcast(self, x: Array, dtype: str) -> Array:
        return x.view(dtype)

    def matmul_int8(self, a: Array, b: Array) -> Array:
        """NumPy has no product of two widths: by a loop of int32, without BLAS."""
        return a.astype(np.int32) @ b.astype(np.int32)

    def embedding_bag(self, table: Array, rows: Array, weights: Array | None = None) -> Array:
        return table[rows].sum(1) if weights is None else np.einsum("bcn,bc->bn", table[rows], weights)

    def grouped_matmul(self, x: Array, w: Array, sizes: Array) -> Array:
        out = np.empty((len(x), w.shape[2]), x.dtype)
        ends = np.cumsum(sizes)
        for matrix, start, end in zip(w, ends - sizes, ends, strict=True):
            np.matmul(x[start:end], matrix, out=out[start:end])
        return out

    def einsum(self, equation: str, *xs: Array) -> Array:
        return np.einsum(equation, *xs, optimize=True)

    def softplus(self, x: Array) -> Array:
        return np.logaddexp(x, 0)

    def conv2d(self, x: Array, w: Array, *, stride: int, padding: int, layout: Layout) -> Array:
        if layout == "nchw":
            x = np.transpose(x, (0, 2, 3, 1))
        pad = (padding, padding)
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, ((0, 0), pad, pad, (0, 0))), w.shape[:2], (1, 2))
        # (n, oh, ow, ci, kh, kw) against (kh, kw, ci, co): one matrix product over (kh, kw, ci)
        y = np.tensordot(windows[:, ::stride, ::stride], w, axes=((4, 5, 3), (0, 1, 2)))
        return np.transpose(y, (0, 3, 1, 2)) if layout == "nchw" else y

    def sparse(self, csr: CSR, format: str, block: int = 1) -> Matrix:
        if csr.values.dtype == np.float16:
            raise Unsupported("SciPy has no sparse matrices of float16: it computes with them in float32")
        matrix = scipy.sparse.csr_array((csr.values, csr.indices, csr.indptr), shape=csr.shape)
        if format == "csr":
            return matrix
        if format == "bsr":
            return matrix.tobsr((block, block))
        raise Unsupported(f"SciPy is offered here with the formats csr and bsr, not {format}")

    def sparse_matmul(self, a: Matrix, b: Array) -> Array:
        return a @ b

    def sparse_matmul_transposed(self, a: Matrix, b: Array) -> Array:
        return a.T @ b

    def sparse_values(self, a: Matrix) -> Array:
        return a.data

    def sparse_with_values(self, a: Matrix, values: Array) -> Matrix:
        return type(a)((values, a.indices, a.indptr), shape=a.shape)

    def sampled_matmul(self, a: Matrix, x: Array, y: Array) -> Array:
        raise Unsupported("SciPy has no sampled dense-dense product")

    def segment_sum(self, x: Array, segment_ids: Array, num_segments: int) -> Array:
        out = np.zeros((num_segments, *x.shape[1:]), x.dtype)
        np.add.at(out, segment_ids, x)
        return out

    def settings(self) -> dict[str, Scalar]:
        return numpy_threads.settings()
