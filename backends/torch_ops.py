"""PyTorch's operators: eager and torch.compile, on the CPU and on CUDA.

Arrays are plain tensors of the logical shape. Maps are kept channels-last by the layout "nhwc": its (n, h, w, c) is
the memory that PyTorch calls channels_last, so both views are free. Sparse operands and `compile` have files of their
own. Imports PyTorch: only an opened backend imports this file.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch

from backends import torch_device, torch_gradients, torch_sparse
from backends.ops import (
    CSR,
    FLUSH_BYTES,
    Array,
    Compiled,
    Device,
    Execution,
    Fallback,
    HostArray,
    Layout,
    Matrix,
    Scalar,
    Unsupported,
)
from backends.torch_idea_ops import TorchIdeaOps


class TorchOps(TorchIdeaOps):
    """Arrays are torch.Tensor; sparse operands are those of `torch_sparse`."""

    own_products: ClassVar[bool] = True  # whether `torch_products` may stand in PyTorch's own place

    def __init__(self, device: Device) -> None:
        self.device = device
        self._torch_device = torch_device.opened(device)
        torch_device.set_precision(device.kind)
        self._wait = torch_device.waiting(device.kind, self._torch_device)
        self._held_bytes = torch_device.held_bytes(device.kind, self._torch_device)  # before any case
        self._flush: Array | None = None  # what is read to empty the caches of a GPU
        # The small operators without a frame of ours: it is 3 % of a product of 32×32. As methods they say the same.
        direct = {name: getattr(torch, name) for name in ("matmul", "relu", "exp", "log", "sqrt", "where")}
        for name, function in {**direct, "sparse_matmul": torch_sparse.matmul}.items():
            setattr(self, name, function)
        self._products: Any = None  # oneDNN's, where they are the faster
        if device.kind == "cpu" and self.own_products:
            products = importlib.import_module("backends.torch_products")
            if products.faster():
                self._products = products
                setattr(self, "matmul", products.matmul)  # noqa: B010 - as above
        if "OMP_NUM_THREADS" in os.environ:  # OpenMP has read it; said here, MKL keeps to it too, and never to fewer
            torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))

    # -- transfer ---------------------------------------------------------------------------------------------------
    def asarray(self, x: HostArray) -> Array:
        host = np.asarray(x, order="C")
        if host.dtype.name == "bfloat16":  # NumPy's own interface has no such type: the bits travel as integers
            return torch.tensor(host.view(np.int16), device=self._torch_device).view(torch.bfloat16)
        if host.dtype.name == "float8_e4m3fn":
            return torch.tensor(host.view(np.uint8), device=self._torch_device).view(torch.float8_e4m3fn)
        return torch.tensor(host, device=self._torch_device)

    def positions(self, x: HostArray) -> Array:
        # Out of a vector by int64 on a CPU: 0.8 of the time. Rows are read as fast by both.
        return self.asarray(x.astype(np.int64 if self.device.kind == "cpu" else np.int32))

    def filters(self, w: HostArray) -> Array:
        # As (co, ci, kh, kw) these are channels_last, what its convolutions want; `w - lr * g` keeps the order.
        return self.asarray(np.transpose(w, (3, 0, 1, 2))).permute(1, 2, 3, 0)

    def pack_filters(self, w: HostArray, images: tuple[int, int, int, int], stride: int, padding: int) -> Array:
        """What `torch.compile` does to constants when it freezes a model: oneDNN's own layout, by the same operator."""
        if self.device.kind != "cpu" or w.dtype != np.float32 or not torch.backends.mkldnn.is_available():
            raise Unsupported("PyTorch lays filters out ahead by oneDNN only: float32, on the CPU")
        n, height, width, channels = images
        filters, around = torch.permute(self.filters(w), (3, 2, 0, 1)), ([padding] * 2, [stride] * 2, [1, 1], 1)
        return torch.ops.mkldnn._reorder_convolution_weight(filters, *around, [n, channels, height, width])

    def to_numpy(self, x: Array) -> HostArray:
        host = x.detach().to("cpu", copy=True)
        if host.dtype != torch.bfloat16:
            return np.asarray(host.numpy())
        import ml_dtypes

        return np.asarray(host.contiguous().view(torch.int16).numpy().view(ml_dtypes.bfloat16))

    def wait(self, outputs: Sequence[Array | Matrix]) -> None:
        self._wait(outputs)

    # -- array API standard -----------------------------------------------------------------------------------------
    def astype(self, x: Array, dtype: str) -> Array:
        return x.to(getattr(torch, dtype))

    def reshape(self, x: Array, shape: tuple[int, ...]) -> Array:
        return torch.reshape(x, shape)

    def permute_dims(self, x: Array, axes: tuple[int, ...]) -> Array:
        return torch.permute(x, axes)

    def expand_dims(self, x: Array, axis: int) -> Array:
        return torch.unsqueeze(x, axis)

    def concat(self, xs: Sequence[Array], axis: int) -> Array:
        return torch.cat(xs, axis)

    def stack(self, xs: Sequence[Array], axis: int) -> Array:
        return torch.stack(xs, axis)

    def zeros(self, shape: tuple[int, ...], dtype: str) -> Array:
        return torch.zeros(shape, dtype=getattr(torch, dtype), device=self._torch_device)

    def sum(self, x: Array, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Array:
        return torch.sum(x, dim=axis, keepdim=keepdims)

    def max(self, x: Array, axis: int | tuple[int, ...], keepdims: bool = False) -> Array:
        return torch.amax(x, axis, keepdims)  # torch.max also finds where it is, at 8 times the time

    def exp(self, x: Array) -> Array:
        return torch.exp(x)

    def log(self, x: Array) -> Array:
        return torch.log(x)

    def sqrt(self, x: Array) -> Array:
        return torch.sqrt(x)

    def where(self, condition: Array, x: Array, y: Array | float) -> Array:
        return torch.where(condition, x, y)

    def maximum(self, x: Array, y: Array | float) -> Array:
        return torch.clamp_min(x, y)  # takes a number too, which torch.maximum does not

    def take(self, x: Array, indices: Array, axis: int = 0) -> Array:
        # Its gradient adds into rows, which int32 indices slow down up to 6 times; reading rows is as fast with both.
        if x.requires_grad:
            indices = indices.long()
        if indices.ndim == 1:
            return torch.index_select(x, axis, indices)
        axis %= x.ndim
        taken = torch.index_select(x, axis, indices.reshape(-1))
        return taken.reshape(x.shape[:axis] + indices.shape + x.shape[axis + 1 :])

    def matmul(self, a: Array, b: Array) -> Array:
        return torch.matmul(a, b)

    def sort(self, x: Array, axis: int = -1, descending: bool = False) -> Array:
        return torch.sort(x, axis, descending)[0]

    def argmax(self, x: Array, axis: int) -> Array:
        return torch.argmax(x, axis)

    def topk(self, x: Array, k: int) -> tuple[Array, Array]:
        values, positions = torch.topk(x, k)
        return values, positions

    def kth_greatest(self, x: Array, k: int) -> Array:
        if 2 * k > x.shape[0]:  # from the other end: of 105 000 values the 73 400th in a quarter of the time
            return torch.topk(x, x.shape[0] - k + 1, largest=False, sorted=False).values.amax()
        return torch.topk(x, k, sorted=False).values.amin()

    def einsum(self, equation: str, *xs: Array) -> Array:
        return torch.einsum(equation, *xs)

    # -- neural networks --------------------------------------------------------------------------------------------
    def relu(self, x: Array) -> Array:
        return torch.relu(x)

    def relu_grad(self, gradient: Array, y: Array) -> Array:
        return torch.ops.aten.threshold_backward(gradient, y, 0)

    def softplus(self, x: Array) -> Array:
        return torch.nn.functional.softplus(x)

    def softmax(self, x: Array, axis: int) -> Array:
        return torch.softmax(x, axis)

    def log_softmax(self, x: Array, axis: int) -> Array:
        return torch.log_softmax(x, axis)

    def conv2d(self, x: Array, w: Array, *, stride: int, padding: int, layout: Layout) -> Array:
        if w.is_mkldnn:
            around = ([padding] * 2, [stride] * 2, [1, 1], 1)
            return _nhwc(torch.ops.mkldnn._convolution_pointwise(_nchw(x), w, None, *around, "none", [], ""))
        w = torch.permute(w, (3, 2, 0, 1))
        if layout == "nhwc":
            return _nhwc(torch.conv2d(_nchw(x), w, None, stride, padding))
        # Filters in channels_last order would turn the whole network channels_last behind the caller's back.
        return torch.conv2d(x, w.contiguous(), None, stride, padding)

    def max_pool2d(self, x: Array, size: int, *, layout: Layout) -> Array:
        if layout == "nhwc":
            return _nhwc(torch.max_pool2d(_nchw(x), size))
        return torch.max_pool2d(x, size)

    def avg_pool2d(self, x: Array, size: int, *, layout: Layout) -> Array:
        if layout == "nhwc":
            return _nhwc(torch.nn.functional.avg_pool2d(_nchw(x), size))
        return torch.nn.functional.avg_pool2d(x, size)

    # -- sparse -----------------------------------------------------------------------------------------------------
    def sparse(self, csr: CSR, format: str, block: int = 1) -> Matrix:
        return torch_sparse.convert(self.asarray, csr, format, block)

    def sparse_matmul(self, a: Matrix, b: Array) -> Array:
        return torch_sparse.matmul(a, b)

    def sparse_matmul_transposed(self, a: Matrix, b: Array) -> Array:
        return torch_sparse.matmul_transposed(a, b)

    def sparse_values(self, a: Matrix) -> Array:
        return torch_sparse.values(a)

    def sparse_with_values(self, a: Matrix, values: Array) -> Matrix:
        return torch_sparse.with_values(a, values)

    def sampled_matmul(self, a: Matrix, x: Array, y: Array) -> Array:
        return torch_sparse.sampled_matmul(a, x, y)

    def segment_sum(self, x: Array, segment_ids: Array, num_segments: int) -> Array:
        return torch_sparse.segment_sum(x, segment_ids, num_segments)

    # -- gradients --------------------------------------------------------------------------------------------------
    def value_and_grad(
        self, fn: Callable[..., Any], argnums: Sequence[int], has_aux: bool = False
    ) -> Callable[..., tuple[Any, tuple[Array, ...]]]:
        return torch_gradients.value_and_grad(fn, argnums, has_aux)

    def stop_gradient(self, x: Array) -> Array:
        return x.detach()

    def sgd_step(self, w: Array, gradient: Array, rate: float) -> Array:
        # One pass, as torch.optim.SGD has it. Never torch.add(alpha=-rate) in a compiled graph: Inductor of torch 2.13
        # drops alpha where the gradient is itself a matrix product.
        if torch.compiler.is_compiling():
            return w - rate * gradient
        return torch.sub(w, gradient, alpha=rate)

    def sgd_step_along(self, w: Array, left: Array, right: Array, rate: float) -> Array:
        if torch.compiler.is_compiling() or w.ndim not in (2, 3):
            return super().sgd_step_along(w, left, right, rate)
        if self._products is not None:
            updated = self._products.sgd_step_along(w, left, right, rate)
            if updated is not None:
                return updated
        return (torch.addmm if w.ndim == 2 else torch.baddbmm)(w, left, right, alpha=-rate)

    # -- running ----------------------------------------------------------------------------------------------------
    def compile(
        self,
        fn: Callable[..., tuple[Array, ...]],
        execution: Execution,
        args: Sequence[Array | Matrix],
        keep: str | None = None,
    ) -> Compiled:
        if execution == "eager":
            return Compiled(call=fn, fallbacks=self._watched(fn))
        if execution != "compiled":
            raise Unsupported(f"PyTorch has no execution named {execution}; it has eager and compiled")
        compiler = importlib.import_module("backends.torch_compile")
        made: Compiled = compiler.compiled(fn, self.device.kind, args, keep, self._products)
        return made if made.peak_bytes is None else replace(made, peak_bytes=made.peak_bytes - self._held_bytes)

    def _watched(self, fn: Callable[..., Any]) -> Callable[[Sequence[Any]], Sequence[Fallback]]:
        def watch(operands: Sequence[Array | Matrix]) -> Sequence[Fallback]:
            seen = importlib.import_module("backends.torch_fallback")
            found: list[Fallback] = seen.of_eager(fn, operands, self.device.kind)
            return found

        return watch

    def settings(self) -> dict[str, Scalar]:
        found = torch_device.settings(self.device.kind, self._products is not None)
        if self.device.kind == "cuda":
            found["library_workspace"] = f"left out of the peak: {self._held_bytes} bytes, taken before the case"
        return found

    def flush_cache(self) -> bool:
        if self.device.kind != "cuda":
            return False
        if self._flush is None:
            self._flush = torch.zeros(FLUSH_BYTES // 4, dtype=torch.float32, device=self._torch_device)
        self._wait([torch.sum(self._flush)])
        return True

    def device_s(self, call: Callable[..., Sequence[Array]], operands: Sequence[Array | Matrix]) -> float | None:
        if self.device.kind != "cuda":
            return None
        seconds: float = importlib.import_module("backends.torch_events").median_s(call, operands, self._flush)
        return seconds

    def kernels(self, call: Callable[..., Sequence[Array]], operands: Sequence[Array | Matrix]) -> Sequence[str]:
        if self.device.kind != "cuda":
            return ()
        names: list[str] = importlib.import_module("backends.torch_events").kernels(call, operands)
        return names

    def reset_peak_bytes(self) -> None:
        torch_device.reset_peak_bytes(self.device.kind, self._torch_device)

    def device_peak_bytes(self) -> int | None:
        peak = torch_device.peak_bytes(self.device.kind, self._torch_device)
        return None if peak is None else peak - self._held_bytes - (0 if self._flush is None else FLUSH_BYTES)


def _nchw(x: Array) -> Array:
    return torch.permute(x, (0, 3, 1, 2))


def _nhwc(x: Array) -> Array:
    return torch.permute(x, (0, 2, 3, 1))
