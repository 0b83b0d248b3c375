"""TensorFlow's operators: eager, `tf.function` (graph) and XLA (compiled), on cpu, cuda and tpu.

Methods are the raw operations (`tf.raw_ops`, public) where the wrapper above them costs more than the work of a small
case, half to two thirds of a call. What differs from the other frameworks:

- Arrays are tf.Tensor and immutable. `tf.constant` copies host memory, it never aliases it.
- On the CPU, TensorFlow is told to compute before it returns, which is its default there.
- oneDNN is switched on: TensorFlow leaves it off on some CPUs, where convolutions then take 1.3 to 2.5 times as long.
  XLA's YNNPACK fusions are none by default in TensorFlow's build, and nothing is set for them.
- `compiled` is compiled and run inside `compile`: XLA refuses only when it first sees the call, see `compile`.
- int32 tensors are kept on the host by a GPU build unless they are copied by hand, as `asarray` does. A `tf.function`
  moves its int32 arguments back to the host; that is TensorFlow's own cost and is measured as such.

Keras is not imported: TensorFlow's `__init__` loads it for its registrations, 1500 modules and a second, unless told
to look for the legacy package, which is not there. The lines for GPU and TPU have not been run on one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from backends import tensorflow_compile, tensorflow_device, tensorflow_gradients
from backends.dtypes import tf32
from backends.ops import (
    CSR,
    FLUSH_BYTES,
    Array,
    Compiled,
    Device,
    Execution,
    HostArray,
    Layout,
    Matrix,
    Scalar,
    Unsupported,
)
from backends.tensorflow_calls import refusal
from backends.tensorflow_idea_ops import TensorflowIdeaOps
from backends.tensorflow_padding import explicit, padding_name, spatial
from backends.tensorflow_sparse import Sparse


class TensorflowOps(TensorflowIdeaOps):
    """Arrays are tf.Tensor; sparse operands are the named tuples of `tensorflow_sparse`."""

    def __init__(self, device: Device) -> None:
        import tensorflow as tf  # here, so that listing the backends imports no framework

        self.device = device
        self._tf = tf
        self._raw = tf.raw_ops
        self._synchronous = device.kind == "cpu"
        if self._synchronous:
            tf.config.experimental.set_synchronous_execution(True)
        self._xla = False  # true while `compile` traces for XLA
        self._constants: dict[tuple[str, tuple[int, ...]], Array] = {}
        self._name = tensorflow_device.select(tf, device)
        tf.config.experimental.enable_tensor_float_32_execution(tf32())
        self._sparse = Sparse(tf, self._ints)
        self.sparse_matmul = self._sparse.matmul  # type: ignore[method-assign]  # without a frame of ours
        self._flush: Array | None = None  # what is read to empty the caches of a GPU

    def _ints(self, values: tuple[int, ...], dtype: str = "int32") -> Array:
        """A small integer tensor; eagerly made once, since from a Python tuple each call would cost 30 µs.

        A graph gets a constant of its own: an eager tensor would become an input of it, and nothing that depends on
        it (a transposition's order) could be folded.
        """
        if not self._tf.executing_eagerly():
            return self._tf.constant(values, dtype)
        found = self._constants.get((dtype, values))
        if found is None:
            found = self._constants[dtype, values] = self._tf.constant(values, dtype)
        return found

    # -- transfer ---------------------------------------------------------------------------------------------------
    def asarray(self, x: HostArray) -> Array:
        host = np.ascontiguousarray(x).reshape(x.shape)
        tensor = self._tf.constant(host)
        if host.dtype.kind == "V" and host.dtype.itemsize == 1:  # float8: DeepCopy says "Unsupported data type"
            return tensor
        if self.device.kind == "cpu" and host.nbytes and self._tf.executing_eagerly():
            # Some host arrays become tensors outside TensorFlow's allocator, by where they happen to lie: half of those
            # of 4 MiB in a row were seen to. What an operation returns is always the allocator's own.
            tensor = self._raw.DeepCopy(x=tensor)
        return tensor.gpu() if self.device.kind == "cuda" and tensor.dtype == self._tf.int32 else tensor

    def filters(self, w: HostArray) -> Array:
        return self.asarray(w)

    def to_numpy(self, x: Array) -> HostArray:
        host: HostArray = x.numpy()
        return host

    def wait(self, outputs: Sequence[Array | Matrix]) -> None:
        if not self._synchronous:  # else TensorFlow was told to compute before it returns
            tensorflow_device.wait(self._tf, outputs, self.device.kind, self._name)

    # -- array API standard -----------------------------------------------------------------------------------------
    def astype(self, x: Array, dtype: str) -> Array:
        return self._tf.cast(x, dtype)

    def reshape(self, x: Array, shape: tuple[int, ...]) -> Array:
        return self._raw.Reshape(tensor=x, shape=self._ints(tuple(shape)))

    def permute_dims(self, x: Array, axes: tuple[int, ...]) -> Array:
        return self._raw.Transpose(x=x, perm=self._ints(tuple(axes)))

    def expand_dims(self, x: Array, axis: int) -> Array:
        return self._raw.ExpandDims(input=x, axis=self._ints((axis,)))

    def concat(self, xs: Sequence[Array], axis: int) -> Array:
        return self._tf.concat(xs, axis)

    def stack(self, xs: Sequence[Array], axis: int) -> Array:
        return self._raw.Pack(values=list(xs), axis=axis)

    def zeros(self, shape: tuple[int, ...], dtype: str) -> Array:
        return self._tf.zeros(shape, dtype)

    def sum(self, x: Array, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Array:
        return self._raw.Sum(input=x, axis=self._axes(x, axis), keep_dims=keepdims)

    def max(self, x: Array, axis: int | tuple[int, ...], keepdims: bool = False) -> Array:
        return self._raw.Max(input=x, axis=self._axes(x, axis), keep_dims=keepdims)

    def _axes(self, x: Array, axis: int | tuple[int, ...] | None) -> Array:
        if axis is None:
            return self._ints(tuple(range(x.shape.rank)))
        return self._ints((axis,) if isinstance(axis, int) else tuple(axis))

    def exp(self, x: Array) -> Array:
        return self._raw.Exp(x=x)

    def log(self, x: Array) -> Array:
        return self._raw.Log(x=x)

    def sqrt(self, x: Array) -> Array:
        return self._raw.Sqrt(x=x)

    def where(self, condition: Array, x: Array, y: Array | float) -> Array:
        return self._raw.SelectV2(condition=condition, t=x, e=y)

    def maximum(self, x: Array, y: Array | float) -> Array:
        return self._raw.Maximum(x=x, y=y)

    def take(self, x: Array, indices: Array, axis: int = 0) -> Array:
        return self._raw.GatherV2(params=x, indices=indices, axis=axis)

    def matmul(self, a: Array, b: Array) -> Array:
        if a.shape.rank == 2 and b.shape.rank == 2:
            return self._raw.MatMul(a=a, b=b)
        if a.shape.rank == 2 and b.shape.rank == 1:
            return self._raw.Squeeze(input=self._raw.MatMul(a=a, b=self._tf.expand_dims(b, 1)), axis=[1])
        return self._tf.matmul(a, b)

    def sort(self, x: Array, axis: int = -1, descending: bool = False) -> Array:
        return self._tf.sort(x, axis, "DESCENDING" if descending else "ASCENDING")

    def argmax(self, x: Array, axis: int) -> Array:
        return self._raw.ArgMax(input=x, dimension=axis)

    def topk(self, x: Array, k: int) -> tuple[Array, Array]:
        values, positions = self._raw.TopKV2(input=x, k=k)
        return values, positions

    def kth_greatest(self, x: Array, k: int) -> Array:
        """XLA has no NthElement."""
        return super().kth_greatest(x, k) if self._xla else self._raw.NthElement(input=x, n=k - 1, reverse=True)

    def einsum(self, equation: str, *xs: Array) -> Array:
        if len(xs) <= 2 and "->" in equation:  # more operands: tf.einsum looks for a good order
            return self._raw.Einsum(inputs=xs, equation=equation.replace(" ", ""))
        return self._tf.einsum(equation, *xs)

    # -- neural networks --------------------------------------------------------------------------------------------
    def relu(self, x: Array) -> Array:
        return self._raw.Relu(features=x)

    def relu_grad(self, gradient: Array, y: Array) -> Array:
        return self._raw.ReluGrad(gradients=gradient, features=y)

    def softplus(self, x: Array) -> Array:
        return self._raw.Softplus(features=x)

    def softmax(self, x: Array, axis: int) -> Array:
        if axis in (-1, x.shape.rank - 1):
            return self._raw.Softmax(logits=x)
        # Along another axis TensorFlow's own moves it to the end and back: of routing's forward pass, a fifth.
        exponentials = self._raw.Exp(x=x - self._raw.StopGradient(input=self.max(x, axis, True)))
        return exponentials / self.sum(exponentials, axis, True)

    def log_softmax(self, x: Array, axis: int) -> Array:
        return self._tf.nn.log_softmax(x, axis)

    def conv2d(self, x: Array, w: Array, *, stride: int, padding: int, layout: Layout) -> Array:
        name = padding_name(x, w, stride, padding, layout)
        return self._raw.Conv2D(
            input=x,
            filter=w,
            strides=spatial(stride, layout),
            padding=name,
            explicit_paddings=explicit(padding, layout) if name == "EXPLICIT" else [],
            data_format=layout.upper(),
        )

    def max_pool2d(self, x: Array, size: int, *, layout: Layout) -> Array:
        if self._xla and self.device.kind == "cpu":
            return self._maximum_of_slices(x, size, layout)
        window = spatial(size, layout)
        return self._raw.MaxPool(input=x, ksize=window, strides=window, padding="VALID", data_format=layout.upper())

    def _maximum_of_slices(self, x: Array, size: int, layout: Layout) -> Array:
        """XLA's gradient of MaxPool is a select-and-scatter: a step of VGG8b takes 1.2 times as long with it."""
        out = None
        for row in range(size):
            for column in range(size):
                rows, columns = slice(row, None, size), slice(column, None, size)
                tap = x[:, rows, columns] if layout == "nhwc" else x[:, :, rows, columns]
                out = tap if out is None else self._raw.Maximum(x=out, y=tap)
        return out

    def avg_pool2d(self, x: Array, size: int, *, layout: Layout) -> Array:
        window = spatial(size, layout)
        return self._raw.AvgPool(value=x, ksize=window, strides=window, padding="VALID", data_format=layout.upper())

    # -- sparse -----------------------------------------------------------------------------------------------------
    def sparse(self, csr: CSR, format: str, block: int = 1) -> Matrix:
        try:
            return self._sparse.make(csr, format, self.asarray)
        except Exception as error:
            raise refusal(self._tf, error) or error from error

    def sparse_matmul(self, a: Matrix, b: Array) -> Array:
        return self._sparse.matmul(a, b)

    def sparse_matmul_transposed(self, a: Matrix, b: Array) -> Array:
        return self._sparse.matmul(a, b, True)

    def sparse_values(self, a: Matrix) -> Array:
        return a.values

    def sparse_with_values(self, a: Matrix, values: Array) -> Matrix:
        return self._sparse.with_values(a, values)

    def sampled_matmul(self, a: Matrix, x: Array, y: Array) -> Array:
        raise Unsupported("TensorFlow has no sampled dense-dense product; it gathers both operands' rows instead")

    def segment_sum(self, x: Array, segment_ids: Array, num_segments: int) -> Array:
        return self._sparse.segment_sum(x, segment_ids, num_segments, self._xla)

    # -- gradients --------------------------------------------------------------------------------------------------
    def value_and_grad(
        self, fn: Callable[..., Any], argnums: Sequence[int], has_aux: bool = False
    ) -> Callable[..., tuple[Any, tuple[Array, ...]]]:
        return tensorflow_gradients.value_and_grad(self._tf, fn, argnums, has_aux)

    def stop_gradient(self, x: Array) -> Array:
        return self._raw.StopGradient(input=x)

    # -- running ----------------------------------------------------------------------------------------------------
    def compile(
        self,
        fn: Callable[..., tuple[Array, ...]],
        execution: Execution,
        args: Sequence[Array | Matrix],
        keep: str | None = None,
    ) -> Compiled:
        """Trace a ConcreteFunction for `args`; it can never retrace, a call with other shapes is the caller's error.

        XLA compiles, and refuses, at the first call: `compiled` is called here twice, and `compile_s` is the first
        call less the second, so that it means what an ahead-of-time compilation's does and the worker's first call
        only runs. Grappler (graph) has no such step: it works inside the worker's first call, `compile_s` is None.
        """
        if execution == "eager":
            return tensorflow_compile.eager(self._tf, fn, self.device.kind)
        xla = execution == "compiled"
        with self._tracing(xla):
            traced = tensorflow_compile.Traced.of(self._tf, fn, args, xla)
        return traced.compiled(fn, args, self.device.kind, self.wait)

    @contextlib.contextmanager
    def _tracing(self, xla: bool) -> Iterator[None]:
        """While it lasts, what XLA takes another way is traced as XLA takes it; refusals become Unsupported."""
        self._xla = xla
        try:
            yield
        except Exception as error:
            raise refusal(self._tf, error) or error from error
        finally:
            self._xla = False

    def settings(self) -> dict[str, Scalar]:
        return tensorflow_device.settings(self._tf)

    def flush_cache(self) -> bool:
        if self.device.kind != "cuda":
            return False
        if self._flush is None:
            self._flush = self._tf.zeros((FLUSH_BYTES // 4,), "float32")
        self.wait([self._raw.Sum(input=self._flush, axis=self._ints((0,)))])
        return True

    def reset_peak_bytes(self) -> None:
        with contextlib.suppress(ValueError):  # on the host only oneDNN's allocator keeps statistics
            self._tf.config.experimental.reset_memory_stats(self._name)

    def device_peak_bytes(self) -> int | None:
        try:
            peak = int(self._tf.config.experimental.get_memory_info(self._name)["peak"])
        except ValueError:
            return None
        flush = 0 if self._flush is None else FLUSH_BYTES
        return peak - flush
