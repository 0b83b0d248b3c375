"""What the ideas ask for beyond the array API standard: low-bit and grouped products, steps in time, branches.

Every one is optional: where a framework has it not, the default says so, and a workload has other formulations.
Imports nothing of ours but the types it speaks of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from backends.compiled import Array, Matrix
from backends.core import CoreOps
from backends.csr import HostArray

QUANTIZED_KINDS = ("int8", "weight_only_int8", "weight_only_int4")


class IdeaOps(CoreOps):
    """The optional operations of `Ops` that only some ideas need; see `Ops`."""

    # -- array API standard, optional -------------------------------------------------------------------------------
    def round(self, x: Array) -> Array:
        """The nearest whole number, the even one of two; the dtype is kept."""
        raise self._unsupported("round")

    def argsort(self, x: Array) -> Array:
        """Positions that put the last axis in ascending order, equal values in the order in which they stand."""
        raise self._unsupported("argsort")

    def take_along_axis(self, x: Array, indices: Array, axis: int) -> Array:
        """x[…, indices[…, i, …], …] along `axis`: as many dimensions in `indices` as in x, no broadcasting."""
        raise self._unsupported("take_along_axis")

    def cumsum(self, x: Array, axis: int) -> Array:
        """Running sums along `axis`, the element itself included, in the dtype of x."""
        raise self._unsupported("cumsum")

    def nonzero(self, x: Array) -> Array:
        """Where a vector of truth values is true, ascending; its length is known when it is computed, not before."""
        raise self._unsupported("nonzero, whose result has a length that only its values tell,")

    def partition(self, labels: Array, parts: int) -> Sequence[Array]:
        """Positions of each label of 0 … parts − 1 in the vector `labels`, ascending: `parts` vectors.

        One operator where there is one, else a search for each label. Lengths are known when they are computed.
        """
        return [self.nonzero(labels == label) for label in range(parts)]

    def scatter(self, x: Array, indices: Array, length: int) -> Array:
        """Zeros (length, …) with row i of x (n, …) at `indices[i]`: what `take` at the same `indices` gives back as x.

        `indices` (n,) are integers from 0 to below `length`, none twice; what others give is not defined.
        """
        raise self._unsupported("scatter")

    def bitwise_right_shift(self, x: Array, bits: int) -> Array:
        """Integers shifted right by `bits`; of signed ones the sign stays. (`&`, `|`, `^` are used as they are.)"""
        return x >> bits

    def multiply_add(self, x: Array, y: Array, z: Array) -> Array:
        """x·y + z, value by value, as one operation where there is one."""
        return x * y + z

    def embedding_bag(self, table: Array, rows: Array, weights: Array | None = None) -> Array:
        """Sums of rows of `table` (R×N) at positions `rows` (B×C), int32 → (B×N), by a kernel that forms no B×C×N.

        Each row times its own of `weights` (B×C), where they are given.
        """
        raise self._unsupported("embedding bag")

    # -- bits -------------------------------------------------------------------------------------------------------
    def popcount(self, x: Array) -> Array:
        """How many bits are set in each uint8 or int32 (`jax.lax.population_count`), as int32."""
        raise self._unsupported("popcount")

    def bitcast(self, x: Array, dtype: str) -> Array:
        """The same bits read as another dtype of the same size, such as float32 as int32."""
        raise self._unsupported("bitcast")

    # -- low-bit products -------------------------------------------------------------------------------------------
    def matmul_int8(self, a: Array, b: Array) -> Array:
        """int8 a (M×K) · int8 b (K×N) with exact int32 sums → int32 (M×N).

        b may be a transposed view: which layout is the faster differs.
        """
        raise self._unsupported("int8 product with int32 sums")

    def scaled_matmul(self, a: Array, b: Array, scale_a: Array, scale_b: Array) -> Array:
        """float8_e4m3fn a (M×K) · b (K×N), times `scale_a` (M×1) and `scale_b` (1×N), both float32 → float32 (M×N)."""
        raise self._unsupported("product of scaled float8 operands")

    def quantized_weights(self, q: HostArray, scales: HostArray, kind: str, rows: int) -> Matrix:
        """Weights q (M×K), whole numbers of int8, packed ahead for `quantized_matmul`: one of QUANTIZED_KINDS.

        `scales` (M×G) are of the groups of K/G values in each row. `rows` is how many rows x will have. Unsupported
        where the framework has no packed product of this kind: it converts the weights in the step.
        """
        raise self._unsupported(f"packed product of kind {kind}")

    def quantized_matmul(self, x: Array, weights: Matrix) -> Array:
        """x (N×K) · (weights · scales)ᵀ → (N×M), by the framework's own product of packed weights.

        Of kind `int8` x is int8, `scales` are left out and the sums come as whole numbers in float32, exact below 2²⁴.
        """
        raise self._unsupported("product of packed weights")

    def widened_matmul(self, a: Array, b: Array) -> Array:
        """bfloat16 a (M×K) · b (K×N) → float32 (M×N): the sums as they are, not rounded to bfloat16."""
        raise self._unsupported("bfloat16 product with float32 sums")

    # -- weights laid out ahead --------------------------------------------------------------------------------------
    def packed_weights(self, w: HostArray, rows: int) -> Matrix:
        """Float weights (K×N) laid out for `packed_matmul` with x of about `rows` rows, and for nothing else.

        Unsupported where the framework has no such layout: it lays them out when it compiles, or in each call.
        """
        raise self._unsupported("float weights that are packed ahead")

    def packed_matmul(self, x: Array, weights: Matrix, relu: bool = False) -> Array:
        """x (M×K) · `packed_weights` (K×N) → (M×N), or the relu of that, taken within the product."""
        raise self._unsupported("product of packed float weights")

    # -- many small products ----------------------------------------------------------------------------------------
    def grouped_matmul(self, x: Array, w: Array, sizes: Array) -> Array:
        """Rows of x (T×K) in E runs of `sizes` (E,) int32, run e times w[e] of (E×K×N) → (T×N); sizes sum to T."""
        raise self._unsupported("grouped product")

    def causal_attention(self, q: Array, k: Array, v: Array) -> Array:
        """softmax(q·kᵀ/√W)·v of (batch, heads, steps, W), each step over the steps up to it: the framework's own."""
        raise self._unsupported("attention")

    # -- steps in time, and branches --------------------------------------------------------------------------------
    def scan(
        self, fn: Callable[[Any, Any], tuple[Any, Any]], carry: tuple[Array, ...], xs: tuple[Array, ...]
    ) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        """(carry, ys) after fn(carry, x) → (carry, y) for each slice along the first axis of `xs`, one after another.

        `carry`, `x` and `y` are tuples; shapes and dtypes of the carry stay. ys are stacked along a new first axis.
        """
        raise self._unsupported("scan")

    def associative_scan(
        self, fn: Callable[[Any, Any], Any], xs: tuple[Array, ...], axis: int = 0
    ) -> tuple[Array, ...]:
        """Running combination along `axis` by an associative fn(left, right) of tuples of slices, in any bracketing."""
        raise self._unsupported("associative scan")

    def cond(self, predicate: Array, true: Callable[..., Any], false: Callable[..., Any], *operands: Array) -> Any:
        """true(*operands) where the single truth value `predicate` holds, else false(*operands); one of them is run.

        Both return tuples of arrays of the same shapes and dtypes.
        """
        raise self._unsupported("branch that is chosen in the call")

    def switch(self, index: Array, branches: Sequence[Callable[..., Any]], *operands: Array) -> Any:
        """branches[index](*operands), by `cond` in halves where there is nothing of its own; 0 ≤ index < len."""
        if len(branches) == 1:
            return branches[0](*operands)
        half = len(branches) // 2
        low, high = branches[:half], branches[half:]
        return self.cond(
            index < half,
            lambda *xs: self.switch(xs[0], low, *xs[1:]),
            lambda *xs: self.switch(xs[0] - half, high, *xs[1:]),
            index,
            *operands,
        )
