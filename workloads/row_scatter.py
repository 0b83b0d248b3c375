"""Rows added up by an index: what a device's scatter reaches."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from backends.ops import Array, HostArray, Ops
from workloads import Axis, Parameters, Workload
from workloads.base import Inputs, Mode, Work

w = Workload(
    "row_scatter",
    title="rows scattered",
    source="the primitive of every sum by segment",
    role="ceiling",
    lone=True,
    axes={
        "segments": Axis(help="rows of the result", default=1024, low=1, high=1e9),
        "width": Axis(help="values of a row", default=16, low=1, high=1e6),
        "count": Axis(help="rows that are added", default=32768, low=1, high=1e9),
    },
    smoke={"segments": 8, "width": 4, "count": 32},
)
for _preset, _count in (("ideas", 2**15), ("quick", 2**15), ("standard", 2**18), ("full", 2**22)):
    w.preset(_preset, segments=1024, width=16, count=_count, mode="forward", headline=False)
for _preset, _count in (("standard", 2**18), ("full", 2**22)):  # wider rows
    w.preset(_preset, segments=1024, width=128, count=_count // 8, mode="forward", survey=False, headline=False)


@w.inputs
def inputs(p: Parameters, rng: np.random.Generator) -> Inputs:
    """Rows (count, width), and the segment of each (count,) in order, as the rows of a sparse matrix are."""
    return {
        "rows": rng.standard_normal((p.count, p.width)),
        "places": np.sort(rng.integers(0, p.segments, p.count)).astype(np.int32),
    }


@w.reference
def reference(rows: HostArray, places: HostArray, p: Parameters) -> Mapping[str, HostArray]:
    """The sums (segments, width)."""
    out = np.zeros((p.segments, p.width))
    np.add.at(out, places, rows)
    return {"out": out}


@w.work
def work(p: Parameters, mode: Mode, itemsize: int) -> Work:
    """One addition a value; rows are read, and the result is written, once."""
    moved = itemsize * (p.count + p.segments) * p.width + 4 * p.count
    return Work(p.count * p.width, moved, moved)


@w.formulation(note="segment sum", outputs=("out",))
def segment_sum(ops: Ops, p: Parameters, rows: Array, places: Array) -> tuple[Array, ...]:
    """By sorted segments."""
    return (ops.segment_sum(rows, places, p.segments),)


WORKLOAD = w.definition()
