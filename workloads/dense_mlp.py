"""A multilayer perceptron by back-propagation: the twin of the ideas that train each layer on its own.

Linear layers without biases, relu between them, ten classes. A train step is the mean softmax cross-entropy, the
gradient of every weight, w −= lr·∂w.

What a formulation takes over the best of its framework, each in its best execution (results/standard-cpu):

train_step, batch=128 features=784 hidden=1024 layers=3
                               torch         jax  tensorflow
    autodiff                     1.0        best        best
    by_hand                     best         1.0         1.0
    by_hand_transposed           new         new         new

Most ran in one process, alone: a difference under a fifth is noise. `-` is unsupported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from backends.ops import Array, HostArray, Ops
from workloads.base import LEARNING_RATE, Axis, Formulation, Inputs, Mode, Params, Point, Work, Workload
from workloads.common import digits, network_reference, networks
from workloads.common.networks import Layers


def _layers(params: Params) -> Layers:
    return networks.mlp(int(params["features"]), int(params["hidden"]), int(params["layers"]))


def inputs(params: Params, seed: int) -> Inputs:
    """Flat images x (n, features), targets (n, 10) one-hot, weights w0… (fan in, fan out)."""
    batch, features = int(params["batch"]), int(params["features"])
    weights = networks.he_normal(_layers(params), np.random.default_rng(seed))
    return {"x": digits.flat(batch, features, seed), "target": digits.one_hot(batch, seed), **weights}


def reference(x: Inputs, params: Params, mode: Mode) -> Mapping[str, HostArray]:
    """The logits, or the loss and every updated weight."""
    layers = _layers(params)
    if mode == "forward":
        return {"logits": network_reference.logits(layers, x, x["x"])}
    loss, gradients = network_reference.back_propagation(layers, x, x["x"], x["target"])
    return {"loss": loss, **{name: x[name] - LEARNING_RATE * g for name, g in gradients.items()}}


def work(params: Params, mode: Mode, itemsize: int) -> Work:
    """2BΣP_l forward and Σ6BP_l − 2BP_1 a step, the output layer among the l; bytes as in `networks`."""
    count = networks.forward_work if mode == "forward" else networks.back_propagation_work
    return count(_layers(params), int(params["batch"]), itemsize)


def _prepare_forward(ops: Ops, x: Inputs, params: Params) -> Sequence[Array]:
    return [ops.asarray(x["x"]), *networks.put_parameters(ops, _layers(params), x, "nhwc")]


def _prepare_train(ops: Ops, x: Inputs, params: Params) -> Sequence[Array]:
    weights = networks.put_parameters(ops, _layers(params), x, "nhwc")
    return [ops.asarray(x["x"]), ops.asarray(x["target"]), *weights]


def _restore_forward(outputs: Sequence[HostArray], x: Inputs, params: Params) -> Mapping[str, HostArray]:
    return {"logits": outputs[0]}


def _restore_train(outputs: Sequence[HostArray], x: Inputs, params: Params) -> Mapping[str, HostArray]:
    return {"loss": outputs[0], **networks.host_parameters(_layers(params), outputs[1:], "nhwc")}


def _products(ops: Ops, params: Params) -> Callable[..., tuple[Array, ...]]:
    layers = _layers(params)

    def run(x: Array, *weights: Array) -> tuple[Array, ...]:
        return (networks.logits(ops, layers, x, weights, "nhwc"),)

    return run


def _by_autodiff(ops: Ops, params: Params) -> Callable[..., tuple[Array, ...]]:
    layers = _layers(params)

    def loss(x: Array, target: Array, *weights: Array) -> Any:
        return networks.cross_entropy(ops, networks.logits(ops, layers, x, weights, "nhwc"), target)

    gradients = ops.value_and_grad(loss, range(2, 2 + len(layers)))

    def run(x: Array, target: Array, *weights: Array) -> tuple[Array, ...]:
        value, grads = gradients(x, target, *weights)
        return value, *(ops.sgd_step(w, g, LEARNING_RATE) for w, g in zip(weights, grads, strict=True))

    return run


def _by_hand(transposed: bool) -> Formulation:
    """Backward written out, with weights (fan in, fan out) or, `transposed`, (fan out, fan in)."""

    def prepare(ops: Ops, x: Inputs, params: Params) -> Sequence[Array]:
        if not transposed:
            return _prepare_train(ops, x, params)
        layers = _layers(params)
        names = networks.named("w", len(layers))
        weights = (networks.put_transposed(ops, i, x[name], "nhwc") for i, name in zip(layers, names, strict=True))
        return [ops.asarray(x["x"]), ops.asarray(x["target"]), *weights]

    def step(ops: Ops, params: Params) -> Callable[..., tuple[Array, ...]]:
        batch = int(params["batch"])

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

    def restore(outputs: Sequence[HostArray], x: Inputs, params: Params) -> Mapping[str, HostArray]:
        return _restore_train([outputs[0], *(w.T if transposed else w for w in outputs[1:])], x, params)

    stored = ", weights stored (fan out, fan in)" * transposed
    return Formulation(note="the backward products written out" + stored, prepare=prepare, step=step, restore=restore)


def _point(mode: Mode, batch: int, features: int, hidden: int, layers: int) -> Point:
    return Point({"batch": batch, "features": features, "hidden": hidden, "layers": layers}, mode)


WORKLOAD = Workload(
    name="dense_mlp",
    title="dense MLP",
    source="Nøkland and Eidnes 2019 (arXiv:1901.06656), MLP 784-3×1024-10 without batch norm",
    role="twin",
    axes={
        "batch": Axis(help="images", low=1, high=1e6),
        "features": Axis(help="pixels of an image", low=1, high=1e6),
        "hidden": Axis(help="units of a hidden layer", low=1, high=1e6),
        "layers": Axis(help="hidden layers", low=1, high=1000),
    },
    presets={
        "smoke": (_point("forward", 8, 64, 32, 2), _point("train_step", 8, 64, 32, 2)),
        "quick": (_point("train_step", 128, 784, 1024, 3),),
        "standard": (_point("train_step", 128, 784, 1024, 3),),
        "full": (_point("train_step", 512, 784, 2000, 4),),
    },
    inputs=inputs,
    reference=reference,
    formulations={
        "forward": {
            "products": Formulation(
                note="a product and a relu a layer",
                prepare=_prepare_forward,
                step=_products,
                restore=_restore_forward,
            ),
        },
        "train_step": {
            "autodiff": Formulation(
                note="the framework's own differentiation",
                prepare=_prepare_train,
                step=_by_autodiff,
                restore=_restore_train,
            ),
            "by_hand": _by_hand(transposed=False),
            "by_hand_transposed": _by_hand(transposed=True),
        },
    },
    work=work,
    twins=lambda params, mode: (),
)
