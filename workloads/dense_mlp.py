"""A multilayer perceptron by back-propagation: the twin of the ideas that train each layer on its own.

Linear layers without biases, relu between them, ten classes. A train step is the mean softmax cross-entropy, the
gradient of every weight, w −= lr·∂w.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from backends.ops import Array, HostArray, Matrix, Ops
from workloads import Axis, Parameters, Workload
from workloads.base import LEARNING_RATE, Formulation, Inputs
from workloads.common import digits, networks
from workloads.common.back_propagation import by_back_propagation
from workloads.common.networks import Layers

w = Workload(
    "dense_mlp",
    title="dense MLP",
    source="Nøkland and Eidnes 2019 (arXiv:1901.06656), MLP 784-3×1024-10 without batch norm",
    role="twin",
    tolerances=lambda p: networks.perceptron_tolerances(p.hidden),
    axes={
        "batch": Axis(help="images", low=1, high=1e6, default=128),
        "features": Axis(help="pixels of an image", low=1, high=1e6, default=784),
        "hidden": Axis(help="units of a hidden layer", low=1, high=1e6, default=1024),
        "layers": Axis(help="hidden layers", low=1, high=1000, default=3),
    },
)
w.preset("smoke", batch=8, features=64, hidden=32, layers=2)
w.preset("quick", mode="train_step")
w.preset("standard", mode="train_step")
w.preset("full", mode="train_step", batch=512, hidden=2000, layers=4)


def _layers(p: Parameters) -> Layers:
    return networks.mlp(p.features, p.hidden, p.layers)


@w.inputs
def inputs(p: Parameters, seed: int) -> Inputs:
    """Flat images x (n, features), targets (n, 10) one-hot, weights w0… (fan in, fan out)."""
    weights = networks.he_normal(_layers(p), np.random.default_rng(seed))
    return {"x": digits.flat(p.batch, p.features, seed), "target": digits.one_hot(p.batch, seed), **weights}


by_back_propagation(w, _layers)


# -- formulations -----------------------------------------------------------------------------------------------------
def _prepare_forward(ops: Ops, x: Inputs, p: Parameters) -> Sequence[Array]:
    return [ops.asarray(x["x"]), *networks.put_parameters(ops, _layers(p), x, "nhwc")]


def _prepare_train(ops: Ops, x: Inputs, p: Parameters) -> Sequence[Array]:
    weights = networks.put_parameters(ops, _layers(p), x, "nhwc")
    return [ops.asarray(x["x"]), ops.asarray(x["target"]), *weights]


def _restore_forward(outputs: Sequence[HostArray], x: Inputs, p: Parameters) -> Mapping[str, HostArray]:
    return {"logits": outputs[0]}


def _restore_train(outputs: Sequence[HostArray], x: Inputs, p: Parameters) -> Mapping[str, HostArray]:
    return {"loss": outputs[0], **networks.host_parameters(_layers(p), outputs[1:], "nhwc")}


def _products(ops: Ops, p: Parameters) -> Callable[..., tuple[Array, ...]]:
    layers = _layers(p)

    def run(x: Array, *weights: Array) -> tuple[Array, ...]:
        return (networks.logits(ops, layers, x, weights, "nhwc"),)

    return run


def _prepare_columns(ops: Ops, x: Inputs, p: Parameters) -> Sequence[Array]:
    host = (x["x"], *(x[name] for name in networks.named("w", len(_layers(p)))))
    return [ops.asarray(np.ascontiguousarray(v.T)) for v in host]


def _restore_columns(outputs: Sequence[HostArray], x: Inputs, p: Parameters) -> Mapping[str, HostArray]:
    return {"logits": outputs[0].T}


def _columns(ops: Ops, p: Parameters) -> Callable[..., tuple[Array, ...]]:
    def run(h: Array, *weights: Array) -> tuple[Array, ...]:
        for weight in weights[:-1]:
            h = ops.relu(ops.matmul(weight, h))
        return (ops.matmul(weights[-1], h),)

    return run


def _prepare_packed(ops: Ops, x: Inputs, p: Parameters) -> Sequence[Array | Matrix]:
    weights = (x[name] for name in networks.named("w", len(_layers(p))))
    return [ops.asarray(x["x"]), *(ops.packed_weights(w, p.batch) for w in weights)]


def _packed(ops: Ops, p: Parameters) -> Callable[..., tuple[Array, ...]]:
    def run(h: Array, *weights: Matrix) -> tuple[Array, ...]:
        for weight in weights[:-1]:
            h = ops.packed_matmul(h, weight, relu=True)
        return (ops.packed_matmul(h, weights[-1]),)

    return run


def _by_autodiff(ops: Ops, p: Parameters) -> Callable[..., tuple[Array, ...]]:
    layers = _layers(p)

    def loss(x: Array, target: Array, *weights: Array) -> Any:
        return networks.cross_entropy(ops, networks.logits(ops, layers, x, weights, "nhwc"), target)

    gradients = ops.value_and_grad(loss, range(2, 2 + len(layers)))

    def run(x: Array, target: Array, *weights: Array) -> tuple[Array, ...]:
        value, grads = gradients(x, target, *weights)
        return value, *(ops.sgd_step(w, g, LEARNING_RATE) for w, g in zip(weights, grads, strict=True))

    return run


def _by_hand(transposed: bool) -> Formulation:
    """Backward written out, with weights (fan in, fan out) or, `transposed`, (fan out, fan in)."""

    def prepare(ops: Ops, x: Inputs, p: Parameters) -> Sequence[Array]:
        if not transposed:
            return _prepare_train(ops, x, p)
        layers = _layers(p)
        names = networks.named("w", len(layers))
        weights = (networks.put_transposed(ops, i, x[name], "nhwc") for i, name in zip(layers, names, strict=True))
        return [ops.asarray(x["x"]), ops.asarray(x["target"]), *weights]

    def step(ops: Ops, p: Parameters) -> Callable[..., tuple[Array, ...]]:
        batch = p.batch

        def turned(x: Array) -> Array:
            return ops.permute_dims(x, (1, 0))

        def run(x: Array, target: Array, *weights: Array) -> tuple[Array, ...]:
            read = [x]  # what each layer reads; behind a relu, where it is positive the gradient passes
            for w in weights[:-1]:
                read.append(ops.relu(ops.matmul(read[-1], turned(w) if transposed else w)))
            last = weights[-1]
            log_probability = ops.log_softmax(ops.matmul(read[-1], turned(last) if transposed else last), 1)
            loss = ops.sum(target * log_probability) * (-1.0 / batch)
            d = (ops.exp(log_probability) - target) * (1.0 / batch)
            updated: list[Array] = []
            for i in reversed(range(len(weights))):
                w, h = weights[i], read[i]
                left, right = (turned(d), h) if transposed else (turned(h), d)
                updated.insert(0, ops.sgd_step_along(w, left, right, LEARNING_RATE))
                if i:
                    d = ops.relu_grad(ops.matmul(d, w if transposed else turned(w)), h)
            return loss, *updated

        return run

    def restore(outputs: Sequence[HostArray], x: Inputs, p: Parameters) -> Mapping[str, HostArray]:
        return _restore_train([outputs[0], *(w.T if transposed else w for w in outputs[1:])], x, p)

    stored = ", weights stored (fan out, fan in)" * transposed
    return Formulation(note="the backward products written out" + stored, prepare=prepare, step=step, restore=restore)


w.add(
    "forward",
    products=Formulation(
        note="a product and a relu a layer", prepare=_prepare_forward, step=_products, restore=_restore_forward
    ),
    columns=Formulation(
        note="the same with a column an example", prepare=_prepare_columns, step=_columns, restore=_restore_columns
    ),
    packed=Formulation(
        note="weights laid out ahead, as a server of a trained network does; each relu within its product",
        prepare=_prepare_packed,
        step=_packed,
        restore=_restore_forward,
        executions=("eager",),
    ),
)
w.add(
    "train_step",
    autodiff=Formulation(
        note="the framework's own differentiation", prepare=_prepare_train, step=_by_autodiff, restore=_restore_train
    ),
    by_hand=_by_hand(transposed=False),
    by_hand_transposed=_by_hand(transposed=True),
)

WORKLOAD = w.definition()
