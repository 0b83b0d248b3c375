"""Local learning: each layer trains on its own prediction loss, and no gradient crosses a layer.

The `pred` loss of Nøkland and Eidnes: hidden layer l, h_l = relu(W_l·h_{l−1}), has a linear classifier Q_l of its own,
trained by softmax cross-entropy; the gradient of that loss goes to W_l and Q_l and stops at h_{l−1}. The classifier of
a convolution reads its map average-pooled to at most 2048 values. There is no output layer behind the hidden ones:
the last local classifier answers, and `forward` is that inference. No biases and no batch norm.

What it saves is memory, since an activation may go once its layer has learnt. Peak of a step of `mlp8`, 256 units a
layer, 4096 images, over that of back-propagation, each by the framework's own differentiation: 0.53 in PyTorch eager,
0.52 in TensorFlow eager, 0.63 to 0.74 in JAX compiled (tests/test_memory_of_learning.py). It does not where one
differentiation spans all layers: `joint` in TensorFlow eager takes 1.4, for its tape keeps every activation.

What a formulation takes over the best of its framework, each in its best execution (results/standard-cpu):

train_step, network=mlp batch=128 side=28 channels=1 width=1.0
                               torch         jax  tensorflow
    autodiff                    best         1.0         1.1
    joint                        1.2        best         1.0
    by_hand                      1.0         1.0        best
    by_hand_transposed           new         new         new

train_step, network=vgg8b batch=32 side=32 channels=3 width=0.5
                               torch         jax  tensorflow
    autodiff                    best        best        best
    autodiff_nchw                1.2         1.2         1.1
    joint                        1.0         1.0         1.2
    joint_nchw                   1.2         1.3         1.1
    by_hand                      2.0         2.0         1.2

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
from workloads.common.networks import Classifier, Layer, Layers

CLASSIFIER_VALUES = 2048  # that a local classifier reads at most: the authors' --dim-in-decoder for VGG on CIFAR-10
MLPS: Mapping[str, int] = {"mlp": 3, "mlp8": 8}  # hidden layers; the deep one is for what memory depth costs


def _hidden(params: Params) -> Layers:
    network, side, channels, width = (params[a] for a in ("network", "side", "channels", "width"))
    if network in MLPS:
        units = max(1, round(networks.HIDDEN * float(width)))
        return networks.mlp(int(side) ** 2 * int(channels), units, MLPS[str(network)])[:-1]
    return networks.vgg(str(network), int(side), int(channels), float(width))[:-1]


def _classifiers(params: Params) -> tuple[Classifier, ...]:
    return tuple(networks.classifier(layer, CLASSIFIER_VALUES) for layer in _hidden(params))


def _linears(params: Params) -> Layers:
    return tuple(c.linear for c in _classifiers(params))


def inputs(params: Params, seed: int) -> Inputs:
    """Images x, flat for the MLP; targets (n, 10) one-hot; weights w0…; classifiers q0… (values read, 10).

    The authors begin with classifiers of zero, under which a first step changes no w: these begin small instead.
    """
    batch, side, channels = (int(params[a]) for a in ("batch", "side", "channels"))
    rng = np.random.default_rng(seed)
    weights = networks.he_normal(_hidden(params), rng)
    q = {
        name: rng.standard_normal(linear.shape) / np.sqrt(linear.fan_in)
        for name, linear in zip(networks.named("q", len(weights)), _linears(params), strict=True)
    }
    flat = params["network"] in MLPS
    x = digits.flat(batch, side**2 * channels, seed) if flat else digits.images(batch, side, channels, seed)
    return {"x": x, "target": digits.one_hot(batch, seed), **weights, **q}


def reference(x: Inputs, params: Params, mode: Mode) -> Mapping[str, HostArray]:
    """The logits of the last local classifier, or every local loss and every updated weight and classifier."""
    layers, classifiers = _hidden(params), _classifiers(params)
    if mode == "forward":
        last = len(layers) - 1
        weights = {**{name: x[name] for name in networks.named("w", last + 1)}, f"w{last + 1}": x[f"q{last}"]}
        return {"logits": network_reference.logits((*layers, classifiers[-1].linear), weights, x["x"])}
    read = x["x"]
    out: dict[str, HostArray] = {}
    for i, (layer, classifier) in enumerate(zip(layers, classifiers, strict=True)):
        w, q = x[f"w{i}"], x[f"q{i}"]
        loss, dw, dq, read = network_reference.local_gradients(layer, classifier, w, q, read, x["target"])
        out |= {f"loss{i}": loss, f"w{i}": w - LEARNING_RATE * dw, f"q{i}": q - LEARNING_RATE * dq}
    return out


def work(params: Params, mode: Mode, itemsize: int) -> Work:
    """A step: FLOP Σ4BP_l + Σ6B·h_l·C, the products forward and to W_l, and the classifier's three.

    Bytes: each product reads two operands and writes one, the updates read W and ∂W and write W, and the same of Q.
    Live: e·(ΣW + ΣQ + B·max(h_{l−1} + h_l)): two neighbouring activations, where back-propagation keeps all of them.
    """
    layers, linears, batch = _hidden(params), _linears(params), int(params["batch"])
    if mode == "forward":
        return networks.forward_work((*layers, linears[-1]), batch, itemsize)

    def moved(layer: Layer, products: int) -> int:
        return products * (batch * layer.inputs + layer.weights + batch * layer.outputs) + 3 * layer.weights

    flop = sum(2 * layer.flop for layer in layers) + sum(3 * linear.flop for linear in linears)
    parameters = sum(layer.weights for layer in (*layers, *linears))
    return Work(
        batch * flop,
        itemsize * (sum(moved(layer, 2) for layer in layers) + sum(moved(linear, 3) for linear in linears)),
        itemsize * (parameters + batch * max(layer.inputs + layer.outputs for layer in layers)),
    )


def twins(params: Params, mode: Mode) -> Sequence[Twin]:
    """The same network by back-propagation; its output layer takes the place of the local classifiers."""
    batch, side, channels = (int(params[a]) for a in ("batch", "side", "channels"))
    if params["network"] in MLPS:
        hidden = _hidden(params)[0].channels_out
        mlp = {"batch": batch, "features": side**2 * channels, "hidden": hidden, "layers": MLPS[str(params["network"])]}
        return (Twin("back_propagation", "dense_mlp", mlp, mode),)
    return (Twin("back_propagation", "dense_cnn", dict(params), mode),)


def _has(layout: Layout) -> Callable[[Params], bool]:
    """An MLP has no maps to lay out: only the channels-last formulation is one."""
    return lambda params: layout == "nhwc" or params["network"] not in MLPS


# -- formulations ---------------------------------------------------------------------------------------------------
def _put(ops: Ops, x: Inputs, params: Params, layout: Layout) -> tuple[Array, list[Array]]:
    images = ops.asarray(x["x"]) if params["network"] in MLPS else networks.put_images(ops, x["x"], layout)
    return images, networks.put_parameters(ops, _hidden(params), x, layout)


def _put_step(ops: Ops, x: Inputs, params: Params, layout: Layout) -> Sequence[Array]:
    """x, target, w0…, and the classifiers as (classes, values).

    With the few classes in front their products read long rows, which PyTorch's take less time for.
    """
    images, w = _put(ops, x, params, layout)
    linears = _linears(params)
    names = networks.named("q", len(linears))
    q = [networks.put_transposed(ops, i, x[name], layout) for i, name in zip(linears, names, strict=True)]
    return [images, ops.asarray(x["target"]), *w, *q]


def _seen(ops: Ops, classifier: Classifier, h: Array, layout: Layout) -> Array:
    """What a local classifier reads of h: (n, h, w, c) or (n, c, h, w) average-pooled and flat; a vector as it is.

    Windows are 1×1, b×b or 2b×b: the square part is the framework's own pool, two rows are averaged by hand.
    """
    if classifier.linear.flatten is None:
        return h
    (rows, columns), seen = classifier.pool, classifier.linear.flatten
    h = ops.avg_pool2d(h, columns, layout=layout) if columns > 1 else h
    n, values = int(h.shape[0]), classifier.linear.channels_in
    if rows > columns:
        channels = values // (seen[0] * seen[1])
        pairs = (n, seen[0], 2, seen[1] * channels) if layout == "nhwc" else (n, channels * seen[0], 2, seen[1])
        h = ops.sum(ops.reshape(h, pairs), 2) * 0.5
    return ops.reshape(h, (n, values))


def _scores(ops: Ops, classifier: Classifier, h: Array, q: Array, layout: Layout) -> Array:
    """A local classifier's logits (n, classes); q is (classes, values)."""
    return ops.matmul(_seen(ops, classifier, h, layout), ops.permute_dims(q, (1, 0)))


