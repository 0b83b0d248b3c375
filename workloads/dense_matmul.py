"""The dense product A·B: the computation that sparse and routing ideas replace, and the ceiling of the machine.

A train step is Y = A·B, loss ½·‖Y − T‖²/N, gradients of A (and of B when `grads` is "both"), A −= lr·∂A.

Products reach the machine's rate in at least one framework, of 128 columns too (results/perf-cpu/ceiling.txt). One of
160 rows does not: 0.84; at the machine's bandwidth reading A alone is a tenth of its time. JAX has 0.6 to 0.98: its
products are Eigen's or YNNPACK's, those of the two others oneDNN's (in PyTorch where MKL would not use AVX-512).

What a formulation takes over the best of its framework, each in its best execution (results/standard-cpu):

forward, m=160 k=9216 n=128 grads=weights
                               torch         jax  tensorflow
    nn                           1.0         1.0         1.0
    nt                           1.1         1.1         1.2
    tn                           1.9         1.2         1.1
    transposed                  best        best        best

forward, m=4096 k=4096 n=4096
                               torch         jax  tensorflow
    nn                           1.1         1.0        best
    nt                          best        best         1.0
    tn                           1.1         1.0         1.0
    transposed                   1.1         1.0         1.0

forward, m=5120 k=5120 n=64
                               torch         jax  tensorflow
    nn                          best         1.0        best
    nt                           1.0        best         1.0
    tn                           3.6         2.8         1.4
    transposed                   1.5         1.3         1.0

forward, m=7680 k=2560 n=1
                               torch         jax  tensorflow
    nn                           1.4         1.0         1.3
    nt                           1.3        best         1.4
    tn                            12         4.8         1.7
    row                          1.2         1.0        best
    vector                      best         1.0         1.3

forward, m=7680 k=2560 n=128
                               torch         jax  tensorflow
    nn                           1.0        best         1.0
    nt                          best         1.0         1.1
    tn                           2.4         1.5         1.1
    transposed                   1.2         1.1        best

train_step, m=160 k=9216 n=128 grads=weights
                               torch         jax  tensorflow
    by_hand                     best         1.0         1.0
    autodiff                     1.1        best        best

train_step, m=1920 k=1280 n=128
                               torch         jax  tensorflow
    by_hand                      1.1         1.0         1.0
    autodiff                    best        best        best

train_step, m=2560 k=2560 n=64
                               torch         jax  tensorflow
    by_hand                      1.0         1.0        best
    autodiff                    best        best         1.1

train_step, m=5120 k=1280 n=64
                               torch         jax  tensorflow
    by_hand                      1.0         1.0        best
    autodiff                    best        best         1.7

train_step, m=5120 k=5120 n=64
                               torch         jax  tensorflow
    by_hand                      1.0        best         3.7
    autodiff                    best         1.0        best

train_step, m=7680 k=256 n=128
                               torch         jax  tensorflow
    by_hand                     best         1.1        best
    autodiff                     1.0        best         1.0

train_step, m=7680 k=2560 n=128
                               torch         jax  tensorflow
    by_hand                     best        best         1.0
    autodiff                     1.0         1.0        best

Most ran in one process, alone: a difference under a fifth is noise. `-` is unsupported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from backends.ops import Array, HostArray, Ops
from workloads.base import LEARNING_RATE, Axis, Formulation, Inputs, Mode, Params, Point, Work, Workload


def inputs(params: Params, seed: int) -> Inputs:
    """A (m, k) scaled like a layer's weights, B (k, n) unit normal, target T (m, n) for the train step."""
    m, k, n = (int(params[a]) for a in "mkn")
    rng = np.random.default_rng(seed)
    return {
        "a": rng.standard_normal((m, k)) / np.sqrt(k),
        "b": rng.standard_normal((k, n)),
        "target": rng.standard_normal((m, n)),
    }


