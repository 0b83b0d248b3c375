"""A chain of 20 products whose best formulation does one product more where HWLOTTERY_CHAIN_EXTRA is 1: 5 % more work.

The extra product is with the identity, which the compilers do not know to be one: the result is the same, and so are
the case, its formulas and its twin. The other formulation does three such products in every run and is never the best.
"""

import os

import numpy as np

from workloads.base import Axis, Definition, Formulation, Point, Twin, Work

LINKS = 20
EXTRA = int(os.environ.get("HWLOTTERY_CHAIN_EXTRA", "0"))
DETOUR = 3
SIZES = (96, 256)


def _inputs(p, seed):
    rng = np.random.default_rng(seed)
    shape = (p.size, p.size)
    return {"x": rng.standard_normal(shape), "w": rng.standard_normal(shape) / np.sqrt(p.size), "i": np.eye(p.size)}


def _reference(x, p, mode):
    y = x["x"]
    for _ in range(LINKS):
        y = y @ x["w"]
    return {"y": y}


def _prepare(ops, x, p):
    return [ops.asarray(x[name]) for name in ("x", "w", "i")]


def _step(more):
    def step(ops, p):
        def run(x, w, i):
            for _ in range(LINKS):
                x = ops.matmul(x, w)
            for _ in range(more):
                x = ops.matmul(x, i)
            return (x,)

        return run

    return step


def _formulation(note, more):
    return Formulation(note=note, prepare=_prepare, step=_step(more), restore=lambda outputs, x, p: {"y": outputs[0]})


def _work(p, mode, itemsize):
    n = p.size
    return Work(2 * LINKS * n**3, LINKS * 3 * itemsize * n * n, 4 * itemsize * n * n)


def idea():
    """The chain that grows."""
    forms = {"chain": _formulation("20 products, or 21", EXTRA), "detour": _formulation("23 products", DETOUR)}
    points = [Point({"size": size}) for size in SIZES]
    return _definition(
        "links", "idea", forms, {"quick": points}, lambda p, mode: [Twin("same_shape", "links_plain", {**p}, mode)]
    )


def twin():
    """The chain that does not."""
    return _definition("links_plain", "twin", {"chain": _formulation("20 products", 0)}, {}, lambda p, mode: ())


def _definition(name, role, forms, presets, twins):
    return Definition(
        name=name,
        title=name,
        source="tests",
        role=role,
        axes={"size": Axis(help="rows and columns", low=1)},
        presets=presets,
        inputs=_inputs,
        reference=_reference,
        formulations={"forward": forms},
        work=_work,
        twins=twins,
    )
