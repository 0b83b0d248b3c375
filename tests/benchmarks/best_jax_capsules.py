"""JAX's candidates of `bench_best`: routing and convolutions."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from _jax_by_hand import CONV, RATE, candidate, conv, first, put
from jax import lax

EPSILON = 1e-7
PRESENT, ABSENT, DOWN = 0.9, 0.1, 0.5


# -- capsules ---------------------------------------------------------------------------------------------------------
def _squash(s, axis=1):
    norm2 = jnp.sum(s * s, axis, keepdims=True)
    return s * (norm2 / ((1 + norm2) * jnp.sqrt(norm2 + EPSILON)))


def _routing(x, params, blocks):
    batch, j, d, D, rounds = (params[name] for name in ("batch", "out_capsules", "in_dim", "out_dim", "rounds"))
    us = [u.transpose(2, 1, 0) for u in np.array_split(x["u"], blocks, axis=1)]
    ws = [w.transpose(1, 3, 2, 0).reshape(j, D, -1) for w in np.array_split(x["w"], blocks, axis=0)]

    def run(us, ws):
        s = sum(w.reshape(j * D, -1) @ u.reshape(-1, batch) for u, w in zip(us, ws, strict=True))
        v = total = _squash(s.reshape(j, D, batch) / j)
        for r in range(1, rounds):
            s = 0
            for u, w in zip(us, ws, strict=True):
                pulled = lax.dot_general(w, total, (((1,), (1,)), ((0,), (0,)))).reshape(j, d, -1, batch)
                logits = jnp.sum(pulled * u, 1, keepdims=True)
                e = jnp.exp(logits - jnp.max(logits, 0, keepdims=True))
                s = s + w @ (e * (1 / jnp.sum(e, 0, keepdims=True)) * u).reshape(j, -1, batch)
            v = _squash(s)
            total = total + v if r + 1 < rounds else total
        return v  # (J, D, B)

    return run, us, ws


def _routing_forward(blocks):
    def make(x, params):
        run, us, ws = _routing(x, params, blocks)

        def forward(*operands):
            return (run(operands[:blocks], operands[blocks:]).transpose(2, 0, 1),)

        return forward, put(*us, *ws), lambda o: {"v": o[0]}

    return make


def _routing_of_rows(inputs_last):
    """The batch a dimension of rows: u (B, d·I), or (B, I·d); every product over the input capsules is one, batched."""

    def make(x, params):
        batch, j, d, D, rounds = (params[name] for name in ("batch", "out_capsules", "in_dim", "out_dim", "rounds"))
        inner = (d, -1) if inputs_last else (-1, d)
        aside = 2 if inputs_last else 3
        w = x["w"].transpose(1, 3, 2, 0) if inputs_last else x["w"].transpose(1, 3, 0, 2)
        u = x["u"].transpose(0, 2, 1) if inputs_last else x["u"]

        def squashed(s):
            return _squash(s, 2)

        def run(u, w):  # u (B, n), w (J, D, n)
            s = lax.dot_general(u, w, (((1,), (2,)), ((), ()))).transpose(1, 0, 2)
            v = total = squashed(s / j)  # (J, B, D)
            for r in range(1, rounds):
                pulled = lax.dot_general(total, w, (((2,), (1,)), ((0,), (0,)))).reshape(j, batch, *inner)
                parts = u.reshape(batch, *inner)
                logits = jnp.sum(pulled * parts, aside, keepdims=True)
                e = jnp.exp(logits - jnp.max(logits, 0, keepdims=True))
                coupled = (e * (1 / jnp.sum(e, 0, keepdims=True)) * parts).reshape(j, batch, -1)
                v = squashed(lax.dot_general(coupled, w, (((2,), (2,)), ((0,), (0,)))))
                total = total + v if r + 1 < rounds else total
            return (v.transpose(1, 0, 2),)

        return run, put(u.reshape(batch, -1), w.reshape(j, D, -1)), lambda o: {"v": o[0]}

    return make


def _routing_of_capsules(x, params):
    """Input capsules the first axis of all: W (I, J, D, d), u (I, d, B)."""
    batch, j, d, D, rounds = (params[name] for name in ("batch", "out_capsules", "in_dim", "out_dim", "rounds"))

    def run(u, w):  # u (I, d, B), w (I, J, D, d)
        s = lax.dot_general(w.reshape(len(w), j * D, d), u, (((0, 2), (0, 1)), ((), ())))
        v = total = _squash(s.reshape(j, D, batch) / j)
        for r in range(1, rounds):
            pulled = lax.dot_general(w, total, (((2,), (1,)), ((1,), (0,)))).transpose(1, 0, 2, 3)  # (I, J, d, B)
            logits = jnp.sum(pulled * u[:, None], 2, keepdims=True)
            e = jnp.exp(logits - jnp.max(logits, 1, keepdims=True))
            coupled = e * (1 / jnp.sum(e, 1, keepdims=True)) * u[:, None]
            v = _squash(lax.dot_general(w, coupled, (((0, 3), (0, 2)), ((1,), (1,)))))
            total = total + v if r + 1 < rounds else total
        return (v.transpose(2, 0, 1),)

    return run, put(x["u"].transpose(1, 2, 0), x["w"].transpose(0, 1, 3, 2)), lambda o: {"v": o[0]}


def _routing_step(blocks):
    def make(x, params):
        run, us, ws = _routing(x, params, blocks)
        j, D, d, batch = (params[name] for name in ("out_capsules", "out_dim", "in_dim", "batch"))

        def loss(ws, us, labels):
            v = run(us, ws)
            length = jnp.sqrt(jnp.sum(v * v, 1) + EPSILON)
            short, long = jax.nn.relu(PRESENT - length), jax.nn.relu(length - ABSENT)
            return jnp.sum(labels * short * short + DOWN * (1 - labels) * long * long) / batch

        gradients = jax.value_and_grad(loss)

        def step(labels, *operands):
            us, ws = operands[:blocks], operands[blocks:]
            value, grads = gradients(ws, us, labels)
            return value, *(w - RATE * g for w, g in zip(ws, grads, strict=True))

        def named(o):
            return {"loss": o[0], "w": np.concatenate([w.reshape(j, D, d, -1).transpose(3, 0, 2, 1) for w in o[1:]])}

        return step, put(x["labels"].T, *us, *ws), named

    return make


for _blocks in (1, 2, 4, 8, 16):
    candidate.add(
        "capsule_routing",
        "forward",
        f"routing_{_blocks}",
        _routing_forward(_blocks),
        *("default", "off", "dot", "fast-math"),
    )
for _name, _make in {
    "routing_of_rows": _routing_of_rows(True),
    "routing_of_rows_apart": _routing_of_rows(False),
    "routing_of_capsules": _routing_of_capsules,
}.items():
    candidate.add("capsule_routing", "forward", _name, _make, "default", "off", "dot", "individual")
for _blocks in (1, 8):
    candidate.add(
        "capsule_routing", "train_step", f"routing_step_{_blocks}", _routing_step(_blocks), "default", "off", "dot"
    )


# -- convolutions -----------------------------------------------------------------------------------------------------
def _patches(x, k, stride, oh):
    last = (oh - 1) * stride + 1
    return jnp.concatenate(
        [x[:, i : i + last : stride, j : j + last : stride] for i in range(k) for j in range(k)], axis=3
    )


def _folded(x):
    n, height, _, c, _, _ = x["poses"].shape
    k, _, ci, co, _, _ = x["w"].shape
    images = x["poses"].transpose(0, 4, 1, 2, 3, 5).reshape(4 * n, height, height, c * 4)
    return images, x["w"].transpose(0, 1, 2, 4, 3, 5).reshape(k, k, ci * 4, co * 4)


def _poses(o):
    n, side, _, c = o[0].shape
    return {"v": o[0].reshape(n // 4, 4, side, side, c // 4, 4).transpose(0, 2, 3, 4, 1, 5)}


def _convolutions(images, w, params, named, kind):
    k, stride, padding, side = params["kernel"], params["stride"], params["padding"], params["height"]
    oh, co = (side + 2 * padding - k) // stride + 1, w.shape[3]
    if kind == "conv":
        return lambda x, w: (conv(x, w, stride, padding),), put(images, w), named

    def columns(x, w):
        x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0))) if padding else x
        return ((_patches(x, k, stride, oh).reshape(-1, w.shape[0]) @ w).reshape(-1, oh, oh, co),)

    def rows(x, w):
        """k products: the values under a row of the kernel lie side by side in memory."""
        x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0))) if padding else x
        last, y = (oh - 1) * stride + 1, 0
        for i in range(k):
            part = jnp.concatenate([x[:, i : i + last : stride, j : j + last : stride] for j in range(k)], axis=3)
            y = y + part.reshape(-1, w.shape[1]) @ w[i]
        return (y.reshape(-1, oh, oh, co),)

    if kind == "rows":
        return rows, put(images, w.reshape(k, -1, co)), named
    return columns, put(images, w.reshape(-1, co)), named


for _kind in ("conv", "columns", "rows"):
    candidate.add(
        "dense_conv",
        "forward",
        _kind,
        lambda x, params, kind=_kind: _convolutions(x["x"], x["w"], params, first, kind),
        *CONV,
    )
    candidate.add(
        "capsule_conv",
        "forward",
        _kind,
        lambda x, params, kind=_kind: _convolutions(*_folded(x), params, _poses, kind),
        *CONV,
    )
