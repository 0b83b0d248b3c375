"""A workload with a known amount of extra work, and its twin without. Copied into a folder by the study of trust."""

import numpy as np

from workloads.base import Axis, Formulation, Work

LINKS = 20  # products in the chain: one more is 5 % more work
POINTS = [{"size": size, "extra": extra} for size in (96, 256) for extra in (0, 1)]


def inputs(params, seed):
    rng, n = np.random.default_rng(seed), params["size"]
    return {"x": rng.standard_normal((n, n)), "w": rng.standard_normal((n, n)) / np.sqrt(n)}


def _links(params):
    return LINKS + params.get("extra", 0)


def reference(x, params, mode):
    y = x["x"]
    for _ in range(_links(params)):
        y = y @ x["w"]
    return {"y": y}


def _prepare(ops, x, params):
    return [ops.asarray(x["x"]), ops.asarray(x["w"])]


def _chain(ops, params):
    links = _links(params)

    def run(x, w):
        for _ in range(links):
            x = ops.matmul(x, w)
        return (x,)

    return run


def _work(params, mode, itemsize):
    n = params["size"]
    return Work(2 * _links(params) * n**3, _links(params) * 3 * itemsize * n * n, 3 * itemsize * n * n)


CHAIN = {
    "forward": {
        "chain": Formulation(
            note="a chain of products",
            prepare=_prepare,
            step=_chain,
            restore=lambda outputs, x, params: {"y": outputs[0]},
        )
    }
}
SIZE = Axis(help="rows and columns", low=1)
