"""The networks as data: their layers, what each computes and moves, their first weights, and their parts in `Ops`.

Layers have no bias and no batch norm: the FLOP counts of the workloads are of convolutions and linear layers alone.
Host arrays are channels-last; a flattened map is ordered (height, width, channels). `put_*` and `host_*` translate to
and from the layout of a formulation.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from backends.ops import Array, HostArray, Layout, Ops
from workloads.base import Inputs, Mode, Tolerances, Work, usual_tolerances
from workloads.common.digits import CLASSES

KERNEL = 3  # of every convolution, padded by 1: the map keeps its size
HIDDEN = 1024  # of the linear layer behind the convolutions, and of each layer of the MLP at width 1

# Nøkland and Eidnes 2019 (arXiv:1901.06656), lists as in the authors' code; "M" is a 2×2 max-pool of stride 2.
# "conv2" is none of theirs: every kind of layer once, for where compiling eight layers takes longer than it tells.
VGG: Mapping[str, tuple[int | str, ...]] = {
    "conv2": (64, 128, "M"),
    "vgg8b": (128, 256, "M", 256, 512, "M", 512, "M", 512, "M"),
    "vgg11b": (128, 128, 128, 256, "M", 256, 512, "M", 512, 512, "M", 512, "M"),
}

# Of the networks with max-pools. One maximum or relu that rounding turns the other way moves single weights of a
# float32 step by 2e-4 of the largest (VGG8b, quarter width); the 1 % allowed to the change of every parameter stands.
TOLERANCES: Mapping[tuple[str, Mode], float] = {
    ("float64", "forward"): 1e-10,
    ("float64", "train_step"): 1e-8,
    ("float32", "forward"): 1e-5,
    ("float32", "train_step"): 1e-3,
    ("bfloat16", "forward"): 2e-2,
    ("bfloat16", "train_step"): 5e-2,
    ("float16", "forward"): 2e-3,
    ("float16", "train_step"): 1e-2,
}
# Of a perceptron the relus are so many from here on that rounding turns one of them: a column of 4096 × 4096 weights,
# 128 images, is then off by 4e-4.
WIDE = 2000
STEP: tuple[str, Mode] = ("float32", "train_step")


def perceptron_tolerances(hidden: int) -> Tolerances:
    """The usual ones, and those of a turned relu for the float32 step of `hidden` units or more a layer."""
    return usual_tolerances() | ({STEP: TOLERANCES[STEP]} if hidden >= WIDE else {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A 3×3 convolution on a square map, or a linear layer (`kernel` 1, `side` 1); relu follows it, except on the last.

    `pool` is the side of the max-pool behind it (1: none). `flatten` is the height and width of the map that a linear
    layer reads, None where it reads a vector. Counts are per sample, in values or FLOP.
    """

    channels_in: int
    channels_out: int
    kernel: int = 1
    side: int = 1
    pool: int = 1
    flatten: tuple[int, int] | None = None

    @property
    def is_conv(self) -> bool:
        """Whether the weights are filters."""
        return self.kernel > 1

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the weights: (k, k, ci, co), or (fan in, fan out)."""
        ends = (self.channels_in, self.channels_out)
        return (self.kernel, self.kernel, *ends) if self.is_conv else ends

    @property
    def fan_in(self) -> int:
        """Values that one output is a sum over."""
        return self.kernel**2 * self.channels_in

    @property
    def weights(self) -> int:
        """Values of the weights."""
        return self.fan_in * self.channels_out

    @property
    def inputs(self) -> int:
        """Values read."""
        return self.side**2 * self.channels_in

    @property
    def outputs(self) -> int:
        """Values written, before any pooling."""
        return self.side**2 * self.channels_out

    @property
    def flop(self) -> int:
        """Of one product: forward, and each of the two backward products; zero padding is counted, as is usual."""
        return 2 * self.side**2 * self.weights


@dataclass(frozen=True, slots=True, kw_only=True)
class Classifier:
    """The local classifier of a layer: average-pool by `pool` (height, width), flatten, `linear` to the classes."""

    pool: tuple[int, int]
    linear: Layer


Layers: TypeAlias = tuple[Layer, ...]


def mlp(features: int, hidden: int, layers: int) -> Layers:
    """`layers` hidden layers of `hidden` units, and the output layer."""
    sizes = (features, *(hidden,) * layers, CLASSES)
    return tuple(Layer(channels_in=i, channels_out=o) for i, o in itertools.pairwise(sizes))


def vgg(network: str, side: int, channels: int, width: float) -> Layers:
    """The layers of a network of `VGG` for side×side×channels images, and the output layer.

    `width` multiplies the feature maps, as the paper's "2x" and "3x" do: its linear layer stays at 1024 units there.
    Below 1 the linear layer shrinks with the maps. ValueError when `side` cannot be halved by every max-pool.
    """
    plan = VGG[network]
    halvings = plan.count("M")
    if side % 2**halvings:
        raise ValueError(
            f"axis side of {network} must be a multiple of {2**halvings} for its {halvings} max-pools, found {side}"
        )
    layers: list[Layer] = []
    for entry, behind in zip(plan, (*plan[1:], None), strict=True):
        if isinstance(entry, int):
            pool, co = 2 if behind == "M" else 1, max(1, round(entry * width))
            layers.append(Layer(channels_in=channels, channels_out=co, kernel=KERNEL, side=side, pool=pool))
            channels, side = co, side // pool
    hidden = max(1, round(HIDDEN * min(width, 1)))
    layers.append(Layer(channels_in=side * side * channels, channels_out=hidden, flatten=(side, side)))
    return (*layers, Layer(channels_in=hidden, channels_out=CLASSES))


def classifier(layer: Layer, limit: int) -> Classifier:
    """The local classifier of a hidden layer; it reads the layer's output before the max-pool.

    A map of more than `limit` values is average-pooled: height and width are halved in turn until it fits, as the
    authors' train.py does for its --dim-in-decoder.
    """
    if not layer.is_conv:
        return Classifier(pool=(1, 1), linear=Layer(channels_in=layer.channels_out, channels_out=CLASSES))
    rows = columns = 1
    while layer.outputs // (rows * columns) > limit and rows < layer.side:
        rows *= 2
        if layer.outputs // (rows * columns) > limit:
            columns *= 2
    seen = (layer.side // rows, layer.side // columns)
    linear = Layer(channels_in=seen[0] * seen[1] * layer.channels_out, channels_out=CLASSES, flatten=seen)
    return Classifier(pool=(rows, columns), linear=linear)


def named(prefix: str, count: int) -> list[str]:
    """`w0`, `w1`, …"""
    return [f"{prefix}{i}" for i in range(count)]


def he_normal(layers: Sequence[Layer], rng: np.random.Generator) -> dict[str, HostArray]:
    """Weights `w0`… whose activations keep a mean square of about 1 behind each relu (He et al. 2015)."""
    return {
        name: rng.standard_normal(layer.shape) * math.sqrt(2 / layer.fan_in)
        for name, layer in zip(named("w", len(layers)), layers, strict=True)
    }


# -- what the mathematics needs -------------------------------------------------------------------------------------
def forward_work(layers: Sequence[Layer], batch: int, itemsize: int) -> Work:
    """FLOP Σ f_l; bytes e·Σ(B·in_l + W_l + B·out_l); live e·(ΣW + B·max(in_l + out_l)).

    f_l is 2·B·OH·OW·Co·Ci·k² of a convolution and 2·B·I·O of a linear layer; out_l is counted before the max-pool and
    in_{l+1} behind it. Relu, pooling and loss have no FLOP and no traffic of their own.
    """
    parameters = sum(layer.weights for layer in layers)
    ends = [layer.inputs + layer.outputs for layer in layers]
    return Work(
        batch * sum(layer.flop for layer in layers),
        itemsize * (parameters + batch * sum(ends)),
        itemsize * (parameters + batch * max(ends)),
    )


def back_propagation_work(layers: Sequence[Layer], batch: int, itemsize: int) -> Work:
    """FLOP Σ 3f_l − f_1: forward and two backward products a layer, the images need no gradient.

    Bytes e·(Σ(in+W+out)·(3, first layer 2) + 3ΣW): the weight gradient reads in and ∂out and writes ∂W, the input
    gradient reads ∂out and W and writes ∂in, the update reads W and ∂W and writes W. Live: the parameters and, at the
    worst layer l, what all layers up to l have read and l's output, e·(ΣW + B·max_l(Σ_{j≤l} in_j + out_l)), which is
    ΣW + BΣh_l of an MLP. A weight gradient is not in it: the least is to apply it as it arises.
    """
    moved = [batch * layer.inputs + layer.weights + batch * layer.outputs for layer in layers]
    parameters = sum(layer.weights for layer in layers)
    kept = np.cumsum([layer.inputs for layer in layers])
    return Work(
        batch * (3 * sum(layer.flop for layer in layers) - layers[0].flop),
        itemsize * (3 * sum(moved) - moved[0] + 3 * parameters),
        itemsize * (parameters + batch * max(int(k) + i.outputs for k, i in zip(kept, layers, strict=True))),
    )


# -- translation between the host and a formulation's layout --------------------------------------------------------
def put_images(ops: Ops, x: HostArray, layout: Layout) -> Array:
    """Images (n, h, w, c) to the device in `layout`."""
    return ops.asarray(np.ascontiguousarray(x.transpose(0, 3, 1, 2)) if layout == "nchw" else x)


def put_weights(ops: Ops, layer: Layer, w: HostArray, layout: Layout) -> Array:
    """Weights to the device; a linear layer's rows are put in the order in which `layout` flattens its map."""
    return ops.filters(w) if layer.is_conv else ops.asarray(np.ascontiguousarray(_rows_as(layer, w, layout)))


