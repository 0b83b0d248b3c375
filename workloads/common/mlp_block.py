"""Two layers with a relu between them, relu(X·W1)·W2, by hand: shared by the pruned block and its dense twin.

A train step is that, the loss ½·‖Y − T‖²/B, the gradients of W1 and W2 (X is data and has none) and plain SGD.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from backends.ops import Array, HostArray, Matrix, Ops
from workloads.base import LEARNING_RATE, Mode, Work


def work(mode: Mode, e: int, b: int, d: int, h: int) -> Work:
    """Forward 4BDh FLOP and e(2BD + 2Dh + 2Bh) bytes.

    A step has five products, 10BDh, and moves e(5BD + 5Dh + 5Bh) for them and e·6Dh for the updates. Alive at once are
    e(2Dh + B(D + h)).
    """
    live = e * (2 * d * h + b * (d + h))
    if mode == "forward":
        return Work(4 * b * d * h, e * (2 * b * d + 2 * d * h + 2 * b * h), live)
    return Work(10 * b * d * h, e * (5 * b * d + 5 * b * h + 11 * d * h), live)


def reference(mode: Mode, x: HostArray, w1: HostArray, w2: HostArray, target: HostArray) -> Mapping[str, HostArray]:
    """Y, or the loss and the updated weights, by hand in NumPy."""
    h = np.maximum(x @ w1, 0.0)
    y = h @ w2
    if mode == "forward":
        return {"y": y}
    error = y - target
    dy = error / len(x)
    dh = np.where(h > 0, dy @ w2.T, 0.0)
    return {
        "loss": np.asarray(0.5 * np.sum(error**2) / len(x)),
        "w1": w1 - LEARNING_RATE * (x.T @ dh),
        "w2": w2 - LEARNING_RATE * (h.T @ dy),
    }


def forward(ops: Ops, x: Array, w1: Array, w2: Array) -> Array:
    """Y (b, d)."""
    return ops.matmul(ops.relu(ops.matmul(x, w1)), w2)


def columns(ops: Ops, x: HostArray, w1: HostArray, w2: HostArray) -> list[Array]:
    """Everything transposed: X with a column an example, weights as (out, in)."""
    return [ops.asarray(np.ascontiguousarray(v.T)) for v in (x, w1, w2)]


def of_columns(ops: Ops, x: Array, w1: Array, w2: Array) -> Array:
    """Yᵀ (d, b) of such operands."""
    return ops.matmul(w2, ops.relu(ops.matmul(w1, x)))


def rows_again(y: HostArray) -> Mapping[str, HostArray]:
    """Y of Yᵀ, on the host."""
    return {"y": y.T}


def packed(ops: Ops, x: HostArray, w1: HostArray, w2: HostArray) -> list[Array | Matrix]:
    """X, and both weights laid out ahead for as many rows."""
    return [ops.asarray(x), *(ops.packed_weights(v, len(x)) for v in (w1, w2))]


def of_packed(ops: Ops, x: Array, w1: Matrix, w2: Matrix) -> Array:
    """Y (b, d) of such operands, the relu within the first product."""
    return ops.packed_matmul(ops.packed_matmul(x, w1, relu=True), w2)


def turned(ops: Ops, x: Array) -> Array:
    """The transpose of a matrix."""
    return ops.permute_dims(x, (1, 0))


def step(ops: Ops, x: Array, w1: Array, w2: Array, target: Array) -> tuple[Array, ...]:
    """(loss, w1, w2), backward by hand: each update within its product where the framework's can add."""
    rows = x.shape[0]
    h = ops.relu(ops.matmul(x, w1))
    error = ops.matmul(h, w2) - target
    dy = error / float(rows)
    dh = ops.relu_grad(ops.matmul(dy, turned(ops, w2)), h)
    loss = ops.sum(error * error) * (0.5 / rows)
    return (
        loss,
        ops.sgd_step_along(w1, turned(ops, x), dh, LEARNING_RATE),
        ops.sgd_step_along(w2, turned(ops, h), dy, LEARNING_RATE),
    )


def by_autodiff(ops: Ops, x: Array, w1: Array, w2: Array, target: Array) -> tuple[Array, ...]:
    """(loss, w1, w2) by the framework's own differentiation."""
    rows = x.shape[0]

    def loss_of(w1: Array, w2: Array) -> Array:
        error = forward(ops, x, w1, w2) - target
        return ops.sum(error * error) * (0.5 / rows)

    loss, gradients = ops.value_and_grad(loss_of, (0, 1))(w1, w2)
    return loss, *(ops.sgd_step(w, g, LEARNING_RATE) for w, g in zip((w1, w2), gradients, strict=True))
