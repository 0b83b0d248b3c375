"""JAX's candidates of `bench_best`: networks and their steps, local ones too."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from _candidates import MAPS, local_windows
from _jax_by_hand import CONV, RATE, candidate, conv, put
from jax import lax


def _same_columns(x, k=3):
    n, side = x.shape[:2]
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return jnp.concatenate([padded[:, i : i + side, j : j + side] for i in range(k) for j in range(k)], 3).reshape(
        n * side * side, -1
    )


@jax.custom_vjp
def _conv_by_columns(x, w):
    """A convolution whose weight gradient is a product of patches, and whose input gradient is a convolution."""
    return conv(x, w)


def _forward_rule(x, w):
    return conv(x, w), (x, w)


def _backward_rule(saved, dy):
    x, w = saved
    dw = lax.dot_general(_same_columns(x), dy.reshape(-1, dy.shape[3]), (((0,), (0,)), ((), ())))
    return conv(dy, w[::-1, ::-1].transpose(0, 1, 3, 2)), dw.reshape(w.shape)


_conv_by_columns.defvjp(_forward_rule, _backward_rule)


@jax.custom_vjp
def _conv_by_taps(x, w):
    """The weight gradient is nine products of shifted maps."""
    return conv(x, w)


def _backward_taps(saved, dy):
    x, w = saved
    side, flat = x.shape[1], dy.reshape(-1, dy.shape[3])
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    taps = [
        lax.dot_general(padded[:, i : i + side, j : j + side].reshape(-1, x.shape[3]), flat, (((0,), (0,)), ((), ())))
        for i in range(3)
        for j in range(3)
    ]
    return conv(dy, w[::-1, ::-1].transpose(0, 1, 3, 2)), jnp.stack(taps).reshape(w.shape)


_conv_by_taps.defvjp(_forward_rule, _backward_taps)


@jax.custom_vjp
def _conv_products(x, w):
    """Forward and back as products of patches."""
    return (_same_columns(x) @ w.reshape(-1, w.shape[3])).reshape(*x.shape[:3], w.shape[3])


def _products_forward(x, w):
    return _conv_products(x, w), (x, w)


def _products_backward(saved, dy):
    x, w = saved
    dw = lax.dot_general(_same_columns(x), dy.reshape(-1, dy.shape[3]), (((0,), (0,)), ((), ())))
    back = w[::-1, ::-1].transpose(0, 1, 3, 2)
    return (_same_columns(dy) @ back.reshape(-1, back.shape[3])).reshape(x.shape), dw.reshape(w.shape)


_conv_products.defvjp(_products_forward, _products_backward)


def _pool(x):
    top = jnp.maximum(x[:, ::2, ::2], x[:, ::2, 1::2])
    return jnp.maximum(top, jnp.maximum(x[:, 1::2, ::2], x[:, 1::2, 1::2]))


def _pool_reshaped(x):
    n, side, _, c = x.shape
    return jnp.max(x.reshape(n, side // 2, 2, side // 2, 2, c), (2, 4))


def _cnn(h, weights, conv, pool, pool_first):
    for w, pools in zip(weights, MAPS, strict=False):
        h = conv(h, w)
        if pools and pool_first:  # a maximum of relus is the relu of the maximum, a quarter of the values
            h = pool(h)
        h = jax.nn.relu(h)
        if pools and not pool_first:
            h = pool(h)
    return jax.nn.relu(h.reshape(len(h), -1) @ weights[-2]) @ weights[-1]


def _weights(x):
    return [x[f"w{i}"] for i in range(8)]


def _cnn_forward(conv, pool, pool_first):
    def make(x, params):
        return (
            lambda h, *w: (_cnn(h, w, conv, pool, pool_first),),
            put(x["x"], *_weights(x)),
            lambda o: {"logits": o[0]},
        )

    return make


def _cnn_step(conv, pool, pool_first):
    def loss(weights, h, target):
        z = _cnn(h, weights, conv, pool, pool_first)
        return -jnp.mean(jnp.sum(target * jax.nn.log_softmax(z), axis=1))

    gradients = jax.value_and_grad(loss)

    def step(h, target, *weights):
        value, grads = gradients(weights, h, target)
        return value, *(w - RATE * g for w, g in zip(weights, grads, strict=True))

    def make(x, params):
        named = lambda o: {"loss": o[0], **{f"w{i}": w for i, w in enumerate(o[1:])}}  # noqa: E731
        return step, put(x["x"], x["target"], *_weights(x)), named

    return make


for _name, _parts in {
    "cnn": (conv, _pool, False),
    "cnn_pool_first": (conv, _pool, True),
    "cnn_pool_first_reshaped": (conv, _pool_reshaped, True),
    "cnn_columns": (_conv_products, _pool, True),
}.items():
    candidate.add("dense_cnn", "forward", _name, _cnn_forward(*_parts), *CONV)
for _name, _parts in {
    "cnn_step": (conv, _pool, False),
    "cnn_step_pool_first": (conv, _pool, True),
    "cnn_step_columns": (_conv_by_columns, _pool, True),
    "cnn_step_taps": (_conv_by_taps, _pool, True),
    "cnn_step_products": (_conv_products, _pool, True),
}.items():
    candidate.add("dense_cnn", "train_step", _name, _cnn_step(*_parts), *CONV)


def _log_p(z):
    return jax.nn.log_softmax(z)


@candidate("dense_mlp", "train_step", "default", "off", "dot", "individual")
def mlp_by_hand(x, params):
    count = sum(name.startswith("w") for name in x)

    def run(h, target, *weights):
        read = [h]
        for w in weights[:-1]:
            read.append(jax.nn.relu(read[-1] @ w))
        log_p = _log_p(read[-1] @ weights[-1])
        loss = jnp.sum(target * log_p) * (-1.0 / len(h))
        d = (jnp.exp(log_p) - target) / len(h)
        updated = []
        for i in reversed(range(count)):
            updated.append(weights[i] - RATE * lax.dot_general(read[i], d, (((0,), (0,)), ((), ()))))
            if i:
                d = jnp.where(read[i] > 0, lax.dot_general(d, weights[i], (((1,), (1,)), ((), ()))), 0)
        return loss, *reversed(updated)

    named = lambda o: {"loss": o[0], **{f"w{i}": w for i, w in enumerate(o[1:])}}  # noqa: E731
    return run, put(x["x"], x["target"], *(x[f"w{i}"] for i in range(count))), named


@candidate("dense_mlp", "train_step", "default", "off", "dot", "individual")
def mlp_transposed(x, params):
    """Weights (out, in) and activities (units, batch): every product is of rows."""
    count = sum(name.startswith("w") for name in x)

    def run(h, target, *weights):
        read = [h]
        for w in weights[:-1]:
            read.append(jax.nn.relu(w @ read[-1]))
        z = weights[-1] @ read[-1]
        log_p = jax.nn.log_softmax(z, 0)
        batch = h.shape[1]
        loss = jnp.sum(target * log_p) * (-1.0 / batch)
        d = (jnp.exp(log_p) - target) / batch
        updated = []
        for i in reversed(range(count)):
            updated.append(weights[i] - RATE * lax.dot_general(d, read[i], (((1,), (1,)), ((), ()))))
            if i:
                d = jnp.where(read[i] > 0, lax.dot_general(weights[i], d, (((0,), (0,)), ((), ()))), 0)
        return loss, *reversed(updated)

    named = lambda o: {"loss": o[0], **{f"w{i}": w.T for i, w in enumerate(o[1:])}}  # noqa: E731
    return run, put(x["x"].T, x["target"].T, *(x[f"w{i}"].T for i in range(count))), named


def _local_cnn(pool):
    """Layer by layer; a classifier reads the average-pooled map."""

    def make(x, params):
        if params["network"] == "mlp":
            raise NotImplementedError("the CNN only")
        count = sum(name.startswith("q") for name in x)
        windows = local_windows(x, params)

        def layer(parameters, h, target, i):
            w, q = parameters
            if i == len(MAPS):
                seen = y = jax.nn.relu(h.reshape(len(h), -1) @ w)
            else:
                y = jax.nn.relu(conv(h, w))
                n, side, _, c = y.shape
                a, b = windows[i]
                seen = jnp.mean(y.reshape(n, side // a, a, side // b, b, c), (2, 4)).reshape(n, -1)
            return -jnp.mean(jnp.sum(target * _log_p(seen @ q), axis=1)), y

        def step(h, target, *parameters):
            losses, updated = [], [[], []]
            for i, pair in enumerate(zip(parameters[:count], parameters[count:], strict=True)):
                (loss, y), grads = jax.value_and_grad(layer, has_aux=True)(pair, h, target, i)
                losses.append(loss)
                for out, p, g in zip(updated, pair, grads, strict=True):
                    out.append(p - RATE * g)
                h = pool(y) if i < len(MAPS) and MAPS[i] else y
            return *losses, *updated[0], *updated[1]

        names = [*(f"loss{i}" for i in range(count)), *(f"{p}{i}" for p in "wq" for i in range(count))]
        args = put(x["x"], x["target"], *(x[f"{p}{i}"] for p in "wq" for i in range(count)))
        return step, args, lambda o: dict(zip(names, o, strict=True))

    return make


for _name, _pooling in {"local_cnn": _pool, "local_cnn_reshaped": _pool_reshaped}.items():
    candidate.add("local_update", "train_step", _name, _local_cnn(_pooling), *CONV)