def put_transposed(ops: Ops, layer: Layer, w: HostArray, layout: Layout) -> Array:
    """The weights of a linear layer as (out, in), the columns in that order."""
    return ops.asarray(np.ascontiguousarray(_rows_as(layer, w, layout).T))


def _rows_as(layer: Layer, w: HostArray, layout: Layout) -> HostArray:
    if layer.flatten and layout == "nchw":
        return w.reshape(*layer.flatten, -1, layer.channels_out).transpose(2, 0, 1, 3).reshape(layer.shape)
    return w


def host_weights(layer: Layer, w: HostArray, layout: Layout) -> HostArray:
    """The inverse of `put_weights`, on a host copy."""
    if layer.flatten and layout == "nchw":
        rows, columns = layer.flatten
        return w.reshape(-1, rows, columns, layer.channels_out).transpose(1, 2, 0, 3).reshape(layer.shape)
    return w


def put_parameters(ops: Ops, layers: Sequence[Layer], x: Inputs, layout: Layout, prefix: str = "w") -> list[Array]:
    """All weights called `prefix`0… to the device."""
    names = named(prefix, len(layers))
    return [put_weights(ops, layer, x[name], layout) for name, layer in zip(names, layers, strict=True)]


def host_parameters(
    layers: Sequence[Layer], outputs: Sequence[HostArray], layout: Layout, prefix: str = "w"
) -> dict[str, HostArray]:
    """Host copies of updated weights under their names, in the host's order."""
    names = named(prefix, len(layers))
    return {name: host_weights(i, w, layout) for name, i, w in zip(names, layers, outputs, strict=True)}


