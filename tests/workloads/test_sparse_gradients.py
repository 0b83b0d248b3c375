"""A sparse train step touches the gradients of the non-zeros alone: the largest array made in a step, by framework."""

from __future__ import annotations

import importlib.util
import math
from functools import cache

import pytest

from backends.discovery import backends
from backends.ops import Device, Unsupported
from harness.measuring.correctness import rounded
from workloads.discovery import workloads

FOUND, _ = workloads()
SHAPE = {"m": 512, "k": 512, "n": 2, "density": 0.01, "pattern": "uniform"}
PARAMS = {"unstructured_sparse": SHAPE, "block_sparse": {**SHAPE, "block": 8, "density": 0.02}}
DENSE = 512 * 512
# These form the whole gradient of A, and their notes say so.
FORMS_ALL = {"csr_dense_sample", "csr_transposing", "bag_dense_sample", "masked_dense"}
# PyTorch differentiates the product of a sparse matrix by a dense product and a mask.
FORMS_ALL_IN = {("torch", "autodiff_csr"), ("torch", "autodiff_coo")}


@cache
def _ops(name):
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    return backends()[0][name].open(Device("cpu"))


def _by_torch(step, operands):
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    made = [0]

    class Sizes(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            tensors = [x for x in tree_leaves(out) if isinstance(x, torch.Tensor)]
            made.extend(x.numel() for x in tensors if x.layout == torch.strided)
            return out

    with Sizes():
        out = step(*operands)
    return [o.shape for o in out[1:-1]], max(made)


def _by_jax(step, operands):
    import jax

    def sizes(jaxpr):
        for equation in jaxpr.eqns:
            yield from (math.prod(getattr(v.aval, "shape", ())) for v in equation.outvars)
            for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda v: hasattr(v, "eqns")):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from sizes(inner)

    closed = jax.make_jaxpr(step)(*operands)
    return [o.shape for o in closed.out_avals[1:-1]], max(sizes(closed.jaxpr))


def _by_tensorflow(step, operands):
    import tensorflow as tf

    concrete = tf.function(step, autograph=False).get_concrete_function(*operands)
    inputs = {id(x.op) for x in concrete.inputs}
    made = [
        x.shape.num_elements() or 0
        for op in concrete.graph.get_operations()
        if id(op) not in inputs
        for x in op.outputs
        if x.shape.rank is not None
    ]
    return [tuple(o.shape) for o in concrete.outputs[1:-1]], max(made)


_LARGEST = {"torch": _by_torch, "jax": _by_jax, "tensorflow": _by_tensorflow}


@pytest.mark.parametrize("framework", list(_LARGEST))
@pytest.mark.parametrize(
    ("workload", "name"), [(w, name) for w in PARAMS for name in FOUND[w].formulations["train_step"]]
)
def test_a_step_makes_no_array_of_the_size_of_the_dense_gradient(framework, workload, name):
    """Those that form it say so and are seen to; of all others the gradient has the shape of the stored values."""
    ops, params, found = _ops(framework), PARAMS[workload], FOUND[workload]
    x = rounded(found.inputs(params, 0), "float32")
    formulation = found.formulations["train_step"][name]
    try:
        operands = formulation.prepare(ops, x, params)
        updated, largest = _LARGEST[framework](formulation.step(ops, params), operands)
    except Unsupported as refusal:
        pytest.skip(f"{framework}: {refusal}")
    if name in FORMS_ALL or (framework, name) in FORMS_ALL_IN:
        assert largest >= DENSE
    else:
        assert largest < DENSE / 4
        stored = sum(math.prod(shape) for shape in updated)  # between the loss and the gradient of B
        assert x["a"].size <= stored < DENSE / 8
