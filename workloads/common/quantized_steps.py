"""What a step of the quantised product is made of: operands of few bits, X on its grid, and sums scaled back.

The schemes are those of workloads/quantized_matmul.py; X is (n, k), W (m, k).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from backends.ops import Array, HostArray, Matrix, Ops
from workloads.base import Parameters
from workloads.common import quantized

INT8 = ("w8a8", "w8a8_static", "w1a1")  # both operands are int8
WHOLE = ("w8a8_static", "w1a1")  # and so is the result
GROUPED = ("w4", "w8", "w2")  # schemes that take groups
EXACT_BELOW = 2**24  # whole numbers in float32


def group_of(p: Parameters) -> int:
    """Values that share a scale; ValueError where they do not divide a row, or the scheme has no groups."""
    size: int = p.group_size or p.k
    if p.k % size:
        raise ValueError(f"axis group_size of quantized_matmul must divide k, found {size} for {p.k}")
    if size != p.k and p.scheme not in GROUPED:
        raise ValueError(
            f"axis group_size of quantized_matmul must be 0 for {p.scheme}, found {size}: {GROUPED[0]} has groups"
        )
    return size


def given(x: HostArray, scheme: str) -> HostArray:
    """X as int8, of the schemes that have it given so."""
    return quantized.signs(x) if scheme == "w1a1" else quantized.static(x)


# -- operands ----------------------------------------------------------------------------------------------------------
def _x(ops: Ops, p: Parameters, x: HostArray) -> Array:
    return ops.asarray(given(x, p.scheme) if p.scheme in WHOLE else x)


def prepare(ops: Ops, p: Parameters, x: HostArray, w: HostArray) -> Sequence[Array]:
    """X, the low-bit W as K×M, its scales as (1, M)."""
    packed = quantized.weights(w, p.scheme, p.k)
    return _x(ops, p, x), ops.asarray(np.ascontiguousarray(packed.q.T)), ops.asarray(packed.scales.T)


def prepare_transposed(ops: Ops, p: Parameters, x: HostArray, w: HostArray) -> Sequence[Array]:
    """X, the low-bit W as M×K, its scales (M, G)."""
    packed = quantized.weights(w, p.scheme, group_of(p))
    return _x(ops, p, x), ops.asarray(packed.q), ops.asarray(packed.scales)


def prepare_packed(ops: Ops, p: Parameters, x: HostArray, w: HostArray) -> Sequence[Array | Matrix]:
    """X, W packed ahead by the framework, its scales as (G, M)."""
    packed = quantized.weights(w, p.scheme, group_of(p))
    kind = {"w8": "weight_only_int8", "w4": "weight_only_int4"}.get(p.scheme, "int8")
    made = ops.quantized_weights(packed.q, packed.scales, kind, p.n)
    return _x(ops, p, x), made, ops.asarray(packed.scales.T)


def prepare_fields(ops: Ops, p: Parameters, x: HostArray, w: HostArray) -> Sequence[Array]:
    """X, W with several values to a byte, its scales (M, G)."""
    packed = quantized.weights(w, p.scheme, group_of(p))
    fields = quantized.pack_fields(packed.q, quantized.BITS[p.scheme])
    return ops.asarray(x), ops.asarray(fields), ops.asarray(packed.scales)


def prepare_signs(ops: Ops, p: Parameters, x: HostArray, w: HostArray) -> Sequence[Array]:
    """The signs of X and of W, a bit each."""
    both = given(x, p.scheme), quantized.weights(w, p.scheme, p.k).q
    return [ops.asarray(quantized.pack_signs(values)) for values in both]


# -- steps -------------------------------------------------------------------------------------------------------------
def quantised(ops: Ops, p: Parameters, x: Array) -> tuple[Array, Array | None]:
    """X on its grid, as floats, and the scale of each row; X itself where it is given."""
    if p.scheme not in ("w8a8", "fp8"):
        return x, None
    most = quantized.FLOAT8_MOST if p.scheme == "fp8" else 127.0
    largest = ops.max(ops.maximum(x, -x), 1, True)
    scaled = x * (most / largest)
    return scaled if p.scheme == "fp8" else ops.round(scaled), largest * (1.0 / most)


def on_int8(ops: Ops, p: Parameters, x: Array) -> tuple[Array, Array | None]:
    """As `quantised`, X as int8."""
    on_grid, scale = quantised(ops, p, x)
    return (x, None) if scale is None else (ops.astype(on_grid, "int8"), scale)


def scaled(ops: Ops, y: Array, rows: Array | None, columns: Array) -> Array:
    """The sums of a product of grids, scaled back: as they are where nothing was quantised in the step."""
    return y if rows is None else ops.astype(y, "float32") * rows * columns


def on_floats(ops: Ops, p: Parameters, x: Array) -> tuple[Array, Array | None]:
    """X on its grid as float32: what is given as int8 is converted, float8 goes there and back."""
    if p.scheme in WHOLE:
        return ops.astype(x, "float32"), None
    on_grid, rows = quantised(ops, p, x)
    if p.scheme == "fp8":
        on_grid = ops.astype(ops.astype(on_grid, "float8_e4m3fn"), "float32")
    return on_grid, rows


def scaled_rows(ops: Ops, p: Parameters, y: Array, rows: Array | None) -> Array:
    """The sums of a product of X on its grid, by the scale of each row; int32 where the result is whole."""
    if p.scheme in WHOLE:
        return ops.astype(y, "int32")
    return y if rows is None else y * rows


def exact(p: Parameters) -> bool:
    """Whether float32 holds the sums that must be whole."""
    return bool(p.scheme not in WHOLE or p.k * quantized.MOST[p.scheme] ** 2 < EXACT_BELOW)


def times_floats(ops: Ops, p: Parameters, x: Array, weights: Array, scales: Array) -> Array:
    """x · (weights · scales)ᵀ; a single scale of a row is taken after the product."""
    groups = p.k // group_of(p)
    if groups > 1:
        parts = ops.reshape(weights, (p.m, groups, p.k // groups)) * ops.expand_dims(scales, 2)
        return ops.matmul(x, ops.permute_dims(ops.reshape(parts, (p.m, p.k)), (1, 0)))
    y = ops.matmul(x, ops.permute_dims(weights, (1, 0)))
    return y if p.scheme in WHOLE else y * ops.permute_dims(scales, (1, 0))
