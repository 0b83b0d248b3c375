"""TensorFlow's candidates of `bench_best`: networks and their steps, local ones too."""

from __future__ import annotations

import tensorflow as tf
from _candidates import MAPS, local_windows
from _tensorflow_by_hand import RATE, TRACED, candidate, conv, put, raw


def _pool(x):
    return tf.nn.max_pool2d(x, 2, 2, "VALID")


def _pool_slices(x):
    """Of strided slices: XLA's gradient of a reduced window is a select-and-scatter."""
    top = tf.maximum(x[:, ::2, ::2], x[:, ::2, 1::2])
    return tf.maximum(top, tf.maximum(x[:, 1::2, ::2], x[:, 1::2, 1::2]))


def _pool_reshaped(x):
    n, side, _, c = x.shape
    return tf.reduce_max(tf.reshape(x, (n, side // 2, 2, side // 2, 2, c)), (2, 4))


def _pool_pairs(x):
    """Rows first, then columns: each a reshape to pairs and a maximum of two slices."""
    n, side, _, c = x.shape
    x = tf.reshape(x, (n, side // 2, 2, side * c))
    x = tf.reshape(tf.maximum(x[:, :, 0], x[:, :, 1]), (n, side // 2, side // 2, 2, c))
    return tf.maximum(x[:, :, :, 0], x[:, :, :, 1])


def _cnn(h, weights, pool, pool_first):
    for w, pools in zip(weights, MAPS, strict=False):
        h = conv(h, w)
        if pools and pool_first:  # a maximum of relus is the relu of the maximum, a quarter of the values
            h = pool(h)
        h = tf.nn.relu(h)
        if pools and not pool_first:
            h = pool(h)
    h = tf.nn.relu(raw.MatMul(a=tf.reshape(h, (h.shape[0], -1)), b=weights[-2]))
    return raw.MatMul(a=h, b=weights[-1])


def _weights(x):
    return [x[f"w{i}"] for i in range(8)]


def _cnn_forward(pool, pool_first):
    def make(x, params):
        return lambda h, *w: (_cnn(h, w, pool, pool_first),), put(x["x"], *_weights(x)), lambda o: {"logits": o[0]}

    return make


def _cnn_step(pool, pool_first):
    def step(h, target, *weights):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
            z = _cnn(h, weights, pool, pool_first)
            value = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(target, z))
        grads = tape.gradient(value, weights)
        return value, *(w - RATE * g for w, g in zip(weights, grads, strict=True))

    def make(x, params):
        named = lambda o: {"loss": o[0], **{f"w{i}": w for i, w in enumerate(o[1:])}}  # noqa: E731
        return step, put(x["x"], x["target"], *_weights(x)), named

    return make


for _suffix, _parts in {
    "": (_pool, False),
    "_pool_first": (_pool, True),
    "_slices": (_pool_slices, False),
    "_slices_first": (_pool_slices, True),
    "_reshaped_first": (_pool_reshaped, True),
    "_pairs_first": (_pool_pairs, True),
}.items():
    candidate.add("dense_cnn", "forward", f"cnn{_suffix}", _cnn_forward(*_parts), *TRACED)
    candidate.add("dense_cnn", "train_step", f"cnn_step{_suffix}", _cnn_step(*_parts), *TRACED)


@candidate("dense_mlp", "train_step", "eager", *TRACED)
def mlp_by_hand(x, params):
    count = sum(name.startswith("w") for name in x)

    def run(h, target, *weights):
        read = [h]
        for w in weights[:-1]:
            read.append(tf.nn.relu(raw.MatMul(a=read[-1], b=w)))
        loss, d = raw.SoftmaxCrossEntropyWithLogits(features=raw.MatMul(a=read[-1], b=weights[-1]), labels=target)
        d = d / params["batch"]
        updated = []
        for i in reversed(range(count)):
            updated.append(weights[i] - RATE * raw.MatMul(a=read[i], b=d, transpose_a=True))
            if i:
                d = raw.ReluGrad(gradients=raw.MatMul(a=d, b=weights[i], transpose_b=True), features=read[i])
        return tf.reduce_mean(loss), *reversed(updated)

    named = lambda o: {"loss": o[0], **{f"w{i}": w for i, w in enumerate(o[1:])}}  # noqa: E731
    return run, put(x["x"], x["target"], *(x[f"w{i}"] for i in range(count))), named


@candidate("local_update", "train_step", "eager", *TRACED)
def local_by_hand(x, params):
    if params["network"] != "mlp":
        raise NotImplementedError("the MLP only")
    count = sum(name.startswith("q") for name in x)

    def run(h, target, *parameters):
        losses, updated_w, updated_q = [], [], []
        for w, q in zip(parameters[:count], parameters[count:], strict=True):
            y = tf.nn.relu(raw.MatMul(a=h, b=w))
            loss, d = raw.SoftmaxCrossEntropyWithLogits(features=raw.MatMul(a=y, b=q), labels=target)
            d = d / params["batch"]
            losses.append(tf.reduce_mean(loss))
            updated_q.append(q - RATE * raw.MatMul(a=y, b=d, transpose_a=True))
            d = raw.ReluGrad(gradients=raw.MatMul(a=d, b=q, transpose_b=True), features=y)
            updated_w.append(w - RATE * raw.MatMul(a=h, b=d, transpose_a=True))
            h = y
        return *losses, *updated_w, *updated_q

    names = [*(f"loss{i}" for i in range(count)), *(f"{p}{i}" for p in "wq" for i in range(count))]
    args = put(x["x"], x["target"], *(x[f"{p}{i}"] for p in "wq" for i in range(count)))
    return run, args, lambda o: dict(zip(names, o, strict=True))


def _local_cnn(pool):
    """Layer by layer, a tape each; a classifier reads the average-pooled map."""

    def make(x, params):
        if params["network"] == "mlp":
            raise NotImplementedError("the CNN only")
        count = sum(name.startswith("q") for name in x)
        windows = local_windows(x, params)

        def layer(w, q, h, target, i):
            if i == len(MAPS):
                seen = y = tf.nn.relu(raw.MatMul(a=tf.reshape(h, (h.shape[0], -1)), b=w))
            else:
                y = tf.nn.relu(conv(h, w))
                seen = y if windows[i] == (1, 1) else tf.nn.avg_pool2d(y, windows[i], windows[i], "VALID")
                seen = tf.reshape(seen, (y.shape[0], -1))
            z = raw.MatMul(a=seen, b=q)
            return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(target, z)), y

        def step(h, target, *parameters):
            losses, updated_w, updated_q = [], [], []
            for i, (w, q) in enumerate(zip(parameters[:count], parameters[count:], strict=True)):
                with tf.GradientTape(watch_accessed_variables=False) as tape:
                    tape.watch((w, q))
                    loss, y = layer(w, q, h, target, i)
                d_w, d_q = tape.gradient(loss, (w, q))
                losses.append(loss)
                updated_w.append(w - RATE * d_w)
                updated_q.append(q - RATE * d_q)
                h = pool(y) if i < len(MAPS) and MAPS[i] else y
            return *losses, *updated_w, *updated_q

        names = [*(f"loss{i}" for i in range(count)), *(f"{p}{i}" for p in "wq" for i in range(count))]
        args = put(x["x"], x["target"], *(x[f"{p}{i}"] for p in "wq" for i in range(count)))
        return step, args, lambda o: dict(zip(names, o, strict=True))

    return make


for _suffix, _pooling in {"": _pool, "_slices": _pool_slices}.items():
    candidate.add("local_update", "train_step", f"local_cnn{_suffix}", _local_cnn(_pooling), *TRACED)
