"""A product with few bits: X (N×K) times the transpose of W (M×K), weights or both quantised.

Schemes, all symmetric, rounded half to even: `w8a8_static` int8 operands given, int32 sums; `w8a8` int8, X quantised in
the step with a scale a row; `w8` and `w4` weights only; `fp8` e4m3, X in the step; `w2` ternary and `w1a1` signs,
given so as they were trained. Two things are checked: that the arithmetic is that of the grid, and by the gate that the
grid is near enough to the product that it stands for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from backends.ops import Array, HostArray, Matrix, Ops
from workloads import Axis, Parameters, Workload
from workloads.base import Inputs, Mode, Twin, Work
from workloads.common import digits, patterns, quantized
from workloads.common import quantized_steps as steps

SCHEMES = ("w8a8", "w8a8_static", "w8", "w4", "fp8", "w2", "w1a1")
TOLERANCES = {"w8a8": 1e-3, "fp8": 2e-3}  # a tie may be rounded the other way by a quantum of X
# 1.5 times the largest error seen on the digits (1, 16 and 128 rows; 64, 1024 and 2560 values a row), of w4 in groups
# of 32 and 128; normal data would be off by 1.0, 0.7, 3.7 and 8.5 %, from step²/12.
GATES = {"w8a8": 0.008, "w8": 0.0055, "fp8": 0.032, "w4": 0.072}
PADDED_ROWS = 8

w = Workload(
    "quantized_matmul",
    title="quantised product",
    source="Dettmers et al. 2022, LLM.int8() (arXiv:2208.07339), §2; Ma et al. 2024, BitNet b1.58 (arXiv:2402.17764)",
    leaves_out="bits",
    axes={
        "n": Axis(help="rows of X", low=1, high=1e6, default=128, break_even=True),
        "k": Axis(help="values of a row", low=1, high=1e6, default=1024),
        "m": Axis(help="rows of W", low=1, high=1e6, default=1024),
        "scheme": Axis(help="which operands have how many bits", choices=SCHEMES, default="w8a8"),
        "group_size": Axis(help="weights of a row that share a scale, 0 for all; divides k", low=0, default=0),
    },
    tolerances=lambda p: {("float32", "forward"): TOLERANCES.get(p.scheme, 1e-5)},
    gate_limit=lambda p: GATES.get(p.scheme),
    product_dtype=lambda p: "int8" if p.scheme in steps.INT8 else "float8" if p.scheme == "fp8" else None,
)
for _scheme in SCHEMES:
    w.preset("smoke", n=16, k=64, m=32, scheme=_scheme, group_size=32 if _scheme == "w4" else 0)
w.preset("smoke", n=1, k=64, m=32)
w.preset("ideas", group="1024x1024 n=128")
for _scheme, _size in (("w8a8", 0), ("w8", 0), ("w4", 128)):
    for _n in (128, 1):  # at one row other formulations win, and more apply: a survey each
        w.preset("standard", n=_n, k=2560, m=7680, scheme=_scheme, group_size=_size, group=f"7680x2560 n={_n}")
w.preset("standard", n=1500, k=2560, m=7680, survey=False, headline=False, group="7680x2560 n=128")
for _scheme in ("fp8", "w2", "w1a1"):
    w.preset("standard", k=2560, m=7680, scheme=_scheme, headline=False, group="7680x2560 n=128")
for _scheme, _size in (("w8a8", 0), ("w8a8_static", 0), ("w8", 0), ("w4", 128), ("fp8", 0)):
    for _n in (64, 1):
        w.preset("full", n=_n, k=8192, m=8192, scheme=_scheme, group_size=_size, group=f"8192x8192 n={_n}")
    w.preset("full", n=8192, k=8192, m=8192, scheme=_scheme, group_size=_size, survey=False, group="8192x8192 n=64")


@w.inputs
def inputs(p: Parameters, seed: int) -> Inputs:
    """x (n, k) digits, w (m, k) a trained layer, as they are before anything is quantised."""
    steps.group_of(p)
    return {"x": digits.flat(p.n, p.k, seed), "w": patterns.trained_weights(p.m, p.k, seed)}


@w.reference
def reference(p: Parameters, x: HostArray, w: HostArray) -> Mapping[str, HostArray]:
    """On the scheme's own grid; beside it the product of what was not quantised, for the gate."""
    packed = quantized.weights(w, p.scheme, steps.group_of(p))
    if p.scheme in steps.WHOLE:
        return {"y": steps.given(x, p.scheme).astype(np.int64) @ packed.q.astype(np.int64).T}
    on_grid = quantized.rows(x, p.scheme) if p.scheme in ("w8a8", "fp8") else x
    y = {"y": on_grid @ packed.values().T}
    return {**y, "gate.y": x @ w.T} if p.scheme in GATES else y


