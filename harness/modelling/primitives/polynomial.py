"""A polynomial of every value: what the units reach that are not for dense products."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from backends.ops import Array, HostArray, Ops
from workloads import Axis, Parameters, Workload
from workloads.base import Inputs, Mode, Work

w = Workload(
    "polynomial",
    title="polynomial of every value",
    source="Horner's rule: as much arithmetic as wanted for each byte",
    role="ceiling",
    axes={
        "elements": Axis(help="values", default=262144, low=1, high=1e9),
        "degree": Axis(help="multiplications and additions a value", default=64, low=1, high=1e4),
    },
    smoke={"elements": 256, "degree": 4},
)
w.preset("quick", elements=262144, degree=64, mode="forward", headline=False)


@w.inputs
def inputs(p: Parameters, rng: np.random.Generator) -> Inputs:
    """Values within ±0.9 (elements,)."""
    return {"x": rng.uniform(-0.9, 0.9, p.elements)}


@w.reference
def reference(x: HostArray, p: Parameters) -> Mapping[str, HostArray]:
    """1 + x(1 + x(…))."""
    out = np.ones_like(x)
    for _ in range(p.degree):
        out = out * x + 1.0
    return {"out": out}


@w.work
def work(p: Parameters, mode: Mode, itemsize: int) -> Work:
    """2 FLOP a value and degree; values are read and written once."""
    moved = 2 * itemsize * p.elements
    return Work(2 * p.elements * p.degree, moved, moved)


@w.formulation(note="Horner's rule, in one chain", executions=("compiled",), outputs=("out",))
def horner(ops: Ops, p: Parameters, x: Array) -> tuple[Array, ...]:
    """Compiled, since one operation at a time is a matter of bandwidth."""
    out = x * 0.0 + 1.0
    for _ in range(p.degree):
        out = out * x + 1.0
    return (out,)


WORKLOAD = w.definition()
