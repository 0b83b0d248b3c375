"""What learns: each idea's train step and its twin's, in NumPy, for many seeds at once.

A step here is the step of the workload of that name with a learning rate of its own, every array with an axis of seeds
in front; `disagreement` holds it to the workload's float64 reference. How many steps lead to a quality is a property of
the algorithm: it is counted here once, without any framework, and holds for all of them.

An idea that learns joins by an entry in LEARNERS.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import TypeAlias

import numpy as np

from backends.ops import HostArray
from harness.quality.images import CLASSES, FEATURES
from workloads.base import LEARNING_RATE, Definition, Params
from workloads.common import topology
from workloads.forward_forward import THRESHOLD, TINY, labelled

DENSITY = 0.2  # of sparse training's hidden layers

Weights: TypeAlias = dict[str, HostArray]  # each (seeds, …), named as the workload's inputs
Batch: TypeAlias = dict[str, HostArray]  # each (seeds, batch, …)


@dataclass(frozen=True, slots=True)
class NetworkShape:
    """Of the network and of a batch."""

    batch: int = 32
    hidden: int = 128
    layers: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Learner:
    """One way to train a network on the digits. `name` is its workload's; `baseline` is its twin's.

    `axes` gives the workload's axes at a shape. `batch` makes the operands of a batch from images (n, 64) and their
    labels (n,), with a generator for what is drawn; `operands` are their names. `step` changes the weights in place, at
    a rate for each seed (seeds, 1, 1). `predict` gives labels (seeds, n) of images (n, 64).
    """

    name: str
    baseline: str
    axes: Callable[[NetworkShape], Params]
    operands: tuple[str, ...]
    batch: Callable[[HostArray, HostArray, np.random.Generator], Mapping[str, HostArray]]
    step: Callable[[Weights, Batch, HostArray], None]
    predict: Callable[[Weights, HostArray], HostArray]

    def weights(self, workload: Definition, shape: NetworkShape, seed: int) -> Weights:
        """The first weights of one seed, those that the workload begins with, float64 without an axis of seeds."""
        return {name: value for name, value in self._kept(workload, shape, seed).items() if value.dtype.kind == "f"}

    def patterns(self, workload: Definition, shape: NetworkShape, seed: int) -> Mapping[str, HostArray]:
        """What a step reads and leaves as it is, whole numbers: where weights are stored. Most learners have none."""
        return {name: value for name, value in self._kept(workload, shape, seed).items() if value.dtype.kind != "f"}

    def _kept(self, workload: Definition, shape: NetworkShape, seed: int) -> Mapping[str, HostArray]:
        """The workload's inputs but those of a batch."""
        inputs = workload.inputs(workload.check(self.axes(shape)), seed)
        return {name: value for name, value in inputs.items() if name not in self.operands}


# -- back-propagation --------------------------------------------------------------------------------------------------
def _numbered(weights: Weights, prefix: str) -> list[HostArray]:
    return [weights[f"{prefix}{i}"] for i in range(sum(name.startswith(prefix) for name in weights))]


def _error(z: HostArray, target: HostArray) -> HostArray:
    """∂(mean softmax cross-entropy)/∂z."""
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return np.asarray((e / e.sum(axis=-1, keepdims=True) - target) / z.shape[-2])


def _turned(x: HostArray) -> HostArray:
    return np.swapaxes(x, -1, -2)


def back_propagate(weights: Weights, batch: Batch, rate: HostArray) -> None:
    """A step of plain SGD on the mean softmax cross-entropy of a relu network without biases."""
    layers = _numbered(weights, "w")
    read = [batch["x"]]
    for w in layers[:-1]:
        read.append(np.maximum(read[-1] @ w, 0))
    d = _error(read[-1] @ layers[-1], batch["target"])
    for i in reversed(range(len(layers))):
        gradient = _turned(read[i]) @ d
        if i:
            d = (d @ _turned(layers[i])) * (read[i] > 0)
        layers[i] -= rate * gradient


