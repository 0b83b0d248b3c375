"""Two workloads whose calls take what their formulation says, so that a run of them decides the same every time."""

import time

import numpy as np

from backends.ops import Unsupported
from workloads.base import Axis, Definition, Formulation, Point, Twin, Work

POINTS = [Point({"n": n}, group=f"{n}") for n in range(8, 72, 8)]


def _waits(seconds):
    def step(ops, params):
        def run(x):
            time.sleep(seconds)
            return (x + 1,)

        return run

    return _formulation(step)


def _refused(ops, params):
    raise Unsupported("there is no such operation")


def _formulation(step):
    return Formulation(
        note="waits",
        prepare=lambda ops, x, params: [ops.asarray(x["x"])],
        step=step,
        restore=lambda outputs, x, params: {"y": outputs[0]},
    )


def _definition(name, role, formulations, presets, twins):
    return Definition(
        name=name,
        title=name,
        source="tests",
        role=role,
        axes={"n": Axis(help="values", low=1)},
        presets=presets,
        inputs=lambda params, seed: {"x": np.arange(float(params.n))},
        reference=lambda x, params, mode: {"y": x["x"] + 1},
        formulations={"forward": formulations},
        work=lambda params, mode, itemsize: Work(params.n, 2 * itemsize * params.n, 2 * itemsize * params.n),
        twins=twins,
    )


def idea():
    """One formulation is ten times faster than the next; one is refused."""
    forms = {"short": _waits(0.001), "long": _waits(0.01), "refused": _formulation(_refused)}
    return _definition(
        "steady", "idea", forms, {"smoke": POINTS}, lambda p, mode: [Twin("same_shape", "steady_dense", {**p}, mode)]
    )


def twin():
    """Three times slower."""
    return _definition("steady_dense", "twin", {"plain": _waits(0.003)}, {}, lambda p, mode: ())
