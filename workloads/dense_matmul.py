"""The dense product A·B: the computation that sparse and routing ideas replace, and the ceiling of the machine.

A train step is Y = A·B, loss ½·‖Y − T‖²/N, gradients of A (and of B when `grads` is "both"), A −= lr·∂A.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from backends.ops import Array, HostArray, Ops
from workloads import Axis, Parameters, Workload
from workloads.base import LEARNING_RATE, Inputs, Mode, Work

w = Workload(
    "dense_matmul",
    title="dense product",
    source="the twin of the sparse products and of routing",
    role="ceiling",
    axes={
        "m": Axis(help="rows of A", low=1, high=1e6),
        "k": Axis(help="columns of A, rows of B", low=1, high=1e6),
        "n": Axis(help="columns of B", low=1, high=1e6),
        "grads": Axis(help="gradients that a train step computes", choices=("both", "weights"), default="both"),
    },
)
w.preset("smoke", m=48, k=32, n=8, mode="forward")
w.preset("smoke", m=48, k=32, n=1, mode="forward", headline=False)
w.preset("smoke", m=48, k=32, n=8, mode="train_step")
w.preset("quick", m=2048, k=2048, n=2048, mode="forward", headline=False)
w.preset("ideas", m=2048, k=2048, n=2048, mode="forward", headline=False)
w.preset("standard", m=4096, k=4096, n=4096, mode="forward", headline=False)
w.preset("full", m=8192, k=8192, n=8192, mode="forward", headline=False)


@w.inputs
def inputs(p: Parameters, rng: np.random.Generator) -> Inputs:
    """A (m, k) scaled like a layer's weights, B (k, n) unit normal, target T (m, n) for the train step."""
    return {
        "a": rng.standard_normal((p.m, p.k)) / np.sqrt(p.k),
        "b": rng.standard_normal((p.k, p.n)),
        "target": rng.standard_normal((p.m, p.n)),
    }


@w.reference(mode="forward")
def product(a: HostArray, b: HostArray) -> Mapping[str, HostArray]:
    """The product."""
    return {"y": a @ b}


@w.reference(mode="train_step")
def train_step(a: HostArray, b: HostArray, target: HostArray, p: Parameters) -> Mapping[str, HostArray]:
    """Loss, updated A and gradient of B, by hand."""
    error = a @ b - target
    dy = error / p.n
    out = {"loss": np.asarray(0.5 * np.sum(error**2) / p.n), "a": a - LEARNING_RATE * (dy @ b.T)}
    return {**out, "grad_b": a.T @ dy} if p.grads == "both" else out


@w.work
def work(p: Parameters, mode: Mode, itemsize: int) -> Work:
    """2·m·k·n a product; each operand once. A step: forward, both backward products (one if grads=weights), update.

    FlopCounterMode agrees to the FLOP but for `vector`: it has no rule for `mv` (tests/test_flop_counters.py).
    """
    a, b, y = p.m * p.k, p.k * p.n, p.m * p.n
    flop = 2 * p.m * p.k * p.n
    if mode == "forward":
        return Work(flop, itemsize * (a + b + y), itemsize * (a + b + y))
    both = p.grads == "both"
    moved = (a + b + y) + (y + b + a) + (y + a + b) * both + 3 * a  # forward, ∂A, ∂B, update reads A and ∂A, writes A
    return Work((3 if both else 2) * flop, itemsize * moved, itemsize * (2 * a + b + y + b * both))


# -- forward: how A and B lie in memory, as given or transposed -------------------------------------------------------
TILE = 256


def _turned(x: HostArray) -> HostArray:
    """The transposed matrix, row-major, tile by tile: NumPy's own copy reads a line of cache for every element."""
    out = np.empty(x.shape[::-1], x.dtype)
    for i in range(0, x.shape[0], TILE):
        for j in range(0, x.shape[1], TILE):
            out[j : j + TILE, i : i + TILE] = x[i : i + TILE, j : j + TILE].T
    return out


def _turn_a(ops: Ops, a: HostArray, b: HostArray) -> Sequence[Array]:
    return ops.asarray(_turned(a)), ops.asarray(b)


def _turn_b(ops: Ops, a: HostArray, b: HostArray) -> Sequence[Array]:
    return ops.asarray(a), ops.asarray(_turned(b))


