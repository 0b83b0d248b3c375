"""A workload with the mistakes that its author may make, one a formulation. Copied into a folder by the tests."""

import numpy as np

from workloads.base import Axis, Definition, Formulation, Point, Work


def _prepare(ops, x, params):
    return [ops.asarray(x["x"])]


def _restore(outputs, x, params):
    return {"y": outputs[0], "largest": outputs[1]}


def _answer(ops, x):
    return x + 1, ops.argmax(x, 0)


def _good(ops, params):
    return lambda x: _answer(ops, x)


def _value_error(ops, params):
    def run(x):
        if x.shape[0] > 1:
            raise ValueError(f"rows must be 1, found {x.shape[0]}")
        return _answer(ops, x)

    return run


def _type_error(ops, params):
    def run(x):
        return _answer(ops, x + len(params["n"]))

    return run


def _chatty(ops, params):
    def run(x):
        return _answer(ops, x)

    print("the step is made")
    return run


def _wide(ops, params):
    def run(x):
        y, largest = _answer(ops, x)
        return ops.astype(y, "float64"), largest

    return run


def _float_indices(ops, params):
    def run(x):
        y, largest = _answer(ops, x)
        return y, ops.astype(largest, "float64")

    return run


def _bad_prepare(ops, x, params):
    return [ops.asarray(x["no_such_input"])]


def _bad_restore(outputs, x, params):
    return {"y": outputs[0], "largest": outputs[2]}


def _inputs(params, seed):
    if params["fault"] == "inputs":
        raise KeyError("no inputs here")
    return {"x": np.log(np.arange(float(params["n"])) + (params["fault"] != "infinite inputs"))}


def _reference(x, params, mode):
    if params["fault"] == "reference":
        raise ValueError("no reference here")
    y = x["x"] + 1
    if params["fault"] == "nan":
        y[3] = np.nan
    return {"y": y, "largest": np.argmax(x["x"])}


STEPS = {
    "good": _good,
    "value_error": _value_error,
    "type_error": _type_error,
    "chatty": _chatty,
    "wide": _wide,
    "float_indices": _float_indices,
}
FORMULATIONS = {
    name: Formulation(note=name, prepare=_prepare, step=step, restore=_restore) for name, step in STEPS.items()
}
FORMULATIONS["bad_prepare"] = Formulation(note="bad", prepare=_bad_prepare, step=_good, restore=_restore)
FORMULATIONS["bad_restore"] = Formulation(note="bad", prepare=_prepare, step=_good, restore=_bad_restore)

WORKLOAD = Definition(
    name="faulty",
    title="what authors get wrong",
    source="tests",
    axes={"n": Axis(help="length", low=1), "fault": Axis(help="where", kind=str)},
    presets={"smoke": (Point({"n": 16, "fault": "none"}),)},
    inputs=_inputs,
    reference=_reference,
    formulations={"forward": FORMULATIONS},
    work=lambda params, mode, itemsize: Work(1, 1, 1),
    twins=lambda params, mode: (),
)
