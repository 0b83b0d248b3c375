"""A workload whose memory is known: operands, results, temporaries of a stated size. Copied into a folder by tests.

`mib` is the size S of the one operand. `output` makes another S; `temporary` makes S that is gone when the call ends,
and none where a compiler fuses.
"""

import numpy as np

from workloads.base import Axis, Definition, Formulation, Point, Work

WIDTH = 1024


def _prepare(ops, x, params):
    rows = params["mib"] * (1 << 20) // (4 * WIDTH)
    return [ops.asarray(np.tile(x["x"], (rows, 1)))]


def _output(ops, params):
    return lambda a: (a + 1,)


def _temporary(ops, params):
    return lambda a: (ops.max(a + 1, axis=0, keepdims=True),)


def _last_row(outputs, x, params):
    return {"y": outputs[0][-1]}


WORKLOAD = Definition(
    name="known_memory",
    title="memory of a known size",
    source="tests",
    axes={"mib": Axis(help="MiB of the operand", low=1)},
    presets={"smoke": (Point({"mib": 1}),)},
    inputs=lambda params, seed: {"x": np.arange(float(WIDTH))},
    reference=lambda x, params, mode: {"y": x["x"] + 1},
    formulations={
        "forward": {
            "output": Formulation(note="", prepare=_prepare, step=_output, restore=_last_row),
            "temporary": Formulation(note="", prepare=_prepare, step=_temporary, restore=_last_row),
        }
    },
    work=lambda params, mode, itemsize: Work(1, 1, 1),
    twins=lambda params, mode: (),
)