def _relu_network(layers: list[HostArray], x: HostArray) -> HostArray:
    for w in layers[:-1]:
        x = np.maximum(x @ w, 0)
    return np.asarray(np.argmax(x @ layers[-1], axis=-1))


def _one_hot(x: HostArray, y: HostArray, _: np.random.Generator) -> Mapping[str, HostArray]:
    return {"x": x, "target": np.eye(CLASSES)[y]}


# -- sparse training ---------------------------------------------------------------------------------------------------
@cache
def _places(layer: int, inputs: int, units: int, count: int) -> tuple[HostArray, HostArray]:
    """Rows and columns of the stored weights of a layer (inputs, units), in their order: the workload's own pattern."""
    pattern = topology.even_pattern(units, inputs, count, np.random.default_rng([1, layer]))
    return pattern.indices, pattern.rows


def _with_zeros(weights: Weights) -> tuple[Weights, dict[str, tuple[HostArray, HostArray]]]:
    """Every layer (seeds, inputs, units) with its zeros, and where the stored weights of sparse ones are."""
    *sparse, last = _numbered(weights, "w")
    whole, places, inputs, units = {}, {}, FEATURES, last.shape[-2]
    for layer, values in enumerate(sparse):
        name = f"w{layer}"
        places[name] = _places(layer, inputs, units, values.shape[-1])
        whole[name] = np.zeros((len(values), inputs, units), values.dtype)
        whole[name][:, *places[name]] = values
        inputs = units
    return {**whole, f"w{len(sparse)}": last}, places


def learn_sparsely(weights: Weights, batch: Batch, rate: HostArray) -> None:
    """A step of plain SGD at the stored weights (seeds, stored) alone, and at the last layer, which is dense."""
    whole, places = _with_zeros(weights)
    back_propagate(whole, batch, rate)
    for name, (rows, columns) in places.items():
        weights[name][:] = whole[name][:, rows, columns]


def _sparse_network(weights: Weights, x: HostArray) -> HostArray:
    return _relu_network(_numbered(_with_zeros(weights)[0], "w"), x)


# -- local learning ----------------------------------------------------------------------------------------------------
def learn_locally(weights: Weights, batch: Batch, rate: HostArray) -> None:
    """A step of each hidden layer and of its classifier on their own loss; no gradient crosses a layer."""
    x = batch["x"]
    for w, q in zip(_numbered(weights, "w"), _numbered(weights, "q"), strict=True):
        h = np.maximum(x @ w, 0)
        d = _error(h @ q, batch["target"])
        back = (d @ _turned(q)) * (h > 0)
        w -= rate * (_turned(x) @ back)
        q -= rate * (_turned(h) @ d)
        x = h


def _last_classifier(weights: Weights, x: HostArray) -> HostArray:
    return _relu_network([*_numbered(weights, "w"), _numbered(weights, "q")[-1]], x)


