"""A convolutional network by back-propagation: the dense path itself, and the twin of local learning on images.

VGG8b of Nøkland and Eidnes: 3×3 convolutions with relu, 2×2 max-pools, a linear layer of 1024, ten classes; no biases
and no batch norm. A train step is the mean softmax cross-entropy, the gradient of every weight, w −= lr·∂w.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from backends.ops import Array, HostArray, Layout, Ops
from workloads import Axis, Parameters, Workload
from workloads.base import LEARNING_RATE, MODES, Formulation, Inputs, Mode, Point, Twin
from workloads.common import digits, networks
from workloads.common.back_propagation import by_back_propagation
from workloads.common.networks import Layers

w = Workload(
    "dense_cnn",
    title="dense CNN",
    source="Nøkland and Eidnes 2019 (arXiv:1901.06656), VGG8b and VGG11b without batch norm",
    leaves_out="nothing, it is the calibration",
    axes={
        "network": Axis(help="which list of layers", kind=str, choices=tuple(networks.VGG)),
        "batch": Axis(help="images", low=1, high=1e5),
        "side": Axis(help="height and width of an image in pixels, halved by every max-pool", low=2, high=1024),
        "channels": Axis(help="channels of an image", low=1, high=64, default=3),
        "width": Axis(
            help="multiplier of the feature maps; below 1 of the linear layer too", kind=float, low=0.005, high=16
        ),
    },
    tolerances=networks.TOLERANCES,
    convolves=True,
)


def _layers(p: Parameters) -> Layers:
    return networks.vgg(p.network, p.side, p.channels, p.width)


@w.inputs
def inputs(p: Parameters, seed: int) -> Inputs:
    """Images x (n, side, side, channels), targets (n, 10) one-hot, weights w0… as filters and matrices."""
    batch, side, channels = p.batch, p.side, p.channels
    weights = networks.he_normal(_layers(p), np.random.default_rng(seed))
    return {"x": digits.images(batch, side, channels, seed), "target": digits.one_hot(batch, seed), **weights}


by_back_propagation(w, _layers)


def _forward(note: str, layout: Layout) -> Formulation:
    def prepare(ops: Ops, x: Inputs, p: Parameters) -> Sequence[Array]:
        return [networks.put_images(ops, x["x"], layout), *networks.put_parameters(ops, _layers(p), x, layout)]

    def step(ops: Ops, p: Parameters) -> Callable[..., tuple[Array, ...]]:
        layers = _layers(p)

        def run(images: Array, *weights: Array) -> tuple[Array, ...]:
            return (networks.logits(ops, layers, images, weights, layout),)

        return run

    def restore(outputs: Sequence[HostArray], x: Inputs, p: Parameters) -> Mapping[str, HostArray]:
        return {"logits": outputs[0]}

    return Formulation(note=note, prepare=prepare, step=step, restore=restore)


def _train(note: str, layout: Layout) -> Formulation:
    def prepare(ops: Ops, x: Inputs, p: Parameters) -> Sequence[Array]:
        images = networks.put_images(ops, x["x"], layout)
        return [images, ops.asarray(x["target"]), *networks.put_parameters(ops, _layers(p), x, layout)]

    def step(ops: Ops, p: Parameters) -> Callable[..., tuple[Array, ...]]:
        layers = _layers(p)

        def loss(images: Array, target: Array, *weights: Array) -> Any:
            return networks.cross_entropy(ops, networks.logits(ops, layers, images, weights, layout), target)

        gradients = ops.value_and_grad(loss, range(2, 2 + len(layers)))

        def run(images: Array, target: Array, *weights: Array) -> tuple[Array, ...]:
            value, grads = gradients(images, target, *weights)
            return value, *(ops.sgd_step(w, g, LEARNING_RATE) for w, g in zip(weights, grads, strict=True))

        return run

    def restore(outputs: Sequence[HostArray], x: Inputs, p: Parameters) -> Mapping[str, HostArray]:
        return {"loss": outputs[0], **networks.host_parameters(_layers(p), outputs[1:], layout)}

    return Formulation(note=note, prepare=prepare, step=step, restore=restore)


# Left out: convolutions as products of a matrix of patches, and weight gradients by hand (docs/results/notes.md).
w.add("forward", nhwc=_forward("channels last", "nhwc"), nchw=_forward("channels first", "nchw"))
w.add(
    "train_step",
    nhwc=_train("channels last, the framework's differentiation", "nhwc"),
    nchw=_train("channels first", "nchw"),
)


@w.twins
def twins(p: Parameters, mode: Mode) -> Sequence[Twin]:
    """Itself: the calibration row."""
    return (Twin("itself", "dense_cnn", p, mode),)


# -- presets ----------------------------------------------------------------------------------------------------------
def _point(mode: Mode, network: str, batch: int, side: int, width: float) -> Point:
    return Point({"network": network, "batch": batch, "side": side, "channels": 3, "width": width}, mode)


def _surveyed(mode: Mode, network: str, batch: int, width: float) -> tuple[Point, ...]:
    """A network whose call takes seconds, surveyed at half its width and a quarter of the batch: a sixteenth of it."""
    small, whole = _point(mode, network, batch // 4, 32, width / 2), _point(mode, network, batch, 32, width)
    return replace(small, headline=False, group=network), replace(whole, survey=False, group=network)


w.preset("smoke", *(_point(mode, "conv2", 2, 8, 1 / 16) for mode in MODES))
w.preset("quick", *(_point(mode, "vgg8b", 32, 32, 1 / 4) for mode in MODES))
w.preset("ideas", _point("train_step", "vgg8b", 32, 32, 1 / 4))
w.preset("standard", *(point for mode in MODES for point in _surveyed(mode, "vgg8b", 128, 1)))
w.preset("full", *(point for mode in MODES for point in _surveyed(mode, "vgg8b", 512, 2)))

WORKLOAD = w.definition()