def _forward(note: str, layout: Layout) -> Formulation:
    def prepare(ops: Ops, x: Inputs, params: Params) -> Sequence[Array]:
        images, w = _put(ops, x, params, layout)
        return [images, *w, networks.put_weights(ops, _linears(params)[-1], x[f"q{len(w) - 1}"], layout)]

    def step(ops: Ops, params: Params) -> Callable[..., tuple[Array, ...]]:
        layers = (*_hidden(params), _linears(params)[-1])

        def run(x: Array, *weights: Array) -> tuple[Array, ...]:
            return (networks.logits(ops, layers, x, weights, layout),)

        return run

    def restore(outputs: Sequence[HostArray], x: Inputs, params: Params) -> Mapping[str, HostArray]:
        return {"logits": outputs[0]}

    return Formulation(note=note, prepare=prepare, step=step, restore=restore, applies=_has(layout))


def _train(
    note: str, layout: Layout, step: Callable[[Ops, Params, Layout], Callable[..., tuple[Array, ...]]]
) -> Formulation:
    """Operands: x, target, w0…, q0…. Results: loss0…, w0…, q0…, or one array of all the losses before w0…."""

    def restore(outputs: Sequence[HostArray], x: Inputs, params: Params) -> Mapping[str, HostArray]:
        layers = _hidden(params)
        count = len(layers)
        losses = [np.asarray(v) for v in np.concatenate([np.atleast_1d(v) for v in outputs[: -2 * count]])]
        return {
            **dict(zip(networks.named("loss", count), losses, strict=True)),
            **networks.host_parameters(layers, outputs[-2 * count : -count], layout),
            **networks.host_parameters(_linears(params), [q.T for q in outputs[-count:]], layout, "q"),
        }

    return Formulation(
        note=note,
        prepare=lambda ops, x, params: _put_step(ops, x, params, layout),
        step=lambda ops, params: step(ops, params, layout),
        restore=restore,
        applies=_has(layout),
    )