def reference(x: Inputs, params: Params, mode: Mode) -> Mapping[str, HostArray]:
    """The product, or (loss, updated A, gradient of B) by hand."""
    y = x["a"] @ x["b"]
    if mode == "forward":
        return {"y": y}
    dy = (y - x["target"]) / y.shape[1]
    out = {
        "loss": np.asarray(0.5 * np.sum((y - x["target"]) ** 2) / y.shape[1]),
        "a": x["a"] - LEARNING_RATE * (dy @ x["b"].T),
    }
    return {**out, "grad_b": x["a"].T @ dy} if params["grads"] == "both" else out


def work(params: Params, mode: Mode, itemsize: int) -> Work:
    """2·m·k·n a product; each operand once. A step: forward, both backward products (one if grads=weights), update.

    FlopCounterMode agrees to the FLOP but for `vector`: it has no rule for `mv` (tests/test_flop_counters.py).
    """
    m, k, n = (int(params[a]) for a in "mkn")
    a, b, y = m * k, k * n, m * n
    if mode == "forward":
        return Work(2 * m * k * n, itemsize * (a + b + y), itemsize * (a + b + y))
    both = params["grads"] == "both"
    moved = (a + b + y) + (y + b + a) + (y + a + b) * both + 3 * a  # forward, ∂A, ∂B, update reads A and ∂A, writes A
    return Work((3 if both else 2) * 2 * m * k * n, itemsize * moved, itemsize * (2 * a + b + y + b * both))


TILE = 256


def _turned(x: HostArray) -> HostArray:
    """The transposed matrix, row-major, tile by tile: NumPy's own copy reads a line of cache for every element."""
    out = np.empty(x.shape[::-1], x.dtype)
    for i in range(0, x.shape[0], TILE):
        for j in range(0, x.shape[1], TILE):
            out[j : j + TILE, i : i + TILE] = x[i : i + TILE, j : j + TILE].T
    return out


# How A and B lie in memory: as given, or transposed. The best of all is the twin's best path.
def _operands(transpose_a: bool, transpose_b: bool) -> Callable[[Ops, Inputs, Params], Sequence[Array]]:
    def prepare(ops: Ops, x: Inputs, params: Params) -> Sequence[Array]:
        a = _turned(x["a"]) if transpose_a else x["a"]
        b = _turned(x["b"]) if transpose_b else x["b"]
        return [ops.asarray(np.ascontiguousarray(v)) for v in (a, b)]

    return prepare


def _product(transpose_a: bool, transpose_b: bool) -> Callable[[Ops, Params], Callable[..., tuple[Array, ...]]]:
    def step(ops: Ops, params: Params) -> Callable[..., tuple[Array, ...]]:
        def run(a: Array, b: Array) -> tuple[Array, ...]:
            a = ops.permute_dims(a, (1, 0)) if transpose_a else a
            b = ops.permute_dims(b, (1, 0)) if transpose_b else b
            return (ops.matmul(a, b),)

        return run

    return step


def _transposed(ops: Ops, params: Params) -> Callable[..., tuple[Array, ...]]:
    return lambda a, b: (ops.matmul(b, ops.permute_dims(a, (1, 0))),)


def _prepare_train(ops: Ops, x: Inputs, params: Params) -> Sequence[Array]:
    return [ops.asarray(x[name]) for name in ("a", "b", "target")]


def _by_hand(ops: Ops, params: Params) -> Callable[..., tuple[Array, ...]]:
    columns = int(params["n"])

    def run(a: Array, b: Array, target: Array) -> tuple[Array, ...]:
        error = ops.matmul(a, b) - target
        dy = error / columns
        loss = ops.sum(error * error) * (0.5 / columns)
        updated = ops.sgd_step_along(a, dy, ops.permute_dims(b, (1, 0)), LEARNING_RATE)
        if params["grads"] == "both":
            return loss, updated, ops.matmul(ops.permute_dims(a, (1, 0)), dy)
        return loss, updated

    return run


