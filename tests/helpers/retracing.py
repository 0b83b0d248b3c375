"""A workload that makes its framework trace again at every call. Copied into a folder by a test."""

import numpy as np

from workloads.base import Axis, Definition, Formulation, Point, Work

calls = [0]


def _again(ops, params):
    framework = type(ops).__module__
    if "torch" in framework:

        def run(x):
            calls[0] += 1  # a guard on a number that is another one at every call
            return (x + calls[0] - calls[0] + 1,)

        return run
    if "jax" in framework:
        import jax

        return lambda x: (jax.jit(lambda y: y + 1)(x),)  # a new function, and a new compilation, at every call
    import tensorflow as tf

    made, real = [], tf.function
    tf.function = lambda *args, **kwargs: made.append(real(*args, **kwargs)) or made[-1]

    def other_shape():
        calls[0] += 1
        made[0](tf.zeros((16 + calls[0],)))

    def run(x):
        if x.shape[0] == 16:
            tf.py_function(other_shape, [], [])
        return (x + 1,)

    return run


WORKLOAD = Definition(
    name="retracing",
    title="what is traced again",
    source="tests",
    axes={"n": Axis(help="length", low=1)},
    presets={"smoke": (Point({"n": 16}),)},
    inputs=lambda params, seed: {"x": np.arange(float(params["n"]))},
    reference=lambda x, params, mode: {"y": x["x"] + 1},
    formulations={
        "forward": {
            name: Formulation(
                note=name,
                prepare=lambda ops, x, params: [ops.asarray(x["x"])],
                step=step,
                restore=lambda outputs, x, params: {"y": outputs[0]},
            )
            for name, step in {"once": lambda ops, params: lambda x: (x + 1,), "again": _again}.items()
        }
    },
    work=lambda params, mode, itemsize: Work(1, 1, 1),
    twins=lambda params, mode: (),
)