def _layer_by_layer(ops: Ops, params: Params, layout: Layout) -> Callable[..., tuple[Array, ...]]:
    layers, classifiers = _hidden(params), _classifiers(params)

    def local(layer: Layer, classifier: Classifier) -> Callable[..., Any]:
        def loss(w: Array, q: Array, x: Array, target: Array) -> tuple[Any, Array]:
            h = ops.relu(networks.product(ops, layer, x, w, layout))
            return networks.cross_entropy(ops, _scores(ops, classifier, h, q, layout), target), h

        return ops.value_and_grad(loss, (0, 1), has_aux=True)

    gradients = [local(layer, classifier) for layer, classifier in zip(layers, classifiers, strict=True)]

    def run(x: Array, target: Array, *parameters: Array) -> tuple[Array, ...]:
        losses, updated_w, updated_q = [], [], []
        count = len(layers)
        for i, layer in enumerate(layers):
            w, q = parameters[i], parameters[count + i]
            (loss, h), (dw, dq) = gradients[i](w, q, x, target)
            losses.append(loss)
            updated_w.append(ops.sgd_step(w, dw, LEARNING_RATE))
            updated_q.append(ops.sgd_step(q, dq, LEARNING_RATE))
            x = networks.pooled(ops, layer, h, layout)
        return *losses, *updated_w, *updated_q

    return run


