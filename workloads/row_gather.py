"""Rows of a table read by an index: what a device's gather reaches."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from backends.ops import Array, HostArray, Ops
from workloads import Axis, Parameters, Workload
from workloads.base import Inputs, Mode, Work

w = Workload(
    "row_gather",
    title="rows gathered",
    source="the primitive of every sparse product",
    role="ceiling",
    lone=True,
    axes={
        "rows": Axis(help="rows of the table", default=4096, low=1, high=1e9),
        "width": Axis(help="values of a row", default=16, low=1, high=1e6),
        "count": Axis(help="rows that are read", default=65536, low=1, high=1e9),
    },
    smoke={"rows": 16, "width": 4, "count": 32},
)
for _preset, _count in (("ideas", 2**16), ("quick", 2**16), ("standard", 2**18), ("full", 2**22)):
    w.preset(_preset, rows=4096, width=16, count=_count, mode="forward", headline=False)
for _preset, _count in (("standard", 2**18), ("full", 2**22)):  # and from a table that is in no cache
    w.preset(_preset, rows=2**21, width=16, count=_count, mode="forward", survey=False, headline=False)


@w.inputs
def inputs(p: Parameters, rng: np.random.Generator) -> Inputs:
    """The table (rows, width), and where to read (count,), all places alike likely."""
    return {
        "table": rng.standard_normal((p.rows, p.width)),
        "places": rng.integers(0, p.rows, p.count).astype(np.int32),
    }


@w.reference
def reference(table: HostArray, places: HostArray) -> Mapping[str, HostArray]:
    """The rows (count, width)."""
    return {"out": table[places]}


@w.work
def work(p: Parameters, mode: Mode, itemsize: int) -> Work:
    """A row counts as one FLOP, for there is no arithmetic; of the table it is read what there is, at most."""
    moved = itemsize * (min(p.rows, p.count) + p.count) * p.width + 4 * p.count
    return Work(p.count, moved, itemsize * (p.rows + p.count) * p.width + 4 * p.count)


@w.formulation(note="take", outputs=("out",))
def take(ops: Ops, table: Array, places: Array) -> tuple[Array, ...]:
    """Along the first axis."""
    return (ops.take(table, places, 0),)


WORKLOAD = w.definition()
