"""Polynomials of every value: what the units reach that are not for dense products."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from backends.ops import Array, HostArray, Ops
from workloads import Axis, Parameters, Workload
from workloads.base import Inputs, Mode, Work

CHAINS = 4  # side by side: a single one waits for each of its own results, and reached half of what these do

w = Workload(
    "polynomial",
    title="polynomials of every value",
    source="Horner's rule: as much arithmetic as wanted for each byte",
    role="ceiling",
    axes={
        "elements": Axis(help="values", default=262144, low=1, high=1e9),
        "degree": Axis(help="multiplications and additions of a value in each chain", default=16, low=1, high=1e4),
    },
    smoke={"elements": 256, "degree": 2},
)
for _preset, _elements in (("ideas", 2**18), ("quick", 2**18), ("standard", 2**20), ("full", 2**24)):
    w.preset(_preset, elements=_elements, degree=16, mode="forward", headline=False)


@w.inputs
def inputs(p: Parameters, rng: np.random.Generator) -> Inputs:
    """Values within ±0.9 (elements,)."""
    return {"x": rng.uniform(-0.9, 0.9, p.elements)}


@w.reference
def reference(x: HostArray, p: Parameters) -> Mapping[str, HostArray]:
    """The sum of the chains c(x) = 1 + x(1 + x(… + x·start)), which start from 1, 2, 3, 4."""
    out = np.zeros_like(x)
    for start in range(1, CHAINS + 1):
        chain = np.full_like(x, start)
        for _ in range(p.degree):
            chain = chain * x + 1.0
        out += chain
    return {"out": out}


@w.work
def work(p: Parameters, mode: Mode, itemsize: int) -> Work:
    """2 FLOP a value, chain and degree, and one to add a chain to the others; values are read and written once."""
    moved = 2 * itemsize * p.elements
    return Work(p.elements * (2 * CHAINS * p.degree + CHAINS - 1), moved, moved)


@w.formulation(note="Horner's rule, in four chains", executions=("compiled",), outputs=("out",))
def horner(ops: Ops, p: Parameters, x: Array) -> tuple[Array, ...]:
    """Compiled, since one operation at a time is a matter of bandwidth."""
    chains = [x * 0.0 + float(start) for start in range(1, CHAINS + 1)]
    for _ in range(p.degree):
        chains = [chain * x + 1.0 for chain in chains]
    first, second, third, fourth = chains
    return ((first + second) + (third + fourth),)


WORKLOAD = w.definition()