def _joint(ops: Ops, params: Params, layout: Layout) -> Callable[..., tuple[Array, ...]]:
    layers, classifiers = _hidden(params), _classifiers(params)
    count = len(layers)

    def total(x: Array, target: Array, *parameters: Array) -> tuple[Any, Array]:
        losses = []
        for i, (layer, classifier) in enumerate(zip(layers, classifiers, strict=True)):
            h = ops.relu(networks.product(ops, layer, x, parameters[i], layout))
            z = _scores(ops, classifier, h, parameters[count + i], layout)
            losses.append(networks.cross_entropy(ops, z, target))
            x = networks.pooled(ops, layer, ops.stop_gradient(h), layout)
        every = ops.stack(losses, 0)
        return ops.sum(every), every

    gradients = ops.value_and_grad(total, range(2, 2 + 2 * count), has_aux=True)

    def run(x: Array, target: Array, *parameters: Array) -> tuple[Array, ...]:
        (_, losses), grads = gradients(x, target, *parameters)
        return losses, *(ops.sgd_step(p, g, LEARNING_RATE) for p, g in zip(parameters, grads, strict=True))

    return run


def _by_hand(ops: Ops, params: Params, layout: Layout) -> Callable[..., tuple[Array, ...]]:
    layers, classifiers, batch = _hidden(params), _classifiers(params), int(params["batch"])
    count = len(layers)

    def masked(classifier: Classifier, h: Array, d: Array) -> Array:
        """∂L/∂(what relu reads) of h from d, the gradient of what the classifier reads."""
        if classifier.linear.flatten is None:
            return ops.relu_grad(d, h)
        (a, b), (rows, columns) = classifier.pool, classifier.linear.flatten
        d = ops.reshape(d, (batch, rows, 1, columns, 1, -1)) * (1.0 / (a * b))
        return ops.where(ops.reshape(h, (batch, rows, a, columns, b, -1)) > 0, d, 0.0)

    def run(x: Array, target: Array, *parameters: Array) -> tuple[Array, ...]:
        losses, updated_w, updated_q = [], [], []
        for i, (layer, classifier) in enumerate(zip(layers, classifiers, strict=True)):
            w, q = parameters[i], parameters[count + i]
            if layer.is_conv:
                rows = networks.patches(ops, layer, x)
            else:
                rows = ops.reshape(x, (batch, layer.channels_in)) if layer.flatten else x
            matrix = (layer.fan_in, layer.channels_out)
            h = ops.relu(ops.matmul(rows, ops.reshape(w, matrix) if layer.is_conv else w))
            if layer.is_conv:
                h = ops.reshape(h, (batch, layer.side, layer.side, layer.channels_out))
            seen = _seen(ops, classifier, h, layout)
            log_probability = ops.log_softmax(ops.matmul(seen, ops.permute_dims(q, (1, 0))), 1)
            losses.append(ops.sum(target * log_probability) * (-1.0 / batch))
            dz = (ops.exp(log_probability) - target) * (1.0 / batch)
            d = masked(classifier, h, ops.matmul(dz, q))
            d = ops.reshape(d, (-1, layer.channels_out)) if layer.is_conv else d
            flat = ops.reshape(w, matrix) if layer.is_conv else w
            flat = ops.sgd_step_along(flat, ops.permute_dims(rows, (1, 0)), d, LEARNING_RATE)
            updated_w.append(ops.reshape(flat, layer.shape) if layer.is_conv else flat)
            updated_q.append(ops.sgd_step_along(q, ops.permute_dims(dz, (1, 0)), seen, LEARNING_RATE))
            x = networks.pooled(ops, layer, h, layout)
        return *losses, *updated_w, *updated_q

    return run