# -- forward-forward ---------------------------------------------------------------------------------------------------
def learn_forward(weights: Weights, batch: Batch, rate: HostArray) -> None:
    """A step of each layer: goodness up for real images, down for those with a wrong label."""
    read = np.concatenate([batch["positive"], batch["negative"]], axis=-2)
    count = read.shape[-2]
    sign = np.where(np.arange(count) < count // 2, 1, -1).astype(read.dtype)
    for w in _numbered(weights, "w"):
        y = np.maximum(read @ w, 0)
        goodness = np.sum(y * y, axis=-1)
        # Of what is clearly right the exponential overflows, and its share of the gradient is 0, as it should be.
        with np.errstate(over="ignore"):
            slope = -sign / (1 + np.exp(-sign * (THRESHOLD - goodness))) / count
        w -= rate * (_turned(read) @ (2 * y * slope[..., None]))
        read = y / (np.sqrt(goodness)[..., None] + TINY)


def _most_goodness(weights: Weights, x: HostArray) -> HostArray:
    """The label with which the hidden layers but the first have the most goodness in all; ten passes an image."""
    every = [labelled(x, np.full(len(x), digit)) for digit in range(CLASSES)]
    layers = _numbered(weights, "w")
    read = np.concatenate(every).astype(layers[0].dtype)
    total: HostArray | float = 0.0
    for i, w in enumerate(layers):
        y = np.maximum(read @ w, 0)
        goodness = np.sum(y * y, axis=-1)
        total = total + goodness if i else total
        read = y / (np.sqrt(goodness)[..., None] + TINY)
    goodness = np.asarray(total)
    return np.asarray(np.argmax(goodness.reshape(*goodness.shape[:-1], CLASSES, len(x)), axis=-2))


def _right_and_wrong(x: HostArray, y: HostArray, rng: np.random.Generator) -> Mapping[str, HostArray]:
    wrong = (y + rng.integers(1, CLASSES, len(y))) % CLASSES
    return {"positive": labelled(x, y), "negative": labelled(x, wrong)}


# -- who learns --------------------------------------------------------------------------------------------------------
def _mlp_axes(shape: NetworkShape) -> Params:
    return {"batch": shape.batch, "features": FEATURES, "hidden": shape.hidden, "layers": shape.layers}


def _local_axes(shape: NetworkShape) -> Params:
    side = round(FEATURES**0.5)
    return {"network": "mlp", "batch": shape.batch, "side": side, "channels": 1, "width": shape.hidden / 1024}


def _sparse_axes(shape: NetworkShape) -> Params:
    """The pattern stays as it is drawn: moving it is another phase of the workload, measured for itself."""
    return {**_mlp_axes(shape), "density": DENSITY, "phase": "step", "rule": "rigl"}


_TWIN = Learner(
    name="dense_mlp",
    baseline="dense_mlp",
    axes=_mlp_axes,
    operands=("x", "target"),
    batch=_one_hot,
    step=back_propagate,
    predict=lambda weights, x: _relu_network(_numbered(weights, "w"), x),
)
LEARNERS: Mapping[str, Learner] = {
    learner.name: learner
    for learner in (
        _TWIN,
        replace(_TWIN, name="local_update", axes=_local_axes, step=learn_locally, predict=_last_classifier),
        replace(
            _TWIN,
            name="forward_forward",
            operands=("positive", "negative"),
            batch=_right_and_wrong,
            step=learn_forward,
            predict=_most_goodness,
        ),
        replace(_TWIN, name="sparse_training", axes=_sparse_axes, step=learn_sparsely, predict=_sparse_network),
    )
}
IDEAS = tuple(name for name, learner in LEARNERS.items() if learner.baseline != name)


def stacked(several: list[Weights], dtype: str = "float32") -> Weights:
    """The weights of several seeds as one set with an axis of seeds in front."""
    return {name: np.stack([one[name] for one in several]).astype(dtype) for name in several[0]}


def disagreement(learner: Learner, workload: Definition, shape: NetworkShape, seed: int = 0) -> float:
    """How far a step here is from the workload's own, the largest difference of any weight relative to its change.

    Both in float64, from the workload's own inputs; rounding leaves about 1e-12.
    """
    params = workload.check(learner.axes(shape))
    inputs = workload.inputs(params, seed)
    inputs = {k: np.asarray(v, np.float64 if v.dtype.kind == "f" else None) for k, v in inputs.items()}
    expected = workload.reference(inputs, params, "train_step")
    weights = {k: np.array(inputs[k][None]) for k in learner.weights(workload, shape, seed)}
    batch = {k: inputs[k][None] for k in learner.operands}
    learner.step(weights, batch, np.full((1, 1, 1), LEARNING_RATE))
    return max(
        float(np.abs(weights[k][0] - expected[k]).max() / max(float(np.abs(expected[k] - inputs[k]).max()), 1e-300))
        for k in weights
    )
