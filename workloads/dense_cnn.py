"""A convolutional network by back-propagation: the dense path itself, and the twin of local learning on images.

VGG8b of Nøkland and Eidnes: 3×3 convolutions with relu, 2×2 max-pools, a linear layer of 1024, ten classes; no biases
and no batch norm. A train step is the mean softmax cross-entropy, the gradient of every weight, w −= lr·∂w.

What a formulation takes over the best of its framework, each in its best execution (results/standard-cpu):

forward, network=vgg8b batch=128 side=32 channels=3 width=1.0
                               torch         jax  tensorflow
    nhwc                         1.1        best        best
    nchw                        best         1.1         1.2

forward, network=vgg8b batch=32 side=32 channels=3 width=0.5
                               torch         jax  tensorflow
    nhwc                         1.0         1.0        best
    nchw                        best        best         1.1

train_step, network=vgg8b batch=32 side=32 channels=3 width=0.5
                               torch         jax  tensorflow
    nhwc                        best        best        best
    nchw                         1.1         1.2         1.2

Most ran in one process, alone: a difference under a fifth is noise. `-` is unsupported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from backends.ops import Array, HostArray, Layout, Ops
from workloads.base import LEARNING_RATE, Axis, Formulation, Inputs, Mode, Params, Point, Twin, Work, Workload
from workloads.common import digits, network_reference, networks
from workloads.common.networks import Layers


def _layers(params: Params) -> Layers:
    return networks.vgg(str(params["network"]), int(params["side"]), int(params["channels"]), float(params["width"]))


def inputs(params: Params, seed: int) -> Inputs:
    """Images x (n, side, side, channels), targets (n, 10) one-hot, weights w0… as filters and matrices."""
    batch, side, channels = (int(params[a]) for a in ("batch", "side", "channels"))
    weights = networks.he_normal(_layers(params), np.random.default_rng(seed))
    return {"x": digits.images(batch, side, channels, seed), "target": digits.one_hot(batch, seed), **weights}


def reference(x: Inputs, params: Params, mode: Mode) -> Mapping[str, HostArray]:
    """The logits, or the loss and every updated weight."""
    layers = _layers(params)
    if mode == "forward":
        return {"logits": network_reference.logits(layers, x, x["x"])}
    loss, gradients = network_reference.back_propagation(layers, x, x["x"], x["target"])
    return {"loss": loss, **{name: x[name] - LEARNING_RATE * g for name, g in gradients.items()}}


def work(params: Params, mode: Mode, itemsize: int) -> Work:
    """The formulas of `networks.forward_work` and `networks.back_propagation_work`."""
    count = networks.forward_work if mode == "forward" else networks.back_propagation_work
    return count(_layers(params), int(params["batch"]), itemsize)


def _forward(note: str, layout: Layout) -> Formulation:
    def prepare(ops: Ops, x: Inputs, params: Params) -> Sequence[Array]:
        return [networks.put_images(ops, x["x"], layout), *networks.put_parameters(ops, _layers(params), x, layout)]

    def step(ops: Ops, params: Params) -> Callable[..., tuple[Array, ...]]:
        layers = _layers(params)

        def run(images: Array, *weights: Array) -> tuple[Array, ...]:
            return (networks.logits(ops, layers, images, weights, layout),)

        return run

    def restore(outputs: Sequence[HostArray], x: Inputs, params: Params) -> Mapping[str, HostArray]:
        return {"logits": outputs[0]}

    return Formulation(note=note, prepare=prepare, step=step, restore=restore)


def _train(note: str, layout: Layout) -> Formulation:
    def prepare(ops: Ops, x: Inputs, params: Params) -> Sequence[Array]:
        images = networks.put_images(ops, x["x"], layout)
        return [images, ops.asarray(x["target"]), *networks.put_parameters(ops, _layers(params), x, layout)]

    def step(ops: Ops, params: Params) -> Callable[..., tuple[Array, ...]]:
        layers = _layers(params)

        def loss(images: Array, target: Array, *weights: Array) -> Any:
            return networks.cross_entropy(ops, networks.logits(ops, layers, images, weights, layout), target)

        gradients = ops.value_and_grad(loss, range(2, 2 + len(layers)))

        def run(images: Array, target: Array, *weights: Array) -> tuple[Array, ...]:
            value, grads = gradients(images, target, *weights)
            return value, *(ops.sgd_step(w, g, LEARNING_RATE) for w, g in zip(weights, grads, strict=True))

        return run

    def restore(outputs: Sequence[HostArray], x: Inputs, params: Params) -> Mapping[str, HostArray]:
        return {"loss": outputs[0], **networks.host_parameters(_layers(params), outputs[1:], layout)}

    return Formulation(note=note, prepare=prepare, step=step, restore=restore)


def _point(mode: Mode, network: str, batch: int, side: int, width: float) -> Point:
    return Point({"network": network, "batch": batch, "side": side, "channels": 3, "width": width}, mode)


def _surveyed(mode: Mode, network: str, batch: int, width: float) -> tuple[Point, ...]:
    """A network whose call takes seconds, surveyed at half its width and a quarter of the batch: a sixteenth of it."""
    small, whole = _point(mode, network, batch // 4, 32, width / 2), _point(mode, network, batch, 32, width)
    return replace(small, headline=False, group=network), replace(whole, survey=False, group=network)


WORKLOAD = Workload(
    name="dense_cnn",
    title="dense CNN",
    source="Nøkland and Eidnes 2019 (arXiv:1901.06656), VGG8b and VGG11b without batch norm",
    axes={
        "network": Axis(help="which list of layers", kind=str, choices=tuple(networks.VGG)),
        "batch": Axis(help="images", low=1, high=1e5),
        "side": Axis(help="height and width of an image in pixels, halved by every max-pool", low=2, high=1024),
        "channels": Axis(help="channels of an image", low=1, high=64),
        "width": Axis(
            help="multiplier of the feature maps; below 1 of the linear layer too", kind=float, low=0.005, high=16
        ),
    },
    presets={
        "smoke": (
            _point("forward", "conv2", 2, 8, 1 / 16),
            _point("train_step", "conv2", 2, 8, 1 / 16),
        ),
        "quick": (
            _point("forward", "vgg8b", 32, 32, 1 / 4),
            _point("train_step", "vgg8b", 32, 32, 1 / 4),
        ),
        "standard": (
            *_surveyed("forward", "vgg8b", 128, 1),
            *_surveyed("train_step", "vgg8b", 128, 1),
        ),
        "full": (
            *_surveyed("forward", "vgg8b", 512, 2),
            *_surveyed("train_step", "vgg8b", 512, 2),
        ),
    },
    inputs=inputs,
    reference=reference,
    # A third way, every convolution one product of a matrix of patches, lost a step 2.2× in JAX compiled, 2.1× in
    # TensorFlow compiled and 4.2× in its graph, 6.7× in PyTorch eager (quarter width, CPU): it is left out. So are
    # weight gradients by hand in JAX, as a product of patches or nine of shifted maps: 1.5×. In TensorFlow a step is
    # fastest in the graph, whose convolutions are oneDNN's; XLA takes 1.3× as long (1.5× with its own gradient of a
    # max-pool).
    formulations={
        "forward": {
            "nhwc": _forward("channels last", "nhwc"),
            "nchw": _forward("channels first", "nchw"),
        },
        "train_step": {
            "nhwc": _train("channels last, the framework's differentiation", "nhwc"),
            "nchw": _train("channels first", "nchw"),
        },
    },
    work=work,
    tolerances=networks.TOLERANCES,
    twins=lambda params, mode: (Twin("itself", "dense_cnn", params, mode),),
)