def _by_hand_transposed() -> Formulation:
    """An MLP's local gradients written out, weights (fan out, fan in) as the classifiers always are."""

    def put(ops: Ops, x: Inputs, params: Params) -> Sequence[Array]:
        images, target, *parameters = _put_step(ops, x, params, "nhwc")
        layers = _hidden(params)
        names = networks.named("w", len(layers))
        weights = (networks.put_transposed(ops, i, x[name], "nhwc") for i, name in zip(layers, names, strict=True))
        return [images, target, *weights, *parameters[len(layers) :]]

    def step(ops: Ops, params: Params) -> Callable[..., tuple[Array, ...]]:
        batch, count = int(params["batch"]), len(_hidden(params))

        def turned(x: Array) -> Array:
            return ops.permute_dims(x, (1, 0))

        def run(x: Array, target: Array, *parameters: Array) -> tuple[Array, ...]:
            losses, updated_w, updated_q = [], [], []
            for w, q in zip(parameters[:count], parameters[count:], strict=True):
                h = ops.relu(ops.matmul(x, turned(w)))
                log_probability = ops.log_softmax(ops.matmul(h, turned(q)), 1)
                losses.append(ops.sum(target * log_probability) * (-1.0 / batch))
                dz = (ops.exp(log_probability) - target) * (1.0 / batch)
                d = ops.relu_grad(ops.matmul(dz, q), h)
                updated_w.append(ops.sgd_step_along(w, turned(d), x, LEARNING_RATE))
                updated_q.append(ops.sgd_step_along(q, turned(dz), h, LEARNING_RATE))
                x = h
            return *losses, *updated_w, *updated_q

        return run

    plain = _train("an MLP's local gradients written out, weights stored (fan out, fan in)", "nhwc", _by_hand)

    def restore(outputs: Sequence[HostArray], x: Inputs, params: Params) -> Mapping[str, HostArray]:
        count = len(_hidden(params))
        weights = [w.T for w in outputs[count : 2 * count]]
        return plain.restore([*outputs[:count], *weights, *outputs[2 * count :]], x, params)

    return replace(plain, prepare=put, step=step, restore=restore, applies=lambda params: params["network"] in MLPS)


def _point(mode: Mode, network: str, batch: int, width: float = 1, side: int = 32, headline: bool = True) -> Point:
    channels = 1 if network in MLPS else 3
    params: Params = {"network": network, "batch": batch, "side": side, "channels": channels, "width": width}
    return Point(params, mode, headline=headline)


def _surveyed(network: str, batch: int, width: float) -> tuple[Point, ...]:
    """A step that takes seconds, surveyed at half the width and a quarter of the batch, as its twin is."""
    small = _point("train_step", network, batch // 4, width / 2, headline=False)
    whole = _point("train_step", network, batch, width)
    return replace(small, group=network), replace(whole, survey=False, group=network)


WORKLOAD = Workload(
    name="local_update",
    title="local learning",
    source="Nøkland and Eidnes 2019 (arXiv:1901.06656), the prediction loss",
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
    presets={
        "smoke": (
            _point("forward", "mlp", 8, 1 / 32, 8),
            _point("train_step", "mlp", 8, 1 / 32, 8),
            _point("forward", "conv2", 2, 1 / 16, 8),
            _point("train_step", "conv2", 2, 1 / 16, 32),
        ),
        "quick": (_point("train_step", "mlp", 128, side=28),),
        "standard": (
            _point("train_step", "mlp", 128, side=28),
            _point("forward", "mlp", 128, side=28, headline=False),
            *_surveyed("vgg8b", 128, 1),
        ),
        "full": (*_surveyed("vgg11b", 128, 3), *_surveyed("vgg8b", 512, 2)),
    },
    inputs=inputs,
    reference=reference,
    formulations={
        "forward": {
            "nhwc": _forward("channels last", "nhwc"),
            "nchw": _forward("channels first", "nchw"),
        },
        "train_step": {
            "autodiff": _train("differentiation layer by layer", "nhwc", _layer_by_layer),
            "autodiff_nchw": _train("layer by layer, channels first", "nchw", _layer_by_layer),
            "joint": _train(
                "one differentiation of the sum of all local losses",
                "nhwc",
                _joint,
            ),
            "joint_nchw": _train("joint, channels first", "nchw", _joint),
            "by_hand": _train(
                "the local gradients written out, convolutions as products of patches",
                "nhwc",
                _by_hand,
            ),
            "by_hand_transposed": _by_hand_transposed(),
        },
    },
    work=work,
    tolerances=networks.TOLERANCES,
    twins=twins,
)
