"""What the two sparse products share: axes, formulas, reference, the train step, and its sampled product.

A train step is Y = A·B, loss ½·‖Y − T‖²/N, the gradient of A at its stored values only, the gradient of B, and
A −= lr·∂A. It takes the stored values and gives them back updated: whatever a framework must rebuild around new values
(a transpose, an opaque matrix) belongs to the step, since every step of training has new ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple, TypeAlias

import numpy as np

from backends.ops import Array, HostArray, Matrix, Ops
from workloads.base import LEARNING_RATE, Axis, Formulation, Inputs, Mode, Parameters, Twin, Work
from workloads.common import digits
from workloads.common.patterns import Pattern

TEMPORARY = 2**26  # values in the largest temporary of a gathering formulation: beyond, it goes by columns of B

AXES: Mapping[str, Axis] = {
    "m": Axis(help="rows of A", low=1, high=1e6),
    "k": Axis(help="columns of A, rows of B", low=1, high=1e6),
    "n": Axis(help="columns of B", low=1, high=1e6),
    "density": Axis(help="share of A that is stored", kind=float, low=1e-12, high=1, break_even=True),
}


def both_ways(ops: Ops, pattern: Pattern) -> Sequence[Array]:
    """Rows and columns of a pattern's non-zeros (nnz,), those of its transpose, and the order between the two."""
    flipped, order = pattern.transposed()
    host = (pattern.rows, pattern.indices, flipped.rows, flipped.indices, order)
    return [ops.asarray(positions) for positions in host]


def shape(p: Parameters) -> tuple[int, int, int]:
    """(m, k, n)."""
    return p.m, p.k, p.n


# -- inputs and reference ---------------------------------------------------------------------------------------------


def dense_inputs(p: Parameters, seed: int) -> dict[str, HostArray]:
    """`b` (k, n): digits, an image a column; `target` (m, n) unit normal, for the train step."""
    m, k, n = shape(p)
    target = np.random.default_rng([seed, 2]).standard_normal((m, n))
    return {"b": np.ascontiguousarray(digits.flat(n, k, seed).T), "target": target}


def scaled_normal(count: tuple[int, ...], p: Parameters, rng: np.random.Generator) -> HostArray:
    """Values where a pattern has none of its own: normal/√k, like a layer before training."""
    values: HostArray = rng.standard_normal(count) / np.sqrt(p.k)
    return values


def reference(a: HostArray, stored: Callable[[HostArray], HostArray], x: Inputs, mode: Mode) -> Mapping[str, HostArray]:
    """The product with A dense and its zeros in place, or (loss, updated values, gradient of B) by hand.

    `a` is (m, k) float64; `stored` takes the stored values out of a dense matrix, in the order of the input `a`.
    """
    y = a @ x["b"]
    if mode == "forward":
        return {"y": y}
    error = y - x["target"]
    dy = error / y.shape[1]
    return {
        "loss": np.asarray(0.5 * np.sum(error**2) / y.shape[1]),
        "a": x["a"] - LEARNING_RATE * stored(dy @ x["b"].T),
        "grad_b": a.T @ dy,
    }


# -- formulas ---------------------------------------------------------------------------------------------------------


def work(p: Parameters, mode: Mode, itemsize: int, *, values: int, indices: int, rows: int) -> Work:
    """FLOP and bytes of a sparse product with `values` stored values, `indices` column indices and `rows` row offsets.

    Forward: 2·values·N FLOP; bytes S + e(KN + MN), where S = e·values + 4·indices + 4(rows+1) is reading A.
    Train step: three products of that FLOP. Bytes, each operand of each product read once, each result written once:

        Y = A·B           reads A and B, writes Y                      S + e(KN + MN)
        ∂A = (∂Y·Bᵀ)|A    reads ∂Y, B and the pattern, writes values   S + e(KN + MN)
        ∂B = Aᵀ·∂Y        reads A and ∂Y, writes ∂B                    S + e(KN + MN)
        A −= lr·∂A        reads values and ∂A, writes values           3e·values

    Held against the frameworks' counters in tests/test_flop_counters.py: FlopCounterMode takes a sparse `mm` for the
    dense one and does not see gathers, segment sums, `mv`, `embedding_bag`; XLA cannot see into its CSR custom call.
    As for the dense twin, the target and the loss are not counted. Alive at once: A, B and Y; in a step ∂A and ∂B too.
    """
    m, k, n = shape(p)
    stored = itemsize * values + 4 * indices + 4 * (rows + 1)
    product = stored + itemsize * (k * n + m * n)
    if mode == "forward":
        return Work(2 * values * n, product, product)
    live = product + itemsize * (values + k * n)
    return Work(3 * 2 * values * n, 3 * product + 3 * itemsize * values, live)


