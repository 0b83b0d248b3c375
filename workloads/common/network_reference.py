"""The networks in NumPy float64, forward and backward by hand: what the frameworks are held against.

Maps are (n, h, w, c), filters (k, k, ci, co), vectors (n, features). Convolutions are padded to keep the map's size.
Nothing here goes through `Ops`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from backends.ops import HostArray
from workloads.common.networks import Classifier, Layer, named

_PATCH_VALUES = 1 << 25  # the most patch values held at once (256 MiB): large batches go through in parts


def _patches(x: HostArray, kernel: int) -> Iterator[tuple[slice, HostArray]]:
    """Parts of the batch and their windows as a matrix (part·h·w, k·k·c)."""
    n, height, width, channels = x.shape
    pad = kernel // 2
    part = max(1, _PATCH_VALUES // (height * width * channels * kernel**2))
    for start in range(0, n, part):
        here = slice(start, min(start + part, n))
        padded = np.pad(x[here], ((0, 0), (pad, pad), (pad, pad), (0, 0)))
        windows = [padded[:, i : i + height, j : j + width] for i in range(kernel) for j in range(kernel)]
        yield here, np.concatenate(windows, 3).reshape(-1, kernel**2 * channels)


def convolution(x: HostArray, w: HostArray) -> HostArray:
    """Cross-correlation, (n, h, w, co)."""
    out = np.empty((*x.shape[:3], w.shape[3]))
    for here, rows in _patches(x, w.shape[0]):
        out[here] = (rows @ w.reshape(-1, w.shape[3])).reshape(-1, *out.shape[1:])
    return out


def convolution_filter_gradient(x: HostArray, dy: HostArray, kernel: int) -> HostArray:
    """∂L/∂w from the input x and dy = ∂L/∂y, (k, k, ci, co)."""
    total = np.zeros((kernel**2 * x.shape[3], dy.shape[3]))
    for here, rows in _patches(x, kernel):
        total += rows.T @ dy[here].reshape(-1, dy.shape[3])
    return total.reshape(kernel, kernel, x.shape[3], dy.shape[3])


def convolution_input_gradient(dy: HostArray, w: HostArray) -> HostArray:
    """∂L/∂x: the correlation of dy with the filters turned by 180° and their channels exchanged."""
    return convolution(dy, w[::-1, ::-1].transpose(0, 1, 3, 2))


def _windows(x: HostArray, rows: int, columns: int) -> HostArray:
    """(n, h/rows, w/columns, c, rows·columns): the values of each window, row by row."""
    n, height, width, channels = x.shape
    split = x.reshape(n, height // rows, rows, width // columns, columns, channels)
    return split.transpose(0, 1, 3, 5, 2, 4).reshape(n, height // rows, width // columns, channels, rows * columns)


def _unwindows(windows: HostArray, rows: int, columns: int) -> HostArray:
    n, height, width, channels, _ = windows.shape
    split = windows.reshape(n, height, width, channels, rows, columns).transpose(0, 1, 4, 2, 5, 3)
    return split.reshape(n, height * rows, width * columns, channels)


def max_pool(x: HostArray, size: int) -> HostArray:
    """Maximum of size×size windows."""
    return np.asarray(np.max(_windows(x, size, size), axis=-1))


def max_pool_gradient(x: HostArray, dy: HostArray, size: int) -> HostArray:
    """∂L/∂x: dy goes to the first maximum of each window, the others get nothing."""
    windows = _windows(x, size, size)
    gradient = np.zeros_like(windows)
    np.put_along_axis(gradient, np.argmax(windows, axis=-1)[..., None], dy[..., None], axis=-1)
    return _unwindows(gradient, size, size)


def mean_pool(x: HostArray, rows: int, columns: int) -> HostArray:
    """Mean of rows×columns windows."""
    return np.asarray(np.mean(_windows(x, rows, columns), axis=-1))


def mean_pool_gradient(dy: HostArray, rows: int, columns: int) -> HostArray:
    """∂L/∂x: every value of a window gets the same share."""
    return np.repeat(np.repeat(dy, rows, 1), columns, 2) / (rows * columns)


def softmax_cross_entropy(z: HostArray, target: HostArray) -> tuple[HostArray, HostArray]:
    """Mean loss over the batch (a scalar array), and ∂L/∂z = (softmax(z) − target)/n for targets that sum to 1."""
    shifted = z - z.max(axis=1, keepdims=True)
    log_probability = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    loss = np.asarray(-np.sum(target * log_probability) / len(z))
    return loss, (np.exp(log_probability) - target) / len(z)


def product(layer: Layer, w: HostArray, x: HostArray) -> HostArray:
    """A layer's product, without relu."""
    return convolution(x, w) if layer.is_conv else x.reshape(len(x), -1) @ w


