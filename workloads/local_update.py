"""Local learning: each layer trains on its own prediction loss, and no gradient crosses a layer.

The `pred` loss of Nøkland and Eidnes: hidden layer l, h_l = relu(W_l·h_{l−1}), has a linear classifier Q_l of its own,
trained by softmax cross-entropy; the gradient of that loss goes to W_l and Q_l and stops at h_{l−1}. The classifier of
a convolution reads its map average-pooled to at most 2048 values. There is no output layer behind the hidden ones:
the last local classifier answers, and `forward` is that inference. No biases and no batch norm.

What it saves is memory, since an activation may go once its layer has learnt; not where one differentiation spans all
layers (`joint`) and keeps every activation. How much: docs/results/notes.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from backends.ops import HostArray
from workloads import Axis, Parameters, Workload
from workloads.base import LEARNING_RATE, Inputs, Mode, Params, Point, Twin, Work
from workloads.common import digits, local_forms, network_reference, networks
from workloads.common.local_forms import MLPS, classifiers, hidden, linears
from workloads.common.networks import Layer

w = Workload(
    "local_update",
    title="local learning",
    source="Nøkland and Eidnes 2019 (arXiv:1901.06656), the prediction loss",
    leaves_out="one backward pass through all layers",
    axes={
        "network": Axis(help="which list of hidden layers", kind=str, choices=(*MLPS, *networks.VGG)),
        "batch": Axis(help="images", low=1, high=1e6),
        "side": Axis(help="height and width of an image in pixels; every max-pool halves it", low=1, high=1024),
        "channels": Axis(help="channels of an image", low=1, high=64),
        "width": Axis(
            help="multiplier of the 1024 units of an MLP's layer, or of the feature maps",
            kind=float,
            low=0.005,
            high=64,
        ),
    },
    tolerances=networks.TOLERANCES,
    convolves=True,
)


@w.inputs
def inputs(p: Parameters, seed: int) -> Inputs:
    """Images x, flat for the MLP; targets (n, 10) one-hot; weights w0…; classifiers q0… (values read, 10).

    The authors begin with classifiers of zero, under which a first step changes no w: these begin small instead.
    """
    batch, side, channels = p.batch, p.side, p.channels
    rng = np.random.default_rng(seed)
    weights = networks.he_normal(hidden(p), rng)
    q = {
        name: rng.standard_normal(linear.shape) / np.sqrt(linear.fan_in)
        for name, linear in zip(networks.named("q", len(weights)), linears(p), strict=True)
    }
    flat = p.network in MLPS
    x = digits.flat(batch, side**2 * channels, seed) if flat else digits.images(batch, side, channels, seed)
    return {"x": x, "target": digits.one_hot(batch, seed), **weights, **q}


@w.reference
def reference(
    x: HostArray, target: HostArray, p: Parameters, mode: Mode, **weights: HostArray
) -> Mapping[str, HostArray]:
    """The logits of the last local classifier, or every local loss and every updated weight and classifier."""
    layers, heads = hidden(p), classifiers(p)
    if mode == "forward":
        last = len(layers) - 1
        chain = {**weights, f"w{last + 1}": weights[f"q{last}"]}
        return {"logits": network_reference.logits((*layers, heads[-1].linear), chain, x)}
    read = x
    out: dict[str, HostArray] = {}
    for i, (layer, classifier) in enumerate(zip(layers, heads, strict=True)):
        w, q = weights[f"w{i}"], weights[f"q{i}"]
        loss, dw, dq, read = network_reference.local_gradients(layer, classifier, w, q, read, target)
        out |= {f"loss{i}": loss, f"w{i}": w - LEARNING_RATE * dw, f"q{i}": q - LEARNING_RATE * dq}
    return out


@w.work
def work(p: Parameters, mode: Mode, itemsize: int) -> Work:
    """A step: FLOP Σ4BP_l + Σ6B·h_l·C, the products forward and to W_l, and the classifier's three.

    Bytes: each product reads two operands and writes one, the updates read W and ∂W and write W, and the same of Q.
    Live: e·(ΣW + ΣQ + B·max(h_{l−1} + h_l)): two neighbouring activations, where back-propagation keeps all of them.
    """
    layers, heads, batch = hidden(p), linears(p), p.batch
    if mode == "forward":
        return networks.forward_work((*layers, heads[-1]), batch, itemsize)

    def moved(layer: Layer, products: int) -> int:
        values: int = batch * layer.inputs + layer.weights + batch * layer.outputs
        return products * values + 3 * layer.weights

    flop = sum(2 * layer.flop for layer in layers) + sum(3 * linear.flop for linear in heads)
    parameters = sum(layer.weights for layer in (*layers, *heads))
    return Work(
        batch * flop,
        itemsize * (sum(moved(layer, 2) for layer in layers) + sum(moved(linear, 3) for linear in heads)),
        itemsize * (parameters + batch * max(layer.inputs + layer.outputs for layer in layers)),
    )


@w.twins
def twins(p: Parameters, mode: Mode) -> Sequence[Twin]:
    """The same network by back-propagation; its output layer takes the place of the local classifiers."""
    batch, side, channels = p.batch, p.side, p.channels
    if p.network in MLPS:
        units = hidden(p)[0].channels_out
        mlp = {"batch": batch, "features": side**2 * channels, "hidden": units, "layers": MLPS[p.network]}
        return (Twin("back_propagation", "dense_mlp", mlp, mode),)
    return (Twin("back_propagation", "dense_cnn", dict(p), mode),)


w.add("forward", nhwc=local_forms.forward("channels last", "nhwc"), nchw=local_forms.forward("channels first", "nchw"))
w.add(
    "train_step",
    autodiff=local_forms.train("differentiation layer by layer", "nhwc", local_forms.layer_by_layer),
    autodiff_nchw=local_forms.train("layer by layer, channels first", "nchw", local_forms.layer_by_layer),
    joint=local_forms.train("one differentiation of the sum of all local losses", "nhwc", local_forms.joint),
    joint_nchw=local_forms.train("joint, channels first", "nchw", local_forms.joint),
    by_hand=local_forms.train(
        "the local gradients written out, convolutions as products of patches", "nhwc", local_forms.by_hand
    ),
    by_hand_transposed=local_forms.by_hand_transposed(),
)


# -- presets ----------------------------------------------------------------------------------------------------------
def _point(mode: Mode, network: str, batch: int, width: float = 1, side: int = 32, headline: bool = True) -> Point:
    channels = 1 if network in MLPS else 3
    params: Params = {"network": network, "batch": batch, "side": side, "channels": channels, "width": width}
    return Point(params, mode, headline=headline)


def _surveyed(network: str, batch: int, width: float) -> tuple[Point, ...]:
    """A step that takes seconds, surveyed at half the width and a quarter of the batch, as its twin is."""
    small = _point("train_step", network, batch // 4, width / 2, headline=False)
    whole = _point("train_step", network, batch, width)
    return replace(small, group=network), replace(whole, survey=False, group=network)


w.preset(
    "smoke",
    _point("forward", "mlp", 8, 1 / 32, 8),
    _point("train_step", "mlp", 8, 1 / 32, 8),
    _point("forward", "conv2", 2, 1 / 16, 8),
    _point("train_step", "conv2", 2, 1 / 16, 32),
)
w.preset("quick", _point("train_step", "mlp", 128, side=28))
w.preset("ideas", _point("train_step", "mlp", 128, side=28))
w.preset(
    "standard",
    _point("train_step", "mlp", 128, side=28),
    _point("forward", "mlp", 128, side=28, headline=False),
    *_surveyed("vgg8b", 128, 1),
)
w.preset("full", *_surveyed("vgg11b", 128, 3), *_surveyed("vgg8b", 512, 2))

WORKLOAD = w.definition()
