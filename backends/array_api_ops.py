"""The operators of any library that keeps to the Python array API standard (2024.12).

A backend over such a library gives its namespace, a device and a `wait`, as `array_api_strict_backend.py` shows. What
the standard does not have is written with what it has (convolution, pooling, einsum, top-k), and a library that has
the operation itself should override it: else it looks slower than it is.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np

from backends.einsum import einsum
from backends.ops import Array, Device, HostArray, Layout, Ops, Unsupported

# Called with the same arguments as they are here: bound without a frame of ours.
DIRECT = ("exp", "log", "sqrt", "where", "maximum", "matmul", "reshape", "permute_dims")


def namespace(module: str) -> Any:
    """The standard's namespace of a library: array-api-compat's of this name where it has one, else `module` itself.

    array-api-compat has `torch`, `cupy`, `dask.array` and `numpy`; where it is not installed, a library must keep to
    the standard by itself. Imports the library.
    """
    wrapped = f"array_api_compat.{module}"
    if importlib.util.find_spec("array_api_compat") is not None:
        try:
            return importlib.import_module(wrapped)
        except ModuleNotFoundError as absent:
            if not wrapped.startswith(str(absent.name)):  # the library itself is missing, or a part of it
                raise
    return importlib.import_module(module)


class ArrayApiOps(Ops):
    """`xp` is the namespace; `place`, where not None, is the library's own device, on which arrays are made.

    `wait` is left to the backend: the standard has no word for it, and only a library that computes before it returns
    may do nothing there.
    """

    def __init__(self, xp: Any, device: Device, place: Any = None) -> None:
        self.xp = xp
        self.device = device
        self.place = place
        for name in DIRECT:
            if getattr(type(self), name) is getattr(ArrayApiOps, name):  # else a subclass has its own
                setattr(self, name, getattr(xp, name))

    def dtype(self, name: str) -> Any:
        """The library's dtype of this name; Unsupported where it has none."""
        found = getattr(self.xp, name, None)
        if found is None:
            raise Unsupported(f"{self._name_of_framework()} has no dtype {name}")
        return found

    # -- transfer ---------------------------------------------------------------------------------------------------
    def asarray(self, x: HostArray) -> Array:
        self.dtype(x.dtype.name)
        return self.xp.asarray(np.ascontiguousarray(x).reshape(x.shape), copy=True, device=self.place)

    def to_numpy(self, x: Array) -> HostArray:
        # a reduction in NumPy gives a scalar of its own, which is no array
        return np.asarray(x) if isinstance(x, np.generic) else np.array(np.from_dlpack(x))

    # -- array API standard -----------------------------------------------------------------------------------------
    def astype(self, x: Array, dtype: str) -> Array:
        return self.xp.astype(x, self.dtype(dtype))

    def reshape(self, x: Array, shape: tuple[int, ...]) -> Array:
        return self.xp.reshape(x, shape)

    def permute_dims(self, x: Array, axes: tuple[int, ...]) -> Array:
        return self.xp.permute_dims(x, axes)

    def expand_dims(self, x: Array, axis: int) -> Array:
        return self.xp.expand_dims(x, axis=axis)

    def concat(self, xs: Any, axis: int) -> Array:
        return self.xp.concat(xs, axis=axis)

    def stack(self, xs: Any, axis: int) -> Array:
        return self.xp.stack(xs, axis=axis)

    def zeros(self, shape: tuple[int, ...], dtype: str) -> Array:
        return self.xp.zeros(shape, dtype=self.dtype(dtype), device=self.place)

    def sum(self, x: Array, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Array:
        return self.xp.sum(x, axis=axis, keepdims=keepdims)

    def max(self, x: Array, axis: int | tuple[int, ...], keepdims: bool = False) -> Array:
        return self.xp.max(x, axis=axis, keepdims=keepdims)

    def exp(self, x: Array) -> Array:
        return self.xp.exp(x)

    def log(self, x: Array) -> Array:
        return self.xp.log(x)

    def sqrt(self, x: Array) -> Array:
        return self.xp.sqrt(x)

    def where(self, condition: Array, x: Array, y: Array | float) -> Array:
        return self.xp.where(condition, x, y)

    def maximum(self, x: Array, y: Array | float) -> Array:
        return self.xp.maximum(x, y)

    def take(self, x: Array, indices: Array, axis: int = 0) -> Array:
        if indices.ndim == 1:
            return self.xp.take(x, indices, axis=axis)
        axis %= x.ndim  # the standard's own takes a row of indices only
        taken = self.xp.take(x, self.xp.reshape(indices, (-1,)), axis=axis)
        return self.xp.reshape(taken, (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))

    def matmul(self, a: Array, b: Array) -> Array:
        return self.xp.matmul(a, b)

    def sort(self, x: Array, axis: int = -1, descending: bool = False) -> Array:
        return self.xp.sort(x, axis=axis, descending=descending)

    def argmax(self, x: Array, axis: int) -> Array:
        return self.xp.argmax(x, axis=axis)

    def topk(self, x: Array, k: int) -> tuple[Array, Array]:
        order = self.xp.argsort(x, axis=-1, descending=True)[..., :k]
        return self.xp.take_along_axis(x, order, axis=-1), order

    def round(self, x: Array) -> Array:
        return self.xp.round(x)

    def argsort(self, x: Array) -> Array:
        return self.xp.argsort(x, axis=-1, stable=True)

    def take_along_axis(self, x: Array, indices: Array, axis: int) -> Array:
        return self.xp.take_along_axis(x, indices, axis=axis)

    def cumsum(self, x: Array, axis: int) -> Array:
        return self.xp.cumulative_sum(x, axis=axis, dtype=x.dtype)

    def nonzero(self, x: Array) -> Array:
        return self.xp.nonzero(x)[0]

    def scatter(self, x: Array, indices: Array, length: int) -> Array:
        """By a search for each place, since the standard has no word for it: which row it takes, if any."""
        order = self.xp.argsort(indices)
        found, every = self.xp.take(indices, order), self.xp.arange(length, dtype=indices.dtype, device=self.place)
        at = self.xp.searchsorted(found, every)
        at = self.xp.where(at < found.shape[0], at, found.shape[0] - 1)
        rows = self.take(x, self.xp.take(order, at))
        there = self.xp.reshape(self.xp.take(found, at) == every, (length, *[1] * (x.ndim - 1)))
        return self.xp.where(there, rows, self.xp.zeros_like(rows))

    def bitwise_right_shift(self, x: Array, bits: int) -> Array:
        return self.xp.bitwise_right_shift(x, self.xp.asarray(bits, dtype=x.dtype, device=self.place))

    def scan(
        self, fn: Callable[[Any, Any], tuple[Any, Any]], carry: tuple[Array, ...], xs: tuple[Array, ...]
    ) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        ys = []
        for step in range(xs[0].shape[0]):
            carry, y = fn(carry, tuple(x[step, ...] for x in xs))
            ys.append(y)
        return carry, tuple(self.xp.stack(several) for several in zip(*ys, strict=True))

    def cond(self, predicate: Array, true: Callable[..., Any], false: Callable[..., Any], *operands: Array) -> Any:
        return true(*operands) if bool(predicate) else false(*operands)

    def einsum(self, equation: str, *xs: Array) -> Array:
        return einsum(self, equation, xs)

    # -- neural networks --------------------------------------------------------------------------------------------
    def softplus(self, x: Array) -> Array:
        return self.xp.logaddexp(x, self.xp.zeros_like(x))

    def conv2d(self, x: Array, w: Array, *, stride: int, padding: int, layout: Layout) -> Array:
        """One matrix product for every place in the filter, of the pixels that it meets."""
        if layout == "nchw":
            x = self.xp.permute_dims(x, (0, 2, 3, 1))
        x = self._padded(self._padded(x, padding, 1), padding, 2)
        kernel_height, kernel_width, channels_in, channels_out = w.shape
        n, height, width, _ = x.shape
        out_height, out_width = (height - kernel_height) // stride + 1, (width - kernel_width) // stride + 1
        y = None
        for row in range(kernel_height):
            for column in range(kernel_width):
                rows = slice(row, row + stride * (out_height - 1) + 1, stride)
                columns = slice(column, column + stride * (out_width - 1) + 1, stride)
                pixels = self.xp.reshape(x[:, rows, columns, :], (-1, channels_in))
                product = self.xp.matmul(pixels, w[row, column, :, :])
                y = product if y is None else y + product
        y = self.xp.reshape(y, (n, out_height, out_width, channels_out))
        return self.xp.permute_dims(y, (0, 3, 1, 2)) if layout == "nchw" else y

    def _padded(self, x: Array, padding: int, axis: int) -> Array:
        if not padding:
            return x
        edge = self.xp.zeros((*x.shape[:axis], padding, *x.shape[axis + 1 :]), dtype=x.dtype, device=self.place)
        return self.xp.concat((edge, x, edge), axis=axis)

    def max_pool2d(self, x: Array, size: int, *, layout: Layout) -> Array:
        windows, axes = self._windows(x, size, layout)
        return self.xp.max(windows, axis=axes)

    def avg_pool2d(self, x: Array, size: int, *, layout: Layout) -> Array:
        windows, axes = self._windows(x, size, layout)
        return self.xp.mean(windows, axis=axes)

    def _windows(self, x: Array, size: int, layout: Layout) -> tuple[Array, tuple[int, int]]:
        """`x` with an axis of its own for the rows and the columns of each window, and which axes these are."""
        if layout == "nhwc":
            n, h, w, c = x.shape
            return self.xp.reshape(x, (n, h // size, size, w // size, size, c)), (2, 4)
        n, c, h, w = x.shape
        return self.xp.reshape(x, (n, c, h // size, size, w // size, size)), (3, 5)
