"""Many products of small square matrices in one call: what is left of a device's matmul rate as the sides shrink."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from backends.ops import Array, HostArray, Ops
from workloads import Axis, Parameters, Workload
from workloads.base import Inputs, Mode, Work

VALUES = 2**18  # of each operand, so that all stay in a cache
SIDES = (4, 16, 64)

w = Workload(
    "square_products",
    title="small square products, many in one call",
    source="the primitive of capsules and of blocks",
    role="ceiling",
    lone=True,
    axes={
        "batch": Axis(help="products in a call", low=1, high=1e9),
        "side": Axis(help="rows and columns of each matrix", low=1, high=1e4),
    },
    smoke={"batch": 4, "side": 4},
)
for side in SIDES:
    w.preset("quick", batch=VALUES // side**2, side=side, mode="forward", headline=False)


@w.inputs
def inputs(p: Parameters, rng: np.random.Generator) -> Inputs:
    """A and B (batch, side, side)."""
    shape = (p.batch, p.side, p.side)
    return {"a": rng.standard_normal(shape) / np.sqrt(p.side), "b": rng.standard_normal(shape)}


@w.reference
def reference(a: HostArray, b: HostArray) -> Mapping[str, HostArray]:
    """The product of each pair."""
    return {"y": a @ b}


@w.work
def work(p: Parameters, mode: Mode, itemsize: int) -> Work:
    """2·batch·side³; each matrix read or written once."""
    moved = 3 * itemsize * p.batch * p.side**2
    return Work(2 * p.batch * p.side**3, moved, moved)


@w.formulation(note="one batched product", outputs=("y",))
def batched(ops: Ops, a: Array, b: Array) -> tuple[Array, ...]:
    """As given."""
    return (ops.matmul(a, b),)


WORKLOAD = w.definition()
