"""Counting rules of what only some ideas ask for: low-bit and grouped products, bits, steps in time, branches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil, log2, prod
from typing import Any, NamedTuple

import numpy as np

from backends.compiled import Array, Matrix
from backends.counting import arrays, sparse
from backends.counting.arrays import CountedArray, NotCounted, Trace, elementwise
from backends.counting.totals import Buffer, Operation, Rows
from backends.csr import HostArray
from backends.ops import Ops


class CountedWeights(NamedTuple):
    """Packed weights (M×K): their values, half a byte each where they are of 4 bits, and their scales."""

    kind: str
    rows: int
    values: CountedArray
    scales: CountedArray


class IdeaCountingOps(Ops):
    """The rules of these operators; `trace` is where they note what is called."""

    trace: Trace

    # -- array API standard, optional, and bits ---------------------------------------------------------------------
    def round(self, x: Array) -> Array:
        return elementwise("round", (x,), (None,))

    def multiply_add(self, x: Array, y: Array, z: Array) -> Array:
        """One operation of two FLOP a value."""
        passed = (lambda g: g * y, lambda g: g * x, lambda g: g)
        return elementwise("multiply_add", (x, y, z), passed, flop=2)

    def argsort(self, x: Array) -> Array:
        flop = x.size * ceil(log2(max(2, x.shape[-1])))
        return self.trace.make("argsort", "sort", x.shape, np.int32, (x,), (None,), other_flop=flop)

    def take_along_axis(self, x: Array, indices: Array, axis: int) -> Array:
        """Each value is a row of its own."""
        size = indices.size * x.dtype.itemsize
        rows = Rows(indices.size, size)
        passed = (lambda g: sparse.scattered(g, indices, x.shape, rows), None)
        reads = (size, indices.view_bytes)
        inputs = (x, indices)
        return self.trace.make(
            "take_along_axis", "gather", indices.shape, x.dtype, inputs, passed, reads_bytes=reads, gathered=rows
        )

    def scatter(self, x: Array, indices: Array, length: int) -> Array:
        """Zeros are written, and a row for each index; the gradient takes the rows back."""
        rows = Rows(x.shape[0], x.size * x.dtype.itemsize)
        passed = (lambda g: sparse.taken(g, indices, 0), None)
        return self.trace.make(
            "scatter", "scatter", (length, *x.shape[1:]), x.dtype, (x, indices), passed, scattered=rows
        )

    def embedding_bag(self, table: Array, rows: Array, weights: Array | None = None) -> Array:
        """The rows are read, weighted and added up; none is written."""
        (bags, each), width = rows.shape, table.shape[1]
        other = (rows,) if weights is None else (rows, weights)
        size = bags * each * width * table.dtype.itemsize
        gathered = Rows(bags * each, size)
        return self.trace.make(
            "embedding_bag",
            "gather",
            (bags, width),
            table.dtype,
            (table, *other),
            reads_bytes=(size, *(x.view_bytes for x in other)),
            gathered=gathered,
            other_flop=bags * (each * len(other) - 1) * width,
        )

    def cumsum(self, x: Array, axis: int) -> Array:
        passed = (lambda g: self.cumsum(g, axis),)  # from the other end: as much work
        return self.trace.make("cumsum", "reduction", x.shape, x.dtype, (x,), passed, other_flop=x.size)

    def nonzero(self, x: Array) -> Array:
        raise NotCounted("the formulation asks where values are not zero: its work depends on more than shapes")

    def partition(self, labels: Array, parts: int) -> Sequence[Array]:
        raise NotCounted("the formulation asks where labels are: its work depends on more than shapes")

    def bitwise_right_shift(self, x: Array, bits: int) -> Array:
        return elementwise("bitwise_right_shift", (x,), (None,))

    def popcount(self, x: Array) -> Array:
        return elementwise("popcount", (x,), (None,), dtype=np.int32)

    def bitcast(self, x: Array, dtype: str) -> Array:
        return CountedArray(
            self.trace, x.shape, np.dtype(dtype), x.buffer, view_bytes=x.view_bytes, contiguous=x.contiguous
        )

    # -- low-bit products -------------------------------------------------------------------------------------------
    def matmul_int8(self, a: Array, b: Array) -> Array:
        return self._product("matmul_int8", a, b, np.int32, (a, b))

    def scaled_matmul(self, a: Array, b: Array, scale_a: Array, scale_b: Array) -> Array:
        """The product, and two multiplications of each value of it."""
        out = (a.shape[0], b.shape[1])
        return self._product("scaled_matmul", a, b, np.float32, (a, b, scale_a, scale_b), 2 * prod(out))

    def _product(
        self, name: str, a: CountedArray, b: CountedArray, dtype: Any, inputs: Sequence[CountedArray], other: int = 0
    ) -> CountedArray:
        (m, k), (rows, n) = a.shape, b.shape
        if k != rows:
            raise NotCounted(f"{name} of {a.shape} and {b.shape}, whose inner sides differ")
        return self.trace.make(name, "product", (m, n), dtype, inputs, matmul_flop=2 * m * k * n, other_flop=other)

    def quantized_weights(self, q: HostArray, scales: HostArray, kind: str, rows: int) -> Matrix:
        bytes_ = q.size // 2 if kind == "weight_only_int4" else q.size
        values = CountedArray(self.trace, q.shape, np.dtype(np.int8), Buffer(bytes_), view_bytes=bytes_)
        return CountedWeights(kind, q.shape[0], values, self.trace.leaf(scales.shape, scales.dtype))

    def quantized_matmul(self, x: Array, weights: CountedWeights) -> Array:
        """2·N·M·K; where weights alone are of few bits, each is scaled once in a call."""
        (n, k), m = x.shape, weights.rows
        scaled = weights.kind != "int8"
        inputs = (x, weights.values, *([weights.scales] if scaled else []))
        return self.trace.make(
            "quantized_matmul",
            "product",
            (n, m),
            np.float32,
            inputs,
            matmul_flop=2 * n * m * k,
            other_flop=m * k * scaled,
        )

    def widened_matmul(self, a: Array, b: Array) -> Array:
        return self._product("widened_matmul", a, b, np.float32, (a, b))

    def packed_weights(self, w: HostArray, rows: int) -> Matrix:
        return self.trace.leaf(w.shape, w.dtype)

    def packed_matmul(self, x: Array, weights: Matrix, relu: bool = False) -> Array:
        """As many bytes as if they lay as they are; a relu compares each value."""
        other = relu * x.shape[0] * weights.shape[1]
        return self._product("packed_matmul", x, weights, x.dtype, (x, weights), other)

    # -- many small products ----------------------------------------------------------------------------------------
    def grouped_matmul(self, x: Array, w: Array, sizes: Array) -> Array:
        """2·T·K·N: every row meets one matrix; all of them are read."""
        (t, k), (_, _, n) = x.shape, w.shape
        flop = 2 * t * k * n

        def of_weights(g: CountedArray) -> CountedArray:
            made = self.trace.make("grouped_matmul", "product", w.shape, w.dtype, (x, g, sizes), matmul_flop=flop)
            return made

        passed = (lambda g: self.grouped_matmul(g, arrays.transposed(w), sizes), of_weights, None)
        return self.trace.make("grouped_matmul", "product", (t, n), x.dtype, (x, w, sizes), passed, matmul_flop=flop)

    def causal_attention(self, q: Array, k: Array, v: Array) -> Array:
        """Two products of the pairs that there are, and four operations of each score, which need not be written.

        It is scaled, the greatest is taken off, then its exponential, and its share.
        """
        batch, heads, steps, width = q.shape
        pairs = batch * heads * steps * (steps + 1) // 2
        return self.trace.make(
            "causal_attention",
            "product",
            q.shape,
            q.dtype,
            (q, k, v),
            matmul_flop=4 * pairs * width,
            other_flop=4 * pairs,
        )

    # -- steps in time, and branches --------------------------------------------------------------------------------
    def scan(
        self, fn: Callable[[Any, Any], tuple[Any, Any]], carry: tuple[Array, ...], xs: tuple[Array, ...]
    ) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        """Every step as it is called; no chain goes on from one step into the next."""
        ys = []
        for step in range(xs[0].shape[0]):
            carry, y = fn(carry, tuple(x[step, ...] for x in xs))
            ys.append(y)
            for kept in carry:
                if isinstance(kept.buffer, Operation):
                    kept.buffer.kept = True
        return carry, tuple(self.stack(several, 0) for several in zip(*ys, strict=True))

    def associative_scan(
        self, fn: Callable[[Any, Any], Any], xs: tuple[Array, ...], axis: int = 0
    ) -> tuple[Array, ...]:
        """Pairs combined, the scan of half as many, and the others from it: about 2n combinations in 2·log₂ n steps."""
        before, n = (slice(None),) * axis, xs[0].shape[axis]

        def cut(several: Sequence[CountedArray], *at: int | None) -> tuple[CountedArray, ...]:
            return tuple(x[(*before, slice(*at))] for x in several)

        if n < 2:
            return tuple(xs)
        odd = self.associative_scan(fn, tuple(fn(cut(xs, 0, n - 1, 2), cut(xs, 1, None, 2))), axis)
        if n == 2:
            even = cut(xs, 0, 1)
        else:
            earlier = odd if n % 2 else cut(odd, 0, n // 2 - 1)
            even = tuple(fn(earlier, cut(xs, 2, None, 2)))
            even = tuple(self.concat([first, rest], axis) for first, rest in zip(cut(xs, 0, 1), even, strict=True))
        # laid out by turns: it moves what placing the two side by side does
        return tuple(self.concat([a, b], axis) for a, b in zip(even, odd, strict=True))

    def cond(self, predicate: Array, true: Callable[..., Any], false: Callable[..., Any], *operands: Array) -> Any:
        return self.switch(predicate, (true, false), *operands)

    def switch(self, index: Array, branches: Sequence[Callable[..., Any]], *operands: Array) -> Any:
        """The work of one branch, where all of them are the same work; else values tell how much there is."""
        start = len(self.trace.operations)
        tried: list[tuple[Any, list[Operation]]] = []
        for branch in branches:
            out = branch(*operands)
            tried.append((out, self.trace.operations[start:]))
            del self.trace.operations[start:]
        works = [
            [(o.name, o.bytes, o.matmul_flop, o.other_flop, o.gathered, o.scattered) for o in operations]
            for _, operations in tried
        ]
        if any(work != works[0] for work in works):
            raise NotCounted("the formulation takes a branch by a value, and its branches are not the same work")
        found, operations = tried[0]
        self.trace.operations += operations
        return found
