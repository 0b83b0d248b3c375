"""The ways to train each layer on its own loss, once against `Ops`: what `local_update` is made of.

Hidden layer l is h_l = relu(W_l·h_{l−1}) with a linear classifier Q_l of its own. Everywhere operands of a step are x,
target, w0…, q0…, classifiers stored as (classes, values).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from backends.ops import Array, HostArray, Layout, Ops
from workloads.base import LEARNING_RATE, Formulation, Inputs, Parameters
from workloads.common import networks
from workloads.common.networks import Classifier, Layer, Layers

CLASSIFIER_VALUES = 2048  # that a local classifier reads at most: the authors' --dim-in-decoder for VGG on CIFAR-10
MLPS: Mapping[str, int] = {"mlp": 3, "mlp8": 8}  # hidden layers; the deep one is for what memory depth costs


def hidden(p: Parameters) -> Layers:
    """The layers that learn, each with a classifier of its own."""
    network, side, channels, width = p.network, p.side, p.channels, p.width
    if network in MLPS:
        units = max(1, round(networks.HIDDEN * width))
        return networks.mlp(side**2 * channels, units, MLPS[network])[:-1]
    return networks.vgg(network, side, channels, width)[:-1]


def classifiers(p: Parameters) -> tuple[Classifier, ...]:
    """The local classifier of each hidden layer."""
    return tuple(networks.classifier(layer, CLASSIFIER_VALUES) for layer in hidden(p))


def linears(p: Parameters) -> Layers:
    """The linear layer of each local classifier."""
    return tuple(c.linear for c in classifiers(p))


def _has(layout: Layout) -> Callable[[Parameters], bool]:
    """An MLP has no maps to lay out: only the channels-last formulation is one."""
    return lambda p: layout == "nhwc" or p.network not in MLPS


def _put(ops: Ops, x: Inputs, p: Parameters, layout: Layout) -> tuple[Array, list[Array]]:
    images = ops.asarray(x["x"]) if p.network in MLPS else networks.put_images(ops, x["x"], layout)
    return images, networks.put_parameters(ops, hidden(p), x, layout)


def _put_step(ops: Ops, x: Inputs, p: Parameters, layout: Layout) -> Sequence[Array]:
    """x, target, w0…, and the classifiers as (classes, values).

    With the few classes in front their products read long rows, which PyTorch's take less time for.
    """
    images, w = _put(ops, x, p, layout)
    heads = linears(p)
    names = networks.named("q", len(heads))
    q = [networks.put_transposed(ops, i, x[name], layout) for i, name in zip(heads, names, strict=True)]
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


def forward(note: str, layout: Layout) -> Formulation:
    """Inference: the hidden layers and the last local classifier."""

    def prepare(ops: Ops, x: Inputs, p: Parameters) -> Sequence[Array]:
        images, w = _put(ops, x, p, layout)
        return [images, *w, networks.put_weights(ops, linears(p)[-1], x[f"q{len(w) - 1}"], layout)]

    def step(ops: Ops, p: Parameters) -> Callable[..., tuple[Array, ...]]:
        layers = (*hidden(p), linears(p)[-1])

        def run(x: Array, *weights: Array) -> tuple[Array, ...]:
            return (networks.logits(ops, layers, x, weights, layout),)

        return run

    def restore(outputs: Sequence[HostArray], x: Inputs, p: Parameters) -> Mapping[str, HostArray]:
        return {"logits": outputs[0]}

    return Formulation(note=note, prepare=prepare, step=step, restore=restore, applies=_has(layout))


def train(
    note: str, layout: Layout, step: Callable[[Ops, Parameters, Layout], Callable[..., tuple[Array, ...]]]
) -> Formulation:
    """Operands: x, target, w0…, q0…. Results: loss0…, w0…, q0…, or one array of all the losses before w0…."""

    def restore(outputs: Sequence[HostArray], x: Inputs, p: Parameters) -> Mapping[str, HostArray]:
        layers = hidden(p)
        count = len(layers)
        losses = [np.asarray(v) for v in np.concatenate([np.atleast_1d(v) for v in outputs[: -2 * count]])]
        return {
            **dict(zip(networks.named("loss", count), losses, strict=True)),
            **networks.host_parameters(layers, outputs[-2 * count : -count], layout),
            **networks.host_parameters(linears(p), [q.T for q in outputs[-count:]], layout, "q"),
        }

    return Formulation(
        note=note,
        prepare=lambda ops, x, p: _put_step(ops, x, p, layout),
        step=lambda ops, p: step(ops, p, layout),
        restore=restore,
        applies=_has(layout),
    )


def layer_by_layer(ops: Ops, p: Parameters, layout: Layout) -> Callable[..., tuple[Array, ...]]:
    """A differentiation for each layer, of its own loss."""
    layers, heads = hidden(p), classifiers(p)

    def local(layer: Layer, classifier: Classifier) -> Callable[..., Any]:
        def loss(w: Array, q: Array, x: Array, target: Array) -> tuple[Any, Array]:
            h = ops.relu(networks.product(ops, layer, x, w, layout))
            return networks.cross_entropy(ops, _scores(ops, classifier, h, q, layout), target), h

        return ops.value_and_grad(loss, (0, 1), has_aux=True)

    gradients = [local(layer, classifier) for layer, classifier in zip(layers, heads, strict=True)]

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


def joint(ops: Ops, p: Parameters, layout: Layout) -> Callable[..., tuple[Array, ...]]:
    """One differentiation of the sum of all losses; no gradient passes from layer to layer."""
    layers, heads = hidden(p), classifiers(p)
    count = len(layers)

    def total(x: Array, target: Array, *parameters: Array) -> tuple[Any, Array]:
        losses = []
        for i, (layer, classifier) in enumerate(zip(layers, heads, strict=True)):
            h = ops.relu(networks.product(ops, layer, x, parameters[i], layout))
            z = _scores(ops, classifier, h, parameters[count + i], layout)
            losses.append(networks.cross_entropy(ops, z, target))
            x = networks.pooled(ops, layer, ops.stop_gradient(h), layout)
        every = ops.stack(losses, 0)
        return ops.sum(every), every

    gradients = ops.value_and_grad(total, range(2, 2 + 2 * count), has_aux=True)

    def run(x: Array, target: Array, *parameters: Array) -> tuple[Array, ...]:
        (_, losses), grads = gradients(x, target, *parameters)
        return losses, *(ops.sgd_step(w, g, LEARNING_RATE) for w, g in zip(parameters, grads, strict=True))

    return run


def by_hand(ops: Ops, p: Parameters, layout: Layout) -> Callable[..., tuple[Array, ...]]:
    """The gradients written out, convolutions as products of patches."""
    layers, heads, batch = hidden(p), classifiers(p), p.batch
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
        for i, (layer, classifier) in enumerate(zip(layers, heads, strict=True)):
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


def by_hand_transposed() -> Formulation:
    """An MLP's local gradients written out, weights (fan out, fan in) as the classifiers always are."""

    def put(ops: Ops, x: Inputs, p: Parameters) -> Sequence[Array]:
        images, target, *parameters = _put_step(ops, x, p, "nhwc")
        layers = hidden(p)
        names = networks.named("w", len(layers))
        weights = (networks.put_transposed(ops, i, x[name], "nhwc") for i, name in zip(layers, names, strict=True))
        return [images, target, *weights, *parameters[len(layers) :]]

    def step(ops: Ops, p: Parameters) -> Callable[..., tuple[Array, ...]]:
        batch, count = p.batch, len(hidden(p))

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

    plain = train("an MLP's local gradients written out, weights stored (fan out, fan in)", "nhwc", by_hand)

    def restore(outputs: Sequence[HostArray], x: Inputs, p: Parameters) -> Mapping[str, HostArray]:
        count = len(hidden(p))
        weights = [w.T for w in outputs[count : 2 * count]]
        return plain.restore([*outputs[:count], *weights, *outputs[2 * count :]], x, p)

    return replace(plain, prepare=put, step=step, restore=restore, applies=lambda p: p.network in MLPS)