# -- the parts of a network in Ops ----------------------------------------------------------------------------------
def patches(ops: Ops, layer: Layer, x: Array) -> Array:
    """The windows of x (n, h, w, ci) as a matrix (n·h·w, k·k·ci), in the order of filters (k, k, ci, co)."""
    n, side = int(x.shape[0]), layer.side
    x = _padded(ops, x, layer.kernel // 2)
    views = [x[:, i : i + side, j : j + side, :] for i in range(layer.kernel) for j in range(layer.kernel)]
    return ops.reshape(ops.concat(views, 3), (n * side * side, layer.fan_in))


def _padded(ops: Ops, x: Array, pad: int) -> Array:
    """Zeros around the map, made from the map's own edge: `Ops.zeros` would have to be told the dtype."""
    rows = x[:, :pad, ...] * 0
    x = ops.concat([rows, x, rows], 1)
    columns = x[:, :, :pad, ...] * 0
    return ops.concat([columns, x, columns], 2)


def product(ops: Ops, layer: Layer, x: Array, w: Array, layout: Layout) -> Array:
    """A layer's product x·W, without relu; a map is flattened first where the layer is linear."""
    if layer.is_conv:
        return ops.conv2d(x, w, stride=1, padding=layer.kernel // 2, layout=layout)
    if layer.flatten:
        x = ops.reshape(x, (int(x.shape[0]), layer.channels_in))
    return ops.matmul(x, w)


def pooled(ops: Ops, layer: Layer, h: Array, layout: Layout) -> Array:
    """What the next layer reads."""
    return h if layer.pool == 1 else ops.max_pool2d(h, layer.pool, layout=layout)


def logits(ops: Ops, layers: Sequence[Layer], x: Array, weights: Sequence[Array], layout: Layout) -> Array:
    """The whole network, (n, classes).

    A max-pool stands before its relu: the largest of relus is the relu of the largest, of a quarter of the values.
    """
    for layer, w in zip(layers[:-1], weights[:-1], strict=True):
        x = ops.relu(pooled(ops, layer, product(ops, layer, x, w, layout), layout))
    return product(ops, layers[-1], x, weights[-1], layout)


def cross_entropy(ops: Ops, z: Array, target: Array) -> Array:
    """Softmax cross-entropy of logits z against `target` (n, classes), mean over the batch."""
    return ops.sum(target * ops.log_softmax(z, 1)) * (-1.0 / int(z.shape[0]))