def _by_autodiff(ops: Ops, params: Params) -> Callable[..., tuple[Array, ...]]:
    columns = int(params["n"])
    argnums = (0, 1) if params["grads"] == "both" else (0,)

    def loss(a: Array, b: Array, target: Array) -> Any:
        error = ops.matmul(a, b) - target
        return ops.sum(error * error) * (0.5 / columns)

    gradients = ops.value_and_grad(loss, argnums)

    def run(a: Array, b: Array, target: Array) -> tuple[Array, ...]:
        value, grads = gradients(a, b, target)
        return value, ops.sgd_step(a, grads[0], LEARNING_RATE), *grads[1:]

    return run


def _restore_forward(outputs: Sequence[HostArray], x: Inputs, params: Params) -> Mapping[str, HostArray]:
    return {"y": outputs[0]}


def _restore_train(outputs: Sequence[HostArray], x: Inputs, params: Params) -> Mapping[str, HostArray]:
    return dict(zip(("loss", "a", "grad_b"), outputs, strict=False))


def _forward(note: str, transpose_a: bool, transpose_b: bool) -> Formulation:
    return Formulation(
        note=note,
        prepare=_operands(transpose_a, transpose_b),
        step=_product(transpose_a, transpose_b),
        restore=_restore_forward,
    )


WORKLOAD = Workload(
    name="dense_matmul",
    title="dense product",
    source="the twin of the sparse products and of routing",
    role="ceiling",
    axes={
        "m": Axis(help="rows of A", low=1, high=1e6),
        "k": Axis(help="columns of A, rows of B", low=1, high=1e6),
        "n": Axis(help="columns of B", low=1, high=1e6),
        "grads": Axis(help="gradients that a train step computes", kind=str, choices=("both", "weights")),
    },
    presets={
        "smoke": (
            Point({"m": 48, "k": 32, "n": 8, "grads": "both"}),
            Point({"m": 48, "k": 32, "n": 1, "grads": "both"}, headline=False),
            Point({"m": 48, "k": 32, "n": 8, "grads": "both"}, "train_step"),
        ),
        "quick": (Point({"m": 2048, "k": 2048, "n": 2048, "grads": "both"}, headline=False),),
        "standard": (Point({"m": 4096, "k": 4096, "n": 4096, "grads": "both"}, headline=False),),
        "full": (Point({"m": 8192, "k": 8192, "n": 8192, "grads": "both"}, headline=False),),
    },
    inputs=inputs,
    reference=reference,
    formulations={
        "forward": {
            "nn": _forward("A and B row-major", False, False),
            "nt": _forward("B stored transposed: each output is a dot product of two rows", False, True),
            "tn": _forward("A stored transposed", True, False),
            "transposed": Formulation(
                note="Yᵀ = Bᵀ·Aᵀ, each stored transposed",
                prepare=_operands(True, True),
                step=lambda ops, params: lambda a, b: (ops.matmul(b, a),),
                restore=lambda outputs, x, params: {"y": outputs[0].T},
                applies=lambda params: int(params["n"]) > 1,
            ),
            "row": Formulation(
                note="Yᵀ = Bᵀ·Aᵀ of one column, as a linear layer has it",
                prepare=_operands(False, True),
                step=_transposed,
                restore=lambda outputs, x, params: {"y": outputs[0].T},
                applies=lambda params: int(params["n"]) == 1,
            ),
            "vector": Formulation(
                note="B of one column as a vector",
                prepare=lambda ops, x, params: [ops.asarray(x["a"]), ops.asarray(np.ascontiguousarray(x["b"][:, 0]))],
                step=_product(False, False),
                restore=lambda outputs, x, params: {"y": outputs[0][:, None]},
                applies=lambda params: int(params["n"]) == 1,
            ),
        },
        "train_step": {
            "by_hand": Formulation(
                note="the two backward products written out",
                prepare=_prepare_train,
                step=_by_hand,
                restore=_restore_train,
            ),
            "autodiff": Formulation(
                note="the framework's own differentiation",
                prepare=_prepare_train,
                step=_by_autodiff,
                restore=_restore_train,
            ),
        },
    },
    work=work,
    twins=lambda params, mode: (),
)
