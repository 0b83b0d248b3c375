"""TensorFlow's operators that only some ideas need: low-bit products, scans and branches.

It has no grouped product, no associative scan and no packed weights. Imports nothing: `_tf` is TensorflowOps' own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from backends.ops import Array, HostArray, Matrix, Ops, Unsupported


class TensorflowIdeaOps(Ops):
    """The optional operations that TensorFlow has."""

    framework = "TensorFlow"
    _tf: Any
    _raw: Any
    _xla: bool

    def round(self, x: Array) -> Array:
        return self._raw.Rint(x=x)

    def argsort(self, x: Array) -> Array:
        return self._tf.argsort(x, axis=-1, stable=True)

    def take_along_axis(self, x: Array, indices: Array, axis: int) -> Array:
        axis %= x.shape.rank
        last = x.shape.rank - 1
        if axis == last:
            return self._tf.gather(x, indices, axis=axis, batch_dims=axis)
        order = [*(i for i in range(last + 1) if i != axis), axis]  # `batch_dims` are the leading ones
        moved = [self._tf.transpose(array, order) for array in (x, indices)]
        taken = self._tf.gather(*moved, axis=last, batch_dims=last)
        return self._tf.transpose(taken, [order.index(i) for i in range(last + 1)])

    def cumsum(self, x: Array, axis: int) -> Array:
        return self._tf.cumsum(x, axis)

    def nonzero(self, x: Array) -> Array:
        if self._xla:
            raise Unsupported("XLA compiles no tf.where of unknown length: shapes must be known when it compiles")
        return self._tf.squeeze(self._tf.where(x), 1)

    def partition(self, labels: Array, parts: int) -> Sequence[Array]:
        if self._xla:
            return super().partition(labels, parts)
        return list(self._tf.dynamic_partition(self._tf.range(self._tf.size(labels)), labels, parts))

    def scatter(self, x: Array, indices: Array, length: int) -> Array:
        return self._raw.ScatterNd(indices=indices[:, None], updates=x, shape=(length, *x.shape[1:]))

    def embedding_bag(self, table: Array, rows: Array, weights: Array | None = None) -> Array:
        if self._xla:
            raise Unsupported("No registered 'SparseSegmentSum' OpKernel for XLA_CPU_JIT devices")
        if weights is not None:
            raise Unsupported("SparseSegmentSum takes no weights; tf.nn.embedding_lookup_sparse scales copies of rows")
        bags, each = rows.shape
        segments = self._tf.repeat(self._tf.range(bags), each)
        return self._raw.SparseSegmentSum(data=table, indices=self._tf.reshape(rows, (-1,)), segment_ids=segments)

    def bitwise_right_shift(self, x: Array, bits: int) -> Array:
        return self._raw.RightShift(x=x, y=self._tf.constant(bits, x.dtype))

    def popcount(self, x: Array) -> Array:
        return self._tf.cast(self._raw.PopulationCount(x=x), "int32")

    def bitcast(self, x: Array, dtype: str) -> Array:
        return self._tf.bitcast(x, dtype)

    # -- low-bit products -------------------------------------------------------------------------------------------
    def matmul_int8(self, a: Array, b: Array) -> Array:
        return self._raw.BatchMatMulV3(x=a, y=b, Tout="int32")

    def scaled_matmul(self, a: Array, b: Array, scale_a: Array, scale_b: Array) -> Array:
        raise Unsupported(
            "TensorFlow's MatMul: Value for attr 'T' of float8_e4m3fn is not in the list of allowed values"
        )

    def quantized_weights(self, q: HostArray, scales: HostArray, kind: str, rows: int) -> Matrix:
        raise Unsupported(f"TensorFlow has no packed product of kind {kind}: it converts weights in the step")

    def widened_matmul(self, a: Array, b: Array) -> Array:
        if not self._xla:
            raise Unsupported("TensorFlow's BatchMatMulV3 of bfloat16 into float32 is XLA's alone on a CPU")
        return self._raw.BatchMatMulV3(x=a, y=b, Tout="float32")

    def packed_weights(self, w: HostArray, rows: int) -> Matrix:
        raise Unsupported(
            "TensorFlow packs no float weights ahead: oneDNN lays them out in each call, XLA when it compiles"
        )

    # -- many small products ----------------------------------------------------------------------------------------
    def grouped_matmul(self, x: Array, w: Array, sizes: Array) -> Array:
        raise Unsupported("TensorFlow has no grouped product: one product a group, or padded groups in a batched one")

    def causal_attention(self, q: Array, k: Array, v: Array) -> Array:
        raise Unsupported("TensorFlow's core has no attention: Keras writes it as two products and a softmax")

    # -- steps in time, and branches --------------------------------------------------------------------------------
    def scan(
        self, fn: Callable[[Any, Any], tuple[Any, Any]], carry: tuple[Array, ...], xs: tuple[Array, ...]
    ) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        tf, length = self._tf, int(xs[0].shape[0])
        _, shapes = fn(carry, tuple(x[0] for x in xs))  # once for what the steps give
        made = tuple(tf.TensorArray(y.dtype, size=length, element_shape=y.shape) for y in shapes)

        def step(i: Array, carry: tuple[Array, ...], ys: tuple[Any, ...]) -> tuple[Any, ...]:
            carry, found = fn(carry, tuple(x[i] for x in xs))
            return i + 1, carry, tuple(y.write(i, value) for y, value in zip(ys, found, strict=True))

        _, carry, ys = tf.while_loop(
            lambda i, *_: i < length, step, (tf.constant(0), carry, made), maximum_iterations=length
        )
        return carry, tuple(y.stack() for y in ys)

    def associative_scan(
        self, fn: Callable[[Any, Any], Any], xs: tuple[Array, ...], axis: int = 0
    ) -> tuple[Array, ...]:
        raise Unsupported("TensorFlow has no associative scan: TensorFlow Probability has one, its core has none")

    def cond(self, predicate: Array, true: Callable[..., Any], false: Callable[..., Any], *operands: Array) -> Any:
        return self._tf.cond(predicate, lambda: true(*operands), lambda: false(*operands))

    def switch(self, index: Array, branches: Sequence[Callable[..., Any]], *operands: Array) -> Any:
        calls = [lambda branch=branch: branch(*operands) for branch in branches]
        return self._tf.switch_case(self._tf.cast(index, "int32"), calls)
