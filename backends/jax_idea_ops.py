"""JAX's operators that only some ideas need: low-bit and grouped products, scans and branches.

Imports JAX: only an opened backend imports this file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from backends.ops import Array, HostArray, Matrix, Ops, Unsupported

_PRODUCT = (((1,), (0,)), ((), ()))


class JaxIdeaOps(Ops):
    """The optional operations that JAX has."""

    framework = "JAX"

    def round(self, x: Array) -> Array:
        return lax.round(x, lax.RoundingMethod.TO_NEAREST_EVEN)

    def argsort(self, x: Array) -> Array:
        return jnp.argsort(x, axis=-1, stable=True)

    def take_along_axis(self, x: Array, indices: Array, axis: int) -> Array:
        return jnp.take_along_axis(x, indices, axis, mode="clip")

    def cumsum(self, x: Array, axis: int) -> Array:
        return jnp.cumsum(x, axis, dtype=x.dtype)

    def nonzero(self, x: Array) -> Array:
        if isinstance(x, jax.core.Tracer):
            raise Unsupported("jax.numpy.nonzero: the size argument must be statically specified to use it in jax.jit")
        return jnp.nonzero(x)[0]

    def scatter(self, x: Array, indices: Array, length: int) -> Array:
        empty = jnp.zeros((length, *x.shape[1:]), x.dtype)
        return empty.at[indices].set(x, mode="promise_in_bounds", unique_indices=True)

    def embedding_bag(self, table: Array, rows: Array, weights: Array | None = None) -> Array:
        raise Unsupported("JAX has no embedding bag: rows are taken, then summed, which XLA may make one loop of")

    def bitwise_right_shift(self, x: Array, bits: int) -> Array:
        return jnp.right_shift(x, jnp.asarray(bits, x.dtype))

    def popcount(self, x: Array) -> Array:
        return lax.convert_element_type(lax.population_count(x), "int32")

    def bitcast(self, x: Array, dtype: str) -> Array:
        return lax.bitcast_convert_type(x, dtype)

    # -- low-bit products -------------------------------------------------------------------------------------------
    def matmul_int8(self, a: Array, b: Array) -> Array:
        return lax.dot_general(a, b, _PRODUCT, preferred_element_type="int32")

    def scaled_matmul(self, a: Array, b: Array, scale_a: Array, scale_b: Array) -> Array:
        return lax.dot_general(a, b, _PRODUCT, preferred_element_type="float32") * scale_a * scale_b

    def quantized_weights(self, q: HostArray, scales: HostArray, kind: str, rows: int) -> Matrix:
        raise Unsupported(f"JAX has no packed product of kind {kind}: XLA lays weights out when it compiles")

    def widened_matmul(self, a: Array, b: Array) -> Array:
        return lax.dot_general(a, b, _PRODUCT, preferred_element_type="float32")

    def packed_weights(self, w: HostArray, rows: int) -> Matrix:
        raise Unsupported("JAX packs no float weights ahead: XLA lays them out when it compiles, or in each call")

    # -- many small products ----------------------------------------------------------------------------------------
    def grouped_matmul(self, x: Array, w: Array, sizes: Array) -> Array:
        return lax.ragged_dot(x, w, sizes)

    def causal_attention(self, q: Array, k: Array, v: Array) -> Array:
        heads_third = (jnp.swapaxes(x, 1, 2) for x in (q, k, v))
        return jnp.swapaxes(jax.nn.dot_product_attention(*heads_third, is_causal=True), 1, 2)

    # -- steps in time, and branches --------------------------------------------------------------------------------
    def scan(
        self, fn: Callable[[Any, Any], tuple[Any, Any]], carry: tuple[Array, ...], xs: tuple[Array, ...]
    ) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        if not _traced(*carry, *xs):  # lax.scan would trace a function that is made anew in every call
            ys = []
            for step in range(xs[0].shape[0]):
                carry, y = fn(carry, tuple(x[step] for x in xs))
                ys.append(y)
            return carry, tuple(jnp.stack(several) for several in zip(*ys, strict=True))
        found: tuple[tuple[Array, ...], tuple[Array, ...]] = lax.scan(fn, carry, xs)
        return found

    def associative_scan(
        self, fn: Callable[[Any, Any], Any], xs: tuple[Array, ...], axis: int = 0
    ) -> tuple[Array, ...]:
        found: tuple[Array, ...] = lax.associative_scan(fn, xs, axis=axis)
        return found

    def cond(self, predicate: Array, true: Callable[..., Any], false: Callable[..., Any], *operands: Array) -> Any:
        if not _traced(predicate, *operands):
            return true(*operands) if bool(predicate) else false(*operands)
        return lax.cond(predicate, true, false, *operands)

    def switch(self, index: Array, branches: Sequence[Callable[..., Any]], *operands: Array) -> Any:
        if not _traced(index, *operands):
            return branches[int(index)](*operands)
        return lax.switch(index, branches, *operands)


def _traced(*arrays: Array) -> bool:
    return any(isinstance(array, jax.core.Tracer) for array in arrays)