def weight_gradient(layer: Layer, x: HostArray, dy: HostArray) -> HostArray:
    """∂L/∂w of `product`."""
    return convolution_filter_gradient(x, dy, layer.kernel) if layer.is_conv else x.reshape(len(x), -1).T @ dy


def logits(layers: Sequence[Layer], w: Mapping[str, HostArray], x: HostArray) -> HostArray:
    """The whole network with the weights `w0`…, (n, classes)."""
    for name, layer in zip(named("w", len(layers) - 1), layers[:-1], strict=True):
        h = np.maximum(product(layer, w[name], x), 0)
        x = max_pool(h, layer.pool) if layer.pool > 1 else h
    return product(layers[-1], w[f"w{len(layers) - 1}"], x)


def back_propagation(
    layers: Sequence[Layer], w: Mapping[str, HostArray], x: HostArray, target: HostArray
) -> tuple[HostArray, dict[str, HostArray]]:
    """Loss and the gradient of each weight of the whole network."""
    read, hidden = [], []  # what each layer reads, and its output before pooling
    for name, layer in zip(named("w", len(layers)), layers, strict=True):
        read.append(x)
        y = product(layer, w[name], x)
        x = y if layer is layers[-1] else np.maximum(y, 0)
        hidden.append(x)
        x = max_pool(x, layer.pool) if layer.pool > 1 else x
    loss, d = softmax_cross_entropy(x, target)
    gradients: dict[str, HostArray] = {}
    for i in reversed(range(len(layers))):
        layer = layers[i]
        if i < len(layers) - 1:
            d = d.reshape(len(d), *(n // layer.pool for n in hidden[i].shape[1:3]), -1) if layer.is_conv else d
            d = max_pool_gradient(hidden[i], d, layer.pool) if layer.pool > 1 else d
            d = d * (hidden[i] > 0)
        gradients[f"w{i}"] = weight_gradient(layer, read[i], d)
        if i:
            d = convolution_input_gradient(d, w[f"w{i}"]) if layer.is_conv else d @ w[f"w{i}"].T
    return loss, gradients


def local_gradients(
    layer: Layer, classifier: Classifier, w: HostArray, q: HostArray, x: HostArray, target: HostArray
) -> tuple[HostArray, HostArray, HostArray, HostArray]:
    """One layer on its own prediction loss: loss, ∂L/∂w, ∂L/∂q, and what the next layer reads."""
    h = np.maximum(product(layer, w, x), 0)
    seen = mean_pool(h, *classifier.pool) if layer.is_conv else h
    flat = seen.reshape(len(seen), -1)
    loss, dz = softmax_cross_entropy(flat @ q, target)
    dh = (dz @ q.T).reshape(seen.shape)
    dh = mean_pool_gradient(dh, *classifier.pool) if layer.is_conv else dh
    gradient = weight_gradient(layer, x, dh * (h > 0))
    return loss, gradient, flat.T @ dz, max_pool(h, layer.pool) if layer.pool > 1 else h