def same_shape(p: Parameters, mode: Mode) -> Twin:
    """The dense product of the same shape: what A costs with its zeros stored."""
    m, k, n = shape(p)
    return Twin("same_shape", "dense_matmul", {"m": m, "k": k, "n": n, "grads": "both"}, mode)


def narrower(kind: str, p: Parameters, mode: Mode) -> Twin:
    """The dense product with k·density columns of A: as many parameters, and as many FLOP, as A stores."""
    m, k, n = shape(p)
    columns = max(1, round(p.density * k))
    return Twin(kind, "dense_matmul", {"m": m, "k": columns, "n": n, "grads": "both"}, mode)


# -- pieces of formulations -------------------------------------------------------------------------------------------


def by_columns(ops: Ops, b: Array, per_column: int, product: Callable[[Array], Array]) -> Array:
    """product(b), or over slices of b's columns where it would make more than TEMPORARY values at `per_column` each."""
    n, width = b.shape[1], max(1, TEMPORARY // per_column)
    if width >= n:
        return product(b)
    return ops.concat([product(b[:, i : i + width]) for i in range(0, n, width)], 1)


def summed_over_columns(x: Array, y: Array, per_column: int, product: Callable[[Array, Array], Array]) -> Array:
    """product(x, y), which sums over their columns, or the sum of it over slices of the columns as in `by_columns`."""
    first, *others = column_slices(x, y, per_column)
    out = product(*first)
    for part in others:
        out = out + product(*part)
    return out


def column_slices(x: Array, y: Array, per_column: int) -> list[tuple[Array, Array]]:
    """The columns of both, in slices whose products make at most TEMPORARY values at `per_column` each."""
    n, width = x.shape[1], max(1, TEMPORARY // per_column)
    if width >= n:
        return [(x, y)]
    return [(x[:, i : i + width], y[:, i : i + width]) for i in range(0, n, width)]


def transpose(ops: Ops, x: Array) -> Array:
    """The transpose of a matrix."""
    return ops.permute_dims(x, (1, 0))


class Ell(NamedTuple):
    """Rows padded to the longest: `columns` (rows, longest) int32, `slots` (rows, longest) int32, `filled` bool.

    `slots` says which stored value stands there. Padding has column 0 and slot 0; where `filled` is False it counts for
    nothing and its value must be zero.
    """

    columns: HostArray
    slots: HostArray
    filled: HostArray


def padded(pattern: Pattern) -> Ell:
    """A pattern with every row padded to the longest."""
    lengths = np.diff(pattern.indptr)
    filled = np.arange(max(1, pattern.longest)) < lengths[:, None]
    columns, slots = np.zeros(filled.shape, np.int32), np.zeros(filled.shape, np.int32)
    columns[filled] = pattern.indices
    slots[filled] = np.arange(len(pattern.indices))
    return Ell(columns, slots, filled)


# -- the train step ---------------------------------------------------------------------------------------------------

Prepare: TypeAlias = Callable[[Ops, Inputs, Parameters], Sequence[Array | Matrix]]
Restore: TypeAlias = Callable[[HostArray, Inputs, Parameters], HostArray]


class Products(NamedTuple):
    """The three products of a step, the sampled one with its update: all of the values as a formulation stores them.

    forward(values, b) is Y, update(values, dy, b) the values after a step, backward(values, dy) the gradient of B.
    """

    forward: Callable[[Array, Array], Array]
    update: Callable[[Array, Array, Array], Array]
    backward: Callable[[Array, Array], Array]


def sgd_update(ops: Ops, sampled: Callable[[Array, Array], Array]) -> Callable[[Array, Array, Array], Array]:
    """The update of a gradient that is formed first: sampled(dy, b), in the shape of the values."""
    return lambda values, dy, b: ops.sgd_step(values, sampled(dy, b), LEARNING_RATE)


def train_step(
    note: str,
    values: Callable[[Inputs, Parameters], HostArray],
    rest: Prepare,
    products: Callable[..., Products],
    restore: Restore = lambda values, x, p: values,
) -> Formulation:
    """A train step from its three products, written by hand.

    `values(inputs, p)` is the parameter as this formulation stores it; `rest` its further operands;
    `products(ops, p, *rest)` the products; `restore` puts the stored parameter back into the order of the input.
    """

    def prepare(ops: Ops, x: Inputs, p: Parameters) -> Sequence[Array | Matrix]:
        host = (values(x, p), x["b"], x["target"])
        return [*(ops.asarray(v) for v in host), *rest(ops, x, p)]

    def step(ops: Ops, p: Parameters) -> Callable[..., tuple[Array, ...]]:
        n = p.n

        def run(a: Array, b: Array, target: Array, *others: Array) -> tuple[Array, ...]:
            forward, update, backward = products(ops, p, *others)
            error = forward(a, b) - target
            dy = error / n
            loss = ops.sum(error * error) * (0.5 / n)
            return loss, update(a, dy, b), backward(a, dy)

        return run

    def restored(outputs: Sequence[HostArray], x: Inputs, p: Parameters) -> Mapping[str, HostArray]:
        loss, a, grad_b = outputs
        return {"loss": loss, "a": restore(a, x, p), "grad_b": grad_b}

    return Formulation(note=note, prepare=prepare, step=step, restore=restored)


def autodiff_step(
    note: str, values: Callable[[Inputs, Parameters], HostArray], rest: Prepare, product: Callable[..., Array]
) -> Formulation:
    """A train step by the framework's own differentiation of the loss with respect to the stored values and B.

    `product(ops, p, values, b, *rest)` gives Y (m, n). The gradient has the shape of the stored values; what the
    framework forms on the way there is its own affair, and stands in the note.
    """

    def prepare(ops: Ops, x: Inputs, p: Parameters) -> Sequence[Array | Matrix]:
        return [*(ops.asarray(v) for v in (values(x, p), x["b"], x["target"])), *rest(ops, x, p)]

    def step(ops: Ops, p: Parameters) -> Callable[..., tuple[Array, ...]]:
        def loss(a: Array, b: Array, target: Array, *others: Array) -> Array:
            error = product(ops, p, a, b, *others) - target
            return ops.sum(error * error) * (0.5 / p.n)

        gradients = ops.value_and_grad(loss, (0, 1))

        def run(a: Array, b: Array, target: Array, *others: Array) -> tuple[Array, ...]:
            value, (grad_a, grad_b) = gradients(a, b, target, *others)
            return value, ops.sgd_step(a, grad_a, LEARNING_RATE), grad_b

        return run

    return Formulation(
        note=note,
        prepare=prepare,
        step=step,
        restore=lambda outputs, x, p: dict(zip(("loss", "a", "grad_b"), outputs, strict=True)),
    )


def forward_step(
    note: str,
    prepare: Prepare,
    product: Callable[..., Array],
    applies: Callable[[Parameters], bool] = lambda p: True,
) -> Formulation:
    """A product from its operands; `product(ops, p, *operands)` gives Y (m, n)."""

    def step(ops: Ops, p: Parameters) -> Callable[..., tuple[Array, ...]]:
        return lambda *operands: (product(ops, p, *operands),)

    def restore(outputs: Sequence[HostArray], x: Inputs, p: Parameters) -> Mapping[str, HostArray]:
        return {"y": outputs[0]}

    return Formulation(note=note, prepare=prepare, step=step, restore=restore, applies=applies)


def marked_multiplies_zeros(formulation: Formulation) -> Formulation:
    """The same, marked as one that multiplies with the zeros too."""
    return replace(formulation, multiplies_zeros=True)


def native_step(note: str, prepare: Prepare) -> Formulation:
    """The framework's own sparse product of a matrix and B."""

    def step(ops: Ops, p: Parameters) -> Callable[..., tuple[Array, ...]]:
        product = ops.sparse_matmul  # looked up once: with one column a frame of Python is a percent of the call
        return lambda a, b: (product(a, b),)

    return Formulation(note=note, prepare=prepare, step=step, restore=lambda outputs, x, p: {"y": outputs[0]})


def dense_products(ops: Ops, p: Parameters, mask: Array) -> Products:
    """A dense with zeros: the framework's dense products, and a mask of A's shape on its gradient."""
    return Products(
        ops.matmul,
        sgd_update(ops, lambda dy, b: ops.matmul(dy, transpose(ops, b)) * mask),
        lambda a, dy: ops.matmul(transpose(ops, a), dy),
    )