@w.work
def work(p: Parameters, mode: Mode, itemsize: int) -> Work:
    """2·N·K·M, and X, the bits of W, a scale of 4 bytes for each group, and the result, each once.

    Where X is given in few bits it counts so, and there the scales are left out and the result is int32.
    """
    group = steps.group_of(p)
    weights = -(-p.m * p.k * quantized.BITS[p.scheme] // 8)
    if p.scheme in steps.WHOLE:
        moved = -(-p.n * p.k * quantized.BITS[p.scheme] // 8) + weights + 4 * p.n * p.m
    else:
        moved = itemsize * p.n * p.k + weights + 4 * p.m * (p.k // group) + itemsize * p.n * p.m
    return Work(2 * p.n * p.k * p.m, moved, moved)


@w.twins
def twins(p: Parameters, mode: Mode) -> Sequence[Twin]:
    """The dense product W·Xᵀ in the case's dtype, and in bfloat16, which is the honest one where it has units."""
    axes = {"m": p.m, "k": p.k, "n": p.n, "grads": "both"}
    return Twin("float32", "dense_matmul", axes, mode), Twin("bfloat16", "dense_matmul", axes, mode, "bfloat16")


# -- steps -------------------------------------------------------------------------------------------------------------
Y = ("y",)


@w.formulation(
    note="the framework's int8 product with int32 sums, W stored as K×M",
    prepare=steps.prepare,
    outputs=Y,
    applies=lambda p: p.scheme in steps.INT8,
)
def int8(ops: Ops, p: Parameters, x: Array, q: Array, scales: Array) -> tuple[Array, ...]:
    """W row-major as the product reads it."""
    x8, rows = steps.on_int8(ops, p, x)
    return (steps.scaled(ops, ops.matmul_int8(x8, q), rows, scales),)


@w.formulation(
    note="int8 product, W stored as M×K and read transposed",
    prepare=steps.prepare_transposed,
    outputs=Y,
    applies=lambda p: p.scheme in steps.INT8,
)
def int8_transposed(ops: Ops, p: Parameters, x: Array, q: Array, scales: Array) -> tuple[Array, ...]:
    """As layers store their weights."""
    x8, rows = steps.on_int8(ops, p, x)
    y = ops.matmul_int8(x8, ops.permute_dims(q, (1, 0)))
    return (steps.scaled(ops, y, rows, ops.permute_dims(scales, (1, 0))),)


@w.formulation(
    note="int8 product of X padded to 8 rows: XLA's kernel for the CPU wants more than one",
    prepare=steps.prepare,
    outputs=Y,
    applies=lambda p: p.scheme in steps.INT8 and p.n < PADDED_ROWS,
)
def int8_padded(ops: Ops, p: Parameters, x: Array, q: Array, scales: Array) -> tuple[Array, ...]:
    """Rows of zeros are added and cut off."""
    x8, rows = steps.on_int8(ops, p, x)
    y = ops.matmul_int8(ops.concat([x8, ops.zeros((PADDED_ROWS - p.n, p.k), "int8")], 0), q)
    return (steps.scaled(ops, y[: p.n, :], rows, scales),)


@w.formulation(
    note="the framework's own product of weights that were packed ahead",
    prepare=steps.prepare_packed,
    outputs=Y,
    applies=lambda p: (
        p.scheme in ("w8a8", "w8", "w4") or (p.scheme in steps.WHOLE and p.k * 127**2 < steps.EXACT_BELOW)
    ),
)
def packed(ops: Ops, p: Parameters, x: Array, weights: Matrix, scales: Array) -> tuple[Array, ...]:
    """Its sums are floats: of int8 they are exact below 2²⁴."""
    if p.scheme in ("w8", "w4"):
        return (ops.quantized_matmul(x, weights),)
    x8, rows = steps.on_int8(ops, p, x)
    y = ops.quantized_matmul(x8, weights)
    return (ops.astype(y, "int32") if rows is None else y * rows * scales,)


@w.formulation(
    note="the framework's product of scaled float8 operands",
    prepare=steps.prepare_transposed,
    outputs=Y,
    applies=lambda p: p.scheme == "fp8",
)
def scaled_float8(ops: Ops, p: Parameters, x: Array, q: Array, scales: Array) -> tuple[Array, ...]:
    """X becomes float8 in the step."""
    scaled, rows = steps.quantised(ops, p, x)
    x8 = ops.astype(scaled, "float8_e4m3fn")
    return (ops.scaled_matmul(x8, ops.permute_dims(q, (1, 0)), rows, ops.permute_dims(scales, (1, 0))),)


@w.formulation(
    note="int8 converted to bfloat16 in the step, which holds it exactly; a product with float32 sums",
    prepare=steps.prepare,
    outputs=Y,
    applies=lambda p: p.scheme in steps.INT8 and steps.exact(p),
)
def as_bfloat16(ops: Ops, p: Parameters, x: Array, q: Array, scales: Array) -> tuple[Array, ...]:
    """Where a CPU has the faster unit for bfloat16, or a compiler the faster product."""
    on_grid, rows = steps.quantised(ops, p, x)
    y = ops.widened_matmul(ops.astype(on_grid, "bfloat16"), ops.astype(q, "bfloat16"))
    return (steps.scaled_rows(ops, p, y if p.scheme in steps.WHOLE else y * scales, rows),)


@w.formulation(
    note="W stored in few bits as K×M, converted to floats in the step, the dense product",
    prepare=steps.prepare,
    outputs=Y,
    applies=lambda p: steps.group_of(p) == p.k and steps.exact(p),
)
def converted(ops: Ops, p: Parameters, x: Array, q: Array, scales: Array) -> tuple[Array, ...]:
    """What is left where a framework has no product of few bits: fewer bytes, no faster sums."""
    on_grid, rows = steps.on_floats(ops, p, x)
    y = ops.matmul(on_grid, ops.astype(q, "float32"))
    return (steps.scaled_rows(ops, p, y if p.scheme in steps.WHOLE else y * scales, rows),)


@w.formulation(
    note="the same with W stored as M×K, group by group where it has groups",
    prepare=steps.prepare_transposed,
    outputs=Y,
    applies=steps.exact,
)
def converted_rows(ops: Ops, p: Parameters, x: Array, q: Array, scales: Array) -> tuple[Array, ...]:
    """A row of W is a row of the array."""
    on_grid, rows = steps.on_floats(ops, p, x)
    return (steps.scaled_rows(ops, p, steps.times_floats(ops, p, on_grid, ops.astype(q, "float32"), scales), rows),)


@w.formulation(
    note="weights of 4 or 2 bits, several to a byte, taken apart by shifts in the step, the dense product",
    prepare=steps.prepare_fields,
    outputs=Y,
    applies=lambda p: p.scheme in ("w4", "w2") and p.k % (8 // quantized.BITS[p.scheme]) == 0,
)
def unpacked(ops: Ops, p: Parameters, x: Array, fields: Array, scales: Array) -> tuple[Array, ...]:
    """The only form that reads no more bytes of W than it has bits."""
    bits = quantized.BITS[p.scheme]
    parts = [ops.bitwise_right_shift(fields, bits * i) & (2**bits - 1) for i in range(8 // bits)]
    weights = ops.astype(ops.concat(parts, 1), "float32") - float(2 ** (bits - 1))
    return (steps.times_floats(ops, p, x, weights, scales),)


@w.formulation(
    note="signs as bits: exclusive or, and the bits counted",
    prepare=steps.prepare_signs,
    outputs=Y,
    applies=lambda p: p.scheme == "w1a1" and p.k % quantized.WORD == 0,
)
def popcount(ops: Ops, p: Parameters, x: Array, q: Array) -> tuple[Array, ...]:
    """k − 2·(differing signs); every pair of words is formed, N·M·K/32 of them."""
    different = ops.popcount(ops.expand_dims(x, 1) ^ ops.expand_dims(q, 0))
    return (p.k - 2 * ops.sum(different, 2),)


WORKLOAD = w.definition()
