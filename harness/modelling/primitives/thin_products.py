"""One product with a short side: what is left of a device's matmul rate, and of its bandwidth with a vector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from backends.ops import Array, HostArray, Ops
from workloads import Axis, Parameters, Workload
from workloads.base import Inputs, Mode, Work

LONG = 1280
SIDES = (16, 64, 256)
ROWS = (384, 768, 1536)  # with a vector, where it is the size of the matrix that counts

w = Workload(
    "thin_products",
    title="a product with a short side",
    source="the primitive of layers with few examples",
    role="ceiling",
    axes={
        "rows": Axis(help="rows and columns of the matrix", low=1, high=1e5),
        "side": Axis(help="columns of the other", low=1, high=1e5),
    },
    smoke={"rows": 8, "side": 4},
)
for rows, side in (*((LONG, side) for side in SIDES), *((rows, 1) for rows in ROWS)):
    w.preset("quick", rows=rows, side=side, mode="forward", headline=False)


@w.inputs
def inputs(p: Parameters, rng: np.random.Generator) -> Inputs:
    """A (rows, rows) and B (rows, side)."""
    return {
        "a": rng.standard_normal((p.rows, p.rows)) / np.sqrt(p.rows),
        "b": rng.standard_normal((p.rows, p.side)),
    }


@w.reference
def reference(a: HostArray, b: HostArray) -> Mapping[str, HostArray]:
    """The product."""
    return {"y": a @ b}


@w.work
def work(p: Parameters, mode: Mode, itemsize: int) -> Work:
    """2·rows²·side; each matrix read or written once."""
    moved = itemsize * (p.rows**2 + 2 * p.rows * p.side)
    return Work(2 * p.rows**2 * p.side, moved, moved)


@w.formulation(note="as given", outputs=("y",))
def product(ops: Ops, a: Array, b: Array) -> tuple[Array, ...]:
    """A·B."""
    return (ops.matmul(a, b),)


def _column(ops: Ops, a: HostArray, b: HostArray) -> Sequence[Array]:
    return ops.asarray(a), ops.asarray(np.ascontiguousarray(b[:, 0]))


@w.formulation(
    note="B of one column as a vector",
    prepare=_column,
    restore=lambda y: {"y": y[:, None]},
    applies=lambda p: p.side == 1,
    outputs=("y",),
)
def vector(ops: Ops, a: Array, b: Array) -> tuple[Array, ...]:
    """A·b."""
    return (ops.matmul(a, b),)


WORKLOAD = w.definition()
