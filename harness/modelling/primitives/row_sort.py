"""Rows put in order: what a device's comparisons reach."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, log2

import numpy as np

from backends.ops import Array, HostArray, Ops
from workloads import Axis, Parameters, Workload
from workloads.base import Inputs, Mode, Work

w = Workload(
    "row_sort",
    title="rows sorted",
    source="the primitive of every choice by rank",
    role="ceiling",
    lone=True,
    axes={
        "rows": Axis(help="rows", default=256, low=1, high=1e9),
        "width": Axis(help="values of a row", default=1024, low=2, high=1e6),
    },
    smoke={"rows": 4, "width": 8},
)
w.preset("quick", rows=256, width=1024, mode="forward", headline=False)


@w.inputs
def inputs(p: Parameters, rng: np.random.Generator) -> Inputs:
    """Rows (rows, width)."""
    return {"x": rng.standard_normal((p.rows, p.width))}


@w.reference
def reference(x: HostArray) -> Mapping[str, HostArray]:
    """Each row from its smallest value up."""
    return {"out": np.sort(x, axis=-1)}


@w.work
def work(p: Parameters, mode: Mode, itemsize: int) -> Work:
    """⌈log₂ width⌉ comparisons a value, as a merge sort has; read and written once."""
    moved = 2 * itemsize * p.rows * p.width
    return Work(p.rows * p.width * ceil(log2(max(2, p.width))), moved, moved)


@w.formulation(note="sort", outputs=("out",))
def sort(ops: Ops, x: Array) -> tuple[Array, ...]:
    """Along the last axis."""
    return (ops.sort(x),)


WORKLOAD = w.definition()
