"""`CountingOps`: every operator of `Ops` by the work that it is, on arrays without values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil, log2, prod
from typing import Any, ClassVar

import numpy as np

from backends.compiled import Array, Matrix
from backends.counting import arrays, gradients, networks, sparse
from backends.counting.arrays import CountedArray, NotCounted, Trace, elementwise
from backends.counting.idea_counting_ops import IdeaCountingOps
from backends.counting.sparse import CountedMatrix
from backends.counting.totals import Rows
from backends.csr import CSR, HostArray
from backends.device import Device
from backends.ops import Layout

# Members of `Ops` that compute nothing of a formulation: they run it, look after the device, or say what was set.
RUNNING = frozenset(
    {
        *("to_numpy", "wait", "before_trial", "compile", "settings", "flush_cache", "device_s"),
        *("reset_peak_bytes", "device_peak_bytes", "kernels"),
    }
)


class CountingOps(IdeaCountingOps):
    """Notes in `trace` what is called; nothing is computed, so that a formulation of any size takes milliseconds.

    It is no backend: it has no device, and what asks for values raises NotCounted. The rules are those of
    backends/counting/totals.py, the same for every framework: what one of them does beyond them, such as copying a
    transposed operand, is the framework's own and not the formulation's.
    """

    framework: ClassVar[str] = "counting"

    def __init__(self) -> None:
        self.device = Device("cpu")
        self.trace = Trace()

    # -- transfer ---------------------------------------------------------------------------------------------------
    def asarray(self, x: HostArray) -> Array:
        return self.trace.leaf(np.shape(x), np.asarray(x).dtype)

    def filters(self, w: HostArray) -> Array:
        return self.asarray(w)

    def positions(self, x: HostArray) -> Array:
        return self.trace.leaf(np.shape(x), np.int32)

    def pack_filters(self, w: HostArray, images: tuple[int, int, int, int], stride: int, padding: int) -> Array:
        return self.asarray(w)

    def to_numpy(self, x: Array) -> HostArray:
        raise NotCounted("the formulation copies an array to the host: its work depends on more than shapes")

    def wait(self, outputs: Sequence[Array | Matrix]) -> None:
        return None

    # -- array API standard -----------------------------------------------------------------------------------------
    def astype(self, x: Array, dtype: str) -> Array:
        return elementwise("astype", (x,), (lambda g: self.astype(g, x.dtype.name),), dtype=_dtype(dtype), flop=0)

    def reshape(self, x: Array, shape: tuple[int, ...]) -> Array:
        return arrays.reshaped(x, tuple(shape) if isinstance(shape, Sequence) else (shape,))

    def permute_dims(self, x: Array, axes: tuple[int, ...]) -> Array:
        return arrays.permuted(x, axes)

    def expand_dims(self, x: Array, axis: int) -> Array:
        at = axis % (x.ndim + 1)
        return x.view((*x.shape[:at], 1, *x.shape[at:]), lambda g: arrays.reshaped(g, x.shape))

    def concat(self, xs: Sequence[Array], axis: int) -> Array:
        first, axis = xs[0], axis % xs[0].ndim
        starts = np.cumsum([0, *(x.shape[axis] for x in xs)])
        shape = (*first.shape[:axis], int(starts[-1]), *first.shape[axis + 1 :])

        def part(start: int, size: int) -> Callable[[CountedArray], CountedArray]:
            return lambda g: g[(slice(None),) * axis + (slice(start, start + size),)]

        cuts = [part(int(start), x.shape[axis]) for start, x in zip(starts, xs, strict=False)]
        return self.trace.make("concat", "copy", shape, first.dtype, tuple(xs), cuts)

    def stack(self, xs: Sequence[Array], axis: int) -> Array:
        return self.concat([self.expand_dims(x, axis) for x in xs], axis)

    def zeros(self, shape: tuple[int, ...], dtype: str) -> Array:
        return self.trace.make("zeros", "elementwise", tuple(shape), _dtype(dtype), ())

    def sum(self, x: Array, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Array:
        kept, shape = _reduced(x, axis, keepdims)
        flop = max(0, x.size - prod(shape))
        spread = _spread(x, kept)
        return self.trace.make("sum", "reduction", shape, x.dtype, (x,), (spread,), other_flop=flop)

    def max(self, x: Array, axis: int | tuple[int, ...], keepdims: bool = False) -> Array:
        kept, shape = _reduced(x, axis, keepdims)
        spread = _spread(x, kept)

        def gradient(g: CountedArray) -> CountedArray:  # to where x is its maximum
            greatest: CountedArray = x == arrays.repeated(arrays.reshaped(out, kept), x.shape)
            return spread(g) * greatest

        flop = max(0, x.size - prod(shape))
        out = self.trace.make("max", "reduction", shape, x.dtype, (x,), (gradient,), other_flop=flop)
        return out

    def exp(self, x: Array) -> Array:
        out = elementwise("exp", (x,), (lambda g: g * out,))
        return out

    def log(self, x: Array) -> Array:
        return elementwise("log", (x,), (lambda g: g / x,))

    def sqrt(self, x: Array) -> Array:
        out = elementwise("sqrt", (x,), (lambda g: g / (out * 2.0),))
        return out

    def where(self, condition: Array, x: Array, y: Array | float) -> Array:
        passed = (None, lambda g: self.where(condition, g, 0.0), lambda g: self.where(condition, 0.0, g))
        return elementwise("where", (condition, x, y), passed, dtype=arrays.common([x, y]))

    def maximum(self, x: Array, y: Array | float) -> Array:
        passed = (lambda g: self.where(x > y, g, 0.0), lambda g: self.where(x > y, 0.0, g))
        return elementwise("maximum", (x, y), passed)

    def take(self, x: Array, indices: Array, axis: int = 0) -> Array:
        return sparse.taken(x, indices, axis)

    def matmul(self, a: Array, b: Array) -> Array:
        return arrays.matmul(a, b)

    # -- choosing: comparisons are FLOP -----------------------------------------------------------------------------
    def sort(self, x: Array, axis: int = -1, descending: bool = False) -> Array:
        depth = ceil(log2(max(2, x.shape[axis])))
        return self.trace.make("sort", "sort", x.shape, x.dtype, (x,), (self._back(x),), other_flop=x.size * depth)

    def argmax(self, x: Array, axis: int) -> Array:
        _, shape = _reduced(x, axis, False)
        flop = max(0, x.size - prod(shape))
        return self.trace.make("argmax", "reduction", shape, np.int32, (x,), (None,), other_flop=flop)

    def kth_greatest(self, x: Array, k: int) -> Array:
        return self.trace.make("kth_greatest", "sort", (), x.dtype, (x,), (None,), other_flop=x.size)

    def topk(self, x: Array, k: int) -> tuple[Array, Array]:
        shape = (*x.shape[:-1], k)
        values = self.trace.make("topk", "sort", shape, x.dtype, (x,), (self._back(x),), other_flop=x.size)
        places = CountedArray(self.trace, shape, np.dtype(np.int32), values.buffer)
        values.buffer.bytes += places.size * places.dtype.itemsize  # one operation writes both
        return values, places

    def _back(self, x: CountedArray) -> Callable[[CountedArray], CountedArray]:
        """The gradient of chosen values: each is added to the place that it came from."""

        def gradient(g: CountedArray) -> CountedArray:
            rows = Rows(g.size, g.size * g.dtype.itemsize)
            return sparse.scattered(g, self.trace.leaf(g.shape, np.int32), x.shape, rows)

        return gradient

    def einsum(self, equation: str, *xs: Array) -> Array:
        return networks.einsum(equation, *xs)

    # -- neural networks --------------------------------------------------------------------------------------------
    def relu(self, x: Array) -> Array:
        out = elementwise("relu", (x,), (lambda g: self.relu_grad(g, out),))
        return out

    def relu_grad(self, gradient: Array, y: Array) -> Array:
        return elementwise("relu_grad", (gradient, y), (lambda g: self.relu_grad(g, y), None))

    def softplus(self, x: Array) -> Array:
        def gradient(g: CountedArray) -> CountedArray:  # g times the sigmoid: exp, +, /, ·
            return elementwise("softplus_gradient", (g, x), (), flop=4)

        return elementwise("softplus", (x,), (gradient,), flop=3)  # exp, + and log

    def softmax(self, x: Array, axis: int) -> Array:
        return self._soft("softmax", x, axis, 5 * x.size - 2 * (x.size // x.shape[axis]))

    def log_softmax(self, x: Array, axis: int) -> Array:
        return self._soft("log_softmax", x, axis, 5 * x.size - x.size // x.shape[axis])

    def _soft(self, name: str, x: CountedArray, axis: int, flop: int) -> CountedArray:
        """Maximum, difference, exp, sum and quotient (or log and difference); one operation both ways."""

        def gradient(g: CountedArray) -> CountedArray:  # a sum along the axis, and three passes
            flop = 4 * x.size - x.size // x.shape[axis]
            made = (g, out)
            return self.trace.make(f"{name}_gradient", "reduction", x.shape, x.dtype, made, other_flop=flop)

        out = self.trace.make(name, "reduction", x.shape, x.dtype, (x,), (gradient,), other_flop=flop)
        return out

    def conv2d(self, x: Array, w: Array, *, stride: int, padding: int, layout: Layout) -> Array:
        return networks.conv2d(x, w, stride, padding, layout)

    def max_pool2d(self, x: Array, size: int, *, layout: Layout) -> Array:
        return networks.pool("max_pool2d", x, size, layout)

    def avg_pool2d(self, x: Array, size: int, *, layout: Layout) -> Array:
        return networks.pool("avg_pool2d", x, size, layout)

    # -- sparse -----------------------------------------------------------------------------------------------------
    def sparse(self, csr: CSR, format: str, block: int = 1) -> Matrix:
        return sparse.made(self.trace, csr, format, block)

    def sparse_matmul(self, a: CountedMatrix, b: Array) -> Array:
        return sparse.product(a, b)

    def sparse_matmul_transposed(self, a: CountedMatrix, b: Array) -> Array:
        return sparse.product(a, b, transposed=True)

    def sparse_values(self, a: CountedMatrix) -> Array:
        return a.values

    def sparse_with_values(self, a: CountedMatrix, values: Array) -> Matrix:
        return sparse.with_values(a, values)

    def sampled_matmul(self, a: CountedMatrix, x: Array, y: Array) -> Array:
        return sparse.sampled(a, x, y)

    def segment_sum(self, x: Array, segment_ids: Array, num_segments: int) -> Array:
        return sparse.segment_sum(x, segment_ids, num_segments)

    # -- gradients --------------------------------------------------------------------------------------------------
    def value_and_grad(
        self, fn: Callable[..., Any], argnums: Sequence[int], has_aux: bool = False
    ) -> Callable[..., tuple[Any, tuple[Array, ...]]]:
        return gradients.value_and_grad(fn, argnums, has_aux)

    def stop_gradient(self, x: Array) -> Array:
        return x.detached()

    def sgd_step(self, w: Array, gradient: Array, rate: float) -> Array:
        return elementwise("sgd_step", (w, gradient), (), flop=2)

    def sgd_step_along(self, w: Array, left: Array, right: Array, rate: float) -> Array:
        before = len(self.trace.operations)
        product = arrays.matmul(left, right)
        flop = sum(o.matmul_flop for o in self.trace.operations[before:])
        del self.trace.operations[before:]  # within the product: one operation, and it is never written
        inputs = (w, left, right)
        return self.trace.make(
            "sgd_step_along", "product", w.shape, w.dtype, inputs, matmul_flop=flop, other_flop=2 * product.size
        )


def _dtype(name: str) -> np.dtype[Any]:
    if name == "bfloat16":
        import ml_dtypes

        name = ml_dtypes.bfloat16
    return np.dtype(name)


def _reduced(
    x: CountedArray, axis: int | tuple[int, ...] | None, keepdims: bool
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The shape with axes of length 1 where it was reduced, and the shape of the result."""
    axes = range(x.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    gone = {a % x.ndim for a in axes}
    kept = tuple(1 if i in gone else size for i, size in enumerate(x.shape))
    return kept, kept if keepdims else tuple(size for i, size in enumerate(x.shape) if i not in gone)


def _spread(x: CountedArray, kept: tuple[int, ...]) -> Callable[[CountedArray], CountedArray]:
    return lambda g: arrays.repeated(arrays.reshaped(g, kept), x.shape)