def _turn_both(ops: Ops, a: HostArray, b: HostArray) -> Sequence[Array]:
    return ops.asarray(_turned(a)), ops.asarray(_turned(b))


def _column(ops: Ops, a: HostArray, b: HostArray) -> Sequence[Array]:
    return ops.asarray(a), ops.asarray(np.ascontiguousarray(b[:, 0]))


def _one_column(p: Parameters) -> bool:
    return bool(p.n == 1)


Y = ("y",)  # a tuple costs an eager call less than a dict: with one column that is measurable


@w.formulation(note="A and B row-major", outputs=Y)
def nn(ops: Ops, a: Array, b: Array) -> tuple[Array, ...]:
    """As given."""
    return (ops.matmul(a, b),)


@w.formulation(note="B stored transposed: each output is a dot product of two rows", prepare=_turn_b, outputs=Y)
def nt(ops: Ops, a: Array, bt: Array) -> tuple[Array, ...]:
    """B (n, k)."""
    return (ops.matmul(a, ops.permute_dims(bt, (1, 0))),)


@w.formulation(note="A stored transposed", prepare=_turn_a, outputs=Y)
def tn(ops: Ops, at: Array, b: Array) -> tuple[Array, ...]:
    """A (k, m)."""
    return (ops.matmul(ops.permute_dims(at, (1, 0)), b),)


@w.formulation(
    note="Yᵀ = Bᵀ·Aᵀ, each stored transposed",
    prepare=_turn_both,
    restore=lambda y: {"y": y.T},
    applies=lambda p: not _one_column(p),
    outputs=Y,
)
def transposed(ops: Ops, at: Array, bt: Array) -> tuple[Array, ...]:
    """Yᵀ (n, m)."""
    return (ops.matmul(bt, at),)


@w.formulation(
    note="Yᵀ = Bᵀ·Aᵀ of one column, as a linear layer has it",
    prepare=_turn_b,
    restore=lambda y: {"y": y.T},
    applies=_one_column,
    outputs=Y,
)
def row(ops: Ops, a: Array, bt: Array) -> tuple[Array, ...]:
    """Yᵀ (1, m)."""
    return (ops.matmul(bt, ops.permute_dims(a, (1, 0))),)


@w.formulation(
    note="B of one column as a vector",
    prepare=_column,
    restore=lambda y: {"y": y[:, None]},
    applies=_one_column,
    outputs=Y,
)
def vector(ops: Ops, a: Array, b: Array) -> tuple[Array, ...]:
    """Y (m,)."""
    return (ops.matmul(a, b),)


# -- train step -------------------------------------------------------------------------------------------------------
def _outputs(p: Parameters) -> Sequence[str]:
    return ("loss", "a", "grad_b") if p.grads == "both" else ("loss", "a")


@w.formulation(mode="train_step", note="the two backward products written out", outputs=_outputs)
def by_hand(ops: Ops, p: Parameters, a: Array, b: Array, target: Array) -> tuple[Array, ...]:
    """∂A = ∂Y·Bᵀ within its update, ∂B = Aᵀ·∂Y."""
    error = ops.matmul(a, b) - target
    dy = error / p.n
    loss = ops.sum(error * error) * (0.5 / p.n)
    updated = ops.sgd_step_along(a, dy, ops.permute_dims(b, (1, 0)), LEARNING_RATE)
    if p.grads == "both":
        return loss, updated, ops.matmul(ops.permute_dims(a, (1, 0)), dy)
    return loss, updated


@w.formulation(mode="train_step", note="the framework's own differentiation", outputs=_outputs)
def autodiff(ops: Ops, p: Parameters, a: Array, b: Array, target: Array) -> tuple[Array, ...]:
    """Of the loss, with respect to A, and B where both are asked for."""

    def loss(a: Array, b: Array) -> Any:
        error = ops.matmul(a, b) - target
        return ops.sum(error * error) * (0.5 / p.n)

    value, grads = ops.value_and_grad(loss, (0, 1) if p.grads == "both" else (0,))(a, b)
    return value, ops.sgd_step(a, grads[0], LEARNING_RATE), *grads[1:]


WORKLOAD = w.definition()
