"""The forward-forward algorithm: two forward passes take the place of a forward and a backward one.

Hinton 2022 (arXiv:2212.13345), section 2. Each layer trains on its own: its goodness, the sum of its squared
activities, should be above a threshold θ for real data and below it for negative data, by the loss
softplus(±(θ − goodness)), mean over the doubled batch. A layer reads the length-normalised activities of the layer
before, so that their goodness does not give the answer away, and no gradient passes. Real and negative images carry a
label in their first ten pixels (section 3.3), the right one and a wrong one.

`forward` is one inference pass of a batch with its labels: the goodness summed over all hidden layers but the first
(section 3.3). Classifying an image is ten such passes, one a label.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from backends.ops import Array, HostArray, Ops
from workloads import Axis, Parameters, Workload
from workloads.base import LEARNING_RATE, Formulation, Inputs, Mode, Work
from workloads.common import digits, networks
from workloads.common.networks import Layers

THRESHOLD = 2.0  # θ; the first weights put goodness there, where the logistic loss is steep for both kinds of data
TINY = 1e-4  # added to a length: no division by zero where every unit of a layer is silent

w = Workload(
    "forward_forward",
    title="forward-forward",
    source="Hinton 2022 (arXiv:2212.13345), sections 2 and 3.3",
    leaves_out="one backward pass through all layers",
    axes={
        "batch": Axis(help="real images; a step sees as many negative ones", low=1, high=1e6, default=128),
        "features": Axis(help="pixels of an image, the first ten hold the label", low=11, high=1e6, default=784),
        "hidden": Axis(help="units of a hidden layer", low=1, high=1e6, default=1024),
        "layers": Axis(help="hidden layers", low=2, high=1000, default=3),
    },
)
w.preset("smoke", batch=8, features=64, hidden=32)
w.preset("quick", mode="train_step")
w.preset("ideas", mode="train_step")
w.preset("standard", mode="train_step")
w.preset("standard", mode="forward", headline=False)
w.preset("full", mode="train_step", batch=512, hidden=2000, layers=4)
w.preset("full", mode="forward", batch=512, hidden=2000, layers=4, headline=False)
w.twin("dense_mlp", kind="back_propagation", batch="batch", features="features", hidden="hidden", layers="layers")


def _layers(p: Parameters) -> Layers:
    return networks.mlp(p.features, p.hidden, p.layers)[:-1]


def labelled(images: HostArray, labels: HostArray) -> HostArray:
    """Images with the label one-hot in the first ten pixels, as bright as the brightest pixel; each of length 1."""
    out = images.copy()
    out[:, : digits.CLASSES] = np.eye(digits.CLASSES)[labels] * images.max()
    return np.asarray(out / np.linalg.norm(out, axis=1, keepdims=True))


@w.inputs
def inputs(p: Parameters, seed: int) -> Inputs:
    """Images with a right label, `positive`, and with a wrong one, `negative`, (n, features); weights w0…."""
    rng = np.random.default_rng(seed)
    images, labels = digits.flat(p.batch, p.features, seed), digits.labels(p.batch, seed)
    wrong = (labels + rng.integers(1, digits.CLASSES, p.batch)) % digits.CLASSES
    layers = _layers(p)
    weights = {
        name: rng.standard_normal(layer.shape) * np.sqrt(2 * THRESHOLD / layer.channels_out)
        for name, layer in zip(networks.named("w", len(layers)), layers, strict=True)
    }
    return {"positive": labelled(images, labels), "negative": labelled(images, wrong), **weights}


@w.reference
def reference(
    positive: HostArray, negative: HostArray, p: Parameters, mode: Mode, **weights: HostArray
) -> Mapping[str, HostArray]:
    """`goodness` (n,) of the real batch, or the loss of each layer and every updated weight, by hand."""
    read = positive if mode == "forward" else np.concatenate([positive, negative])
    sign = np.where(np.arange(len(read)) < p.batch, 1.0, -1.0)
    total, out = np.zeros(p.batch), {}
    for i in range(p.layers):
        weight = weights[f"w{i}"]
        y = np.maximum(read @ weight, 0)
        goodness = np.sum(y * y, axis=1)
        if mode == "forward":
            total = total + goodness if i else total
        else:
            short = sign * (THRESHOLD - goodness)  # how far a sample is on the wrong side
            out[f"loss{i}"] = np.asarray(np.mean(np.logaddexp(short, 0)))
            d_goodness = -sign / (1 + np.exp(-short)) / len(read)
            out[f"w{i}"] = weight - LEARNING_RATE * (read.T @ (2 * y * d_goodness[:, None]))
        read = y / (np.sqrt(goodness)[:, None] + TINY)
    return {"goodness": total} if mode == "forward" else out


@w.work
def work(p: Parameters, mode: Mode, itemsize: int) -> Work:
    """A step: FLOP Σ8BP_l, two products of 2B samples a layer; goodness and normalisation are not counted.

    Bytes e·Σ(2·(2B·in + W + 2B·out) + 3W): forward, the weight gradient, the update. Live e·(ΣW + 2B·max(in + out)).
    """
    layers = _layers(p)
    if mode == "forward":
        return networks.forward_work(layers, p.batch, itemsize)
    forward = networks.forward_work(layers, 2 * p.batch, itemsize)
    update = 3 * sum(layer.weights for layer in layers)
    return Work(2 * forward.useful_flop, 2 * forward.least_bytes + itemsize * update, forward.live_bytes)


# -- formulations ---------------------------------------------------------------------------------------------------
def _normalised(ops: Ops, y: Array, goodness: Array) -> Array:
    return y / (ops.expand_dims(ops.sqrt(goodness), 1) + TINY)


def _prepare_forward(ops: Ops, x: Inputs, p: Parameters) -> Sequence[Array]:
    return [ops.asarray(x["positive"]), *networks.put_parameters(ops, _layers(p), x, "nhwc")]


def _prepare_train(ops: Ops, x: Inputs, p: Parameters) -> Sequence[Array]:
    both = np.concatenate([x["positive"], x["negative"]])
    sign = np.repeat([1.0, -1.0], len(x["positive"])).astype(both.dtype)
    return [ops.asarray(both), ops.asarray(sign), *networks.put_parameters(ops, _layers(p), x, "nhwc")]


def _restore_forward(outputs: Sequence[HostArray], x: Inputs, p: Parameters) -> Mapping[str, HostArray]:
    return {"goodness": outputs[0]}


def _restore_train(outputs: Sequence[HostArray], x: Inputs, p: Parameters) -> Mapping[str, HostArray]:
    count = p.layers
    names = [*networks.named("loss", count), *networks.named("w", count)]
    return dict(zip(names, outputs, strict=True))


def _inference(ops: Ops, p: Parameters) -> Callable[..., tuple[Array, ...]]:
    def run(x: Array, first: Array, *weights: Array) -> tuple[Array, ...]:
        y = ops.relu(ops.matmul(x, first))
        goodness = ops.sum(y * y, 1)
        total = None
        for w in weights:
            y = ops.relu(ops.matmul(_normalised(ops, y, goodness), w))
            goodness = ops.sum(y * y, 1)
            total = goodness if total is None else total + goodness
        return (total,)

    return run


def _by_autodiff(ops: Ops, p: Parameters) -> Callable[..., tuple[Array, ...]]:
    scale = 0.5 / p.batch

    def loss_and_goodness(w: Array, x: Array, sign: Array) -> tuple[Any, Array, Array]:
        y = ops.relu(ops.matmul(x, w))
        goodness = ops.sum(y * y, 1)
        return ops.sum(ops.softplus(sign * (THRESHOLD - goodness))) * scale, y, goodness

    def inner(w: Array, x: Array, sign: Array) -> tuple[Any, Array]:
        loss, y, goodness = loss_and_goodness(w, x, sign)
        return loss, _normalised(ops, y, goodness)

    inner_gradient = ops.value_and_grad(inner, (0,), has_aux=True)
    last_gradient = ops.value_and_grad(lambda w, x, sign: loss_and_goodness(w, x, sign)[0], (0,))

    def run(x: Array, sign: Array, *weights: Array) -> tuple[Array, ...]:
        losses, updated = [], []
        for w in weights[:-1]:
            (loss, x), (dw,) = inner_gradient(w, x, sign)
            losses.append(loss)
            updated.append(ops.sgd_step(w, dw, LEARNING_RATE))
        loss, (dw,) = last_gradient(weights[-1], x, sign)
        return *losses, loss, *updated, ops.sgd_step(weights[-1], dw, LEARNING_RATE)

    return run


def _by_hand(ops: Ops, p: Parameters) -> Callable[..., tuple[Array, ...]]:
    scale = 0.5 / p.batch

    def run(x: Array, sign: Array, *weights: Array) -> tuple[Array, ...]:
        losses, updated = [], []
        for i, w in enumerate(weights):
            y = ops.relu(ops.matmul(x, w))
            goodness = ops.sum(y * y, 1)
            short = sign * (THRESHOLD - goodness)
            losses.append(ops.sum(ops.softplus(short)) * scale)
            # ∂loss/∂y = −2·sign·sigmoid(short)·scale·y; the row factor goes to the smaller operand's side
            factor = sign / (ops.exp(-short) + 1.0) * (-2 * scale)
            d = y * ops.expand_dims(factor, 1)
            updated.append(ops.sgd_step_along(w, ops.permute_dims(x, (1, 0)), d, LEARNING_RATE))
            x = _normalised(ops, y, goodness) if i < len(weights) - 1 else x
        return *losses, *updated

    return run


w.add(
    "forward",
    products=Formulation(
        note="a product, a relu and a normalisation a layer",
        prepare=_prepare_forward,
        step=_inference,
        restore=_restore_forward,
    ),
)
w.add(
    "train_step",
    autodiff=Formulation(
        note="differentiation layer by layer", prepare=_prepare_train, step=_by_autodiff, restore=_restore_train
    ),
    by_hand=Formulation(
        note="the local gradient written out", prepare=_prepare_train, step=_by_hand, restore=_restore_train
    ),
)

WORKLOAD = w.definition()
