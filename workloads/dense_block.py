"""The dense block of two layers, relu(X·W1)·W2: the twin of pruned blocks and of mixtures of experts."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from backends.ops import Array, HostArray, Matrix, Ops
from workloads import Axis, Parameters, Workload
from workloads.base import Inputs, Mode, Work
from workloads.common import digits, mlp_block

w = Workload(
    "dense_block",
    title="dense block of two layers",
    source="Vaswani et al. 2017, Attention Is All You Need (arXiv:1706.03762), §3.3, without biases",
    role="twin",
    axes={
        "batch": Axis(help="rows of X", low=1, high=1e7, default=128),
        "d": Axis(help="values of a row", low=1, high=1e6, default=768),
        "h": Axis(help="units between the layers", low=1, high=1e6, default=3072),
    },
)
w.preset("smoke", batch=8, d=32, h=48)


@w.inputs
def inputs(p: Parameters, seed: int) -> Inputs:
    """x (b, d) digits, w1 (d, h) and w2 (h, d) normal by the fan in, target (b, d)."""
    rng = np.random.default_rng(seed)
    w1, w2 = rng.standard_normal((p.d, p.h)) * np.sqrt(2 / p.d), rng.standard_normal((p.h, p.d)) / np.sqrt(p.h)
    return {"x": digits.flat(p.batch, p.d, seed), "w1": w1, "w2": w2, "target": rng.standard_normal((p.batch, p.d))}


@w.reference
def reference(mode: Mode, x: HostArray, w1: HostArray, w2: HostArray, target: HostArray) -> Mapping[str, HostArray]:
    """By hand."""
    return mlp_block.reference(mode, x, w1, w2, target)


@w.work
def work(p: Parameters, mode: Mode, itemsize: int) -> Work:
    """As `mlp_block.work`."""
    return mlp_block.work(mode, itemsize, p.batch, p.d, p.h)


def _turned(ops: Ops, x: HostArray, w1: HostArray, w2: HostArray) -> list[Array]:
    return [ops.asarray(x), *(ops.asarray(np.ascontiguousarray(v.T)) for v in (w1, w2))]


@w.formulation(note="weights as they are multiplied", outputs=("y",))
def plain(ops: Ops, x: Array, w1: Array, w2: Array) -> tuple[Array, ...]:
    """Both row-major."""
    return (mlp_block.forward(ops, x, w1, w2),)


@w.formulation(note="weights stored transposed, as layers store them", prepare=_turned, outputs=("y",))
def transposed(ops: Ops, x: Array, w1: Array, w2: Array) -> tuple[Array, ...]:
    """w1 (h, d), w2 (d, h)."""
    return (mlp_block.forward(ops, x, mlp_block.turned(ops, w1), mlp_block.turned(ops, w2)),)


@w.formulation(
    note="a column an example: weights times activities",
    prepare=mlp_block.columns,
    restore=mlp_block.rows_again,
    outputs=("y",),
)
def columns(ops: Ops, x: Array, w1: Array, w2: Array) -> tuple[Array, ...]:
    """As `plain`, everything transposed."""
    return (mlp_block.of_columns(ops, x, w1, w2),)


@w.formulation(
    note="weights laid out ahead, as a server of a trained network does; the relu within the product",
    prepare=mlp_block.packed,
    outputs=("y",),
    executions=("eager",),
)
def packed(ops: Ops, x: Array, w1: Matrix, w2: Matrix) -> tuple[Array, ...]:
    """In the framework's own layout."""
    return (mlp_block.of_packed(ops, x, w1, w2),)


STEP = ("loss", "w1", "w2")


@w.formulation(note="backward by hand", mode="train_step", outputs=STEP)
def by_hand(ops: Ops, x: Array, w1: Array, w2: Array, target: Array) -> tuple[Array, ...]:
    """Five products."""
    return mlp_block.step(ops, x, w1, w2, target)


@w.formulation(note="the framework's own differentiation", mode="train_step", outputs=STEP)
def autodiff(ops: Ops, x: Array, w1: Array, w2: Array, target: Array) -> tuple[Array, ...]:
    """As users write it."""
    return mlp_block.by_autodiff(ops, x, w1, w2, target)


WORKLOAD = w.definition()
