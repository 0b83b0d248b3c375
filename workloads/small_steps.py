"""Products of almost no work, one after the other: what it costs to begin an operation, a program, a kernel."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from backends.ops import Array, HostArray, Ops
from workloads import Axis, Parameters, Workload
from workloads.base import Inputs, Mode, Work

SIDE = 8

w = Workload(
    "small_steps",
    title="small products in a row",
    source="the primitive of every launch",
    role="ceiling",
    lone=True,
    axes={"steps": Axis(help="products, each of the result before", default=1, low=1, high=1e5)},
    smoke={"steps": 1},
)
for _preset in ("ideas", "quick", "standard", "full"):
    w.preset(_preset, steps=1, mode="forward", headline=False)


@w.inputs
def inputs(p: Parameters, rng: np.random.Generator) -> Inputs:
    """X (8, 8), and an orthogonal matrix (8, 8), with which it stays as large as it is."""
    q, _ = np.linalg.qr(rng.standard_normal((SIDE, SIDE)))
    return {"x": rng.standard_normal((SIDE, SIDE)), "q": q}


@w.reference
def reference(x: HostArray, q: HostArray, p: Parameters) -> Mapping[str, HostArray]:
    """X·Qˢ."""
    return {"out": x @ np.linalg.matrix_power(q, p.steps)}


@w.work
def work(p: Parameters, mode: Mode, itemsize: int) -> Work:
    """2·8³ a product."""
    moved = 3 * p.steps * SIDE * SIDE * itemsize
    return Work(2 * p.steps * SIDE**3, moved, moved)


@w.formulation(note="a product after the other", outputs=("out",))
def products(ops: Ops, p: Parameters, x: Array, q: Array) -> tuple[Array, ...]:
    """None can begin before the last has ended, and no compiler makes one of them."""
    for _ in range(p.steps):
        x = ops.matmul(x, q)
    return (x,)


WORKLOAD = w.definition()
