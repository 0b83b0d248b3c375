"""NumPy as a backend: an outside baseline, a second ceiling, and the adapter that needs no framework installed."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from backends.ops import (
    CSR,
    Array,
    Backend,
    Compiled,
    Device,
    Execution,
    HostArray,
    Layout,
    Matrix,
    Ops,
    Scalar,
    Unsupported,
)


class NumpyOps(Ops):
    """Arrays are numpy.ndarray; sparse operands are scipy.sparse arrays."""

    def __init__(self, device: Device) -> None:
        if device.kind != "cpu":
            raise Unsupported(f"NumPy runs on cpu only, not on {device}")
        self.device = device
        if "HWLOTTERY_THREADS" in os.environ:
            import threadpoolctl

            # OpenBLAS starts its pool when it is loaded, and the server that forks must have none: raised here instead.
            threadpoolctl.threadpool_limits(limits=int(os.environ["HWLOTTERY_THREADS"]), user_api="blas")

    def asarray(self, x: HostArray) -> Array:
        return np.array(x, order="C")

    def filters(self, w: HostArray) -> Array:
        return np.array(w, order="C")

    def to_numpy(self, x: Array) -> HostArray:
        return np.asarray(x)

    def wait(self, outputs: Sequence[Array | Matrix]) -> None:
        return None  # NumPy computes before it returns

    def astype(self, x: Array, dtype: str) -> Array:
        return x.astype(np.dtype(dtype))

    def reshape(self, x: Array, shape: tuple[int, ...]) -> Array:
        return np.reshape(x, shape)

    def permute_dims(self, x: Array, axes: tuple[int, ...]) -> Array:
        return np.transpose(x, axes)

    def expand_dims(self, x: Array, axis: int) -> Array:
        return np.expand_dims(x, axis)

    def concat(self, xs: Sequence[Array], axis: int) -> Array:
        return np.concatenate(xs, axis)

    def stack(self, xs: Sequence[Array], axis: int) -> Array:
        return np.stack(xs, axis)

    def zeros(self, shape: tuple[int, ...], dtype: str) -> Array:
        return np.zeros(shape, np.dtype(dtype))

    def sum(self, x: Array, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Array:
        return np.sum(x, axis=axis, keepdims=keepdims)

    def max(self, x: Array, axis: int | tuple[int, ...], keepdims: bool = False) -> Array:
        return np.max(x, axis=axis, keepdims=keepdims)

    def exp(self, x: Array) -> Array:
        return np.exp(x)

    def log(self, x: Array) -> Array:
        return np.log(x)

    def sqrt(self, x: Array) -> Array:
        return np.sqrt(x)

    def where(self, condition: Array, x: Array, y: Array | float) -> Array:
        return np.where(condition, x, y)

    def maximum(self, x: Array, y: Array | float) -> Array:
        return np.maximum(x, y)

    def take(self, x: Array, indices: Array, axis: int = 0) -> Array:
        return np.take(x, indices, axis)

    def matmul(self, a: Array, b: Array) -> Array:
        return np.matmul(a, b)

    def einsum(self, equation: str, *xs: Array) -> Array:
        return np.einsum(equation, *xs, optimize=True)

    def relu(self, x: Array) -> Array:
        return np.maximum(x, 0)

    def softplus(self, x: Array) -> Array:
        return np.logaddexp(x, 0)

    def softmax(self, x: Array, axis: int) -> Array:
        shifted = np.exp(x - np.max(x, axis=axis, keepdims=True))
        return shifted / np.sum(shifted, axis=axis, keepdims=True)

    def log_softmax(self, x: Array, axis: int) -> Array:
        shifted = x - np.max(x, axis=axis, keepdims=True)
        return shifted - np.log(np.sum(np.exp(shifted), axis=axis, keepdims=True))

    def conv2d(self, x: Array, w: Array, *, stride: int, padding: int, layout: Layout) -> Array:
        if layout == "nchw":
            x = np.transpose(x, (0, 2, 3, 1))
        pad = (padding, padding)
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, ((0, 0), pad, pad, (0, 0))), w.shape[:2], (1, 2))
        # (n, oh, ow, ci, kh, kw) against (kh, kw, ci, co): one matrix product over (kh, kw, ci)
        y = np.tensordot(windows[:, ::stride, ::stride], w, axes=((4, 5, 3), (0, 1, 2)))
        return np.transpose(y, (0, 3, 1, 2)) if layout == "nchw" else y

    def _windows(self, x: Array, size: int, layout: Layout) -> tuple[Array, tuple[int, int]]:
        if layout == "nhwc":
            n, h, w, c = x.shape
            return np.reshape(x, (n, h // size, size, w // size, size, c)), (2, 4)
        n, c, h, w = x.shape
        return np.reshape(x, (n, c, h // size, size, w // size, size)), (3, 5)

    def max_pool2d(self, x: Array, size: int, *, layout: Layout) -> Array:
        windows, axes = self._windows(x, size, layout)
        return np.max(windows, axis=axes)

    def avg_pool2d(self, x: Array, size: int, *, layout: Layout) -> Array:
        windows, axes = self._windows(x, size, layout)
        return np.mean(windows, axis=axes)

    def sparse(self, csr: CSR, format: str, block: int = 1) -> Matrix:
        import scipy.sparse

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

    def value_and_grad(
        self, fn: Callable[..., Any], argnums: Sequence[int], has_aux: bool = False
    ) -> Callable[..., tuple[Any, tuple[Array, ...]]]:
        raise Unsupported("NumPy has no automatic differentiation")

    def stop_gradient(self, x: Array) -> Array:
        return x

    def compile(
        self,
        fn: Callable[..., tuple[Array, ...]],
        execution: Execution,
        args: Sequence[Array | Matrix],
        keep: str | None = None,
    ) -> Compiled:
        if execution != "eager":
            raise Unsupported(f"NumPy has no compiler; execution {execution} would be a no-op")
        return Compiled(call=fn)

    def settings(self) -> dict[str, Scalar]:
        import threadpoolctl

        pools = threadpoolctl.threadpool_info()
        return {
            "numpy": np.__version__,
            "blas": ", ".join(sorted({f"{p['internal_api']} {p.get('version')}" for p in pools})) or None,
            "threads": max((p["num_threads"] for p in pools), default=1),
        }


def _environ(device: Device, threads: int, cache: Path) -> Mapping[str, str]:
    return {}


BACKEND = Backend(
    name="numpy",
    title="NumPy",
    module="numpy",
    distributions=("numpy", "scipy"),
    install="python -m pip install numpy scipy",
    preload=("numpy", "scipy.sparse"),
    executions=("eager",),
    environ=_environ,
    devices=lambda: (Device("cpu"),),
    open=NumpyOps,
    default=False,
)
