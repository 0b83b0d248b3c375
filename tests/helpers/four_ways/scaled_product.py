"""An idea of four formulations, as a user would add one: a product with scaled rows. Its twin leaves the scale out."""

import numpy as np

from workloads.base import Axis, Definition, Formulation, Point, Twin, Work


def _inputs(p, seed):
    rng = np.random.default_rng(seed)
    return {
        "a": rng.standard_normal((p.m, p.k)) / np.sqrt(p.k),
        "b": rng.standard_normal((p.k, p.n)),
        "s": rng.standard_normal((p.m, 1)),
    }


def _prepare(ops, x, p):
    return [ops.asarray(x[name]) for name in ("a", "b", "s")]


def _formulation(note, step):
    def make(ops, p):
        return lambda a, b, s: (step(ops, a, b, s),)

    return Formulation(note=note, prepare=_prepare, step=make, restore=lambda outputs, x, p: {"y": outputs[0]})


def _transposed(ops, a, b, s):
    turned = ops.matmul(ops.permute_dims(b, (1, 0)), ops.permute_dims(s * a, (1, 0)))
    return ops.permute_dims(turned, (1, 0))


FORMS = {
    "before": _formulation("the matrix is scaled", lambda ops, a, b, s: ops.matmul(s * a, b)),
    "after": _formulation("the product is scaled", lambda ops, a, b, s: s * ops.matmul(a, b)),
    "transposed": _formulation("the product is made transposed", _transposed),
    "twice": _formulation("half the scale, twice", lambda ops, a, b, s: ops.matmul(0.5 * s * a, b) * 2.0),
}

WORKLOAD = Definition(
    name="scaled_product",
    title="a product with scaled rows",
    source="tests",
    role="idea",
    axes={name: Axis(help="size", low=1) for name in ("m", "k", "n")},
    presets={"quick": [Point({"m": 1024, "k": 1024, "n": 128})]},
    inputs=_inputs,
    reference=lambda x, p, mode: {"y": x["s"] * (x["a"] @ x["b"])},
    formulations={"forward": FORMS},
    work=lambda p, mode, itemsize: Work(
        2 * p.m * p.k * p.n, itemsize * (p.m * p.k + p.k * p.n + p.m * p.n), 2 * itemsize * p.m * p.k
    ),
    twins=lambda p, mode: [Twin("same_shape", "dense_matmul", {"grads": "both", **p}, mode)],
)
