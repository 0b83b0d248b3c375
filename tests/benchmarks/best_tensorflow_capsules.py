"""TensorFlow's candidates of `bench_best`: routing and convolutions."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from _tensorflow_by_hand import RATE, TRACED, candidate, conv, first, put, raw

EPSILON = 1e-7
PRESENT, ABSENT, DOWN = 0.9, 0.1, 0.5


# -- capsules ---------------------------------------------------------------------------------------------------------
def _squash(s):
    norm2 = tf.reduce_sum(s * s, 1, keepdims=True)
    return s * (norm2 / ((1 + norm2) * tf.sqrt(norm2 + EPSILON)))


def _routing(x, params, blocks):
    batch, j, d, D, rounds = (params[name] for name in ("batch", "out_capsules", "in_dim", "out_dim", "rounds"))
    us = [u.transpose(2, 1, 0) for u in np.array_split(x["u"], blocks, axis=1)]
    ws = [w.transpose(1, 3, 2, 0).reshape(j, D, -1) for w in np.array_split(x["w"], blocks, axis=0)]

    def run(us, ws):
        s = [
            raw.MatMul(a=tf.reshape(w, (j * D, -1)), b=tf.reshape(u, (-1, batch))) for u, w in zip(us, ws, strict=True)
        ]
        v = total = _squash(tf.reshape(tf.add_n(s), (j, D, batch)) / j)
        for r in range(1, rounds):
            s = []
            for u, w in zip(us, ws, strict=True):
                pulled = tf.reshape(raw.BatchMatMulV2(x=w, y=total, adj_x=True), (j, d, -1, batch))
                logits = tf.reduce_sum(pulled * u, 1, keepdims=True)
                e = tf.exp(logits - tf.reduce_max(logits, 0, keepdims=True))
                c = e / tf.reduce_sum(e, 0, keepdims=True)
                s.append(raw.BatchMatMulV2(x=w, y=tf.reshape(c * u, (j, -1, batch))))
            v = _squash(tf.add_n(s))
            total = total + v if r + 1 < rounds else total
        return v

    return run, us, ws


def _routing_forward(blocks):
    def make(x, params):
        run, us, ws = _routing(x, params, blocks)

        def forward(*operands):
            return (tf.transpose(run(operands[:blocks], operands[blocks:]), (2, 0, 1)),)

        return forward, put(*us, *ws), lambda o: {"v": o[0]}

    return make


def _routing_step(blocks):
    def make(x, params):
        run, us, ws = _routing(x, params, blocks)
        j, D, d, batch = (params[name] for name in ("out_capsules", "out_dim", "in_dim", "batch"))

        def step(labels, *operands):
            us, ws = operands[:blocks], operands[blocks:]
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(ws)
                v = run(us, ws)
                length = tf.sqrt(tf.reduce_sum(v * v, 1) + EPSILON)
                short, long = tf.nn.relu(PRESENT - length), tf.nn.relu(length - ABSENT)
                value = tf.reduce_sum(labels * short * short + DOWN * (1 - labels) * long * long) / batch
            grads = tape.gradient(value, ws)
            return value, *(w - RATE * g for w, g in zip(ws, grads, strict=True))

        def named(o):
            return {"loss": o[0], "w": np.concatenate([w.reshape(j, D, d, -1).transpose(3, 0, 2, 1) for w in o[1:]])}

        return step, put(x["labels"].T, *us, *ws), named

    return make


for _blocks in (1, 2, 4, 8, 16):
    candidate.add("capsule_routing", "forward", f"routing_{_blocks}", _routing_forward(_blocks), *TRACED)
for _blocks in (1, 8):
    candidate.add("capsule_routing", "train_step", f"routing_step_{_blocks}", _routing_step(_blocks), *TRACED)


# -- convolutions -----------------------------------------------------------------------------------------------------
def _folded(x):
    n, height, _, c, _, _ = x["poses"].shape
    k, _, ci, co, _, _ = x["w"].shape
    images = x["poses"].transpose(0, 4, 1, 2, 3, 5).reshape(4 * n, height, height, c * 4)
    return images, x["w"].transpose(0, 1, 2, 4, 3, 5).reshape(k, k, ci * 4, co * 4)


def _poses(o):
    n, side, _, c = o[0].shape
    return {"v": o[0].reshape(n // 4, 4, side, side, c // 4, 4).transpose(0, 2, 3, 4, 1, 5)}


def _convolutions(images, w, params, named, kind):
    k, stride, side = params["kernel"], params["stride"], params["height"]
    if params["padding"]:
        raise NotImplementedError("no padding")
    oh, co = (side - k) // stride + 1, w.shape[3]
    last = (oh - 1) * stride + 1
    if kind == "conv":
        return lambda x, w: (conv(x, w, stride, "VALID"),), put(images, w), named

    def rows(x, w):
        parts = [
            raw.MatMul(
                a=tf.reshape(
                    tf.concat([x[:, i : i + last : stride, j : j + last : stride] for j in range(k)], 3),
                    (-1, w.shape[1]),
                ),
                b=w[i],
            )
            for i in range(k)
        ]
        return (tf.reshape(tf.add_n(parts), (-1, oh, oh, co)),)

    def columns(x, w):
        taps = [x[:, i : i + last : stride, j : j + last : stride] for i in range(k) for j in range(k)]
        return (tf.reshape(raw.MatMul(a=tf.reshape(tf.concat(taps, 3), (-1, w.shape[0])), b=w), (-1, oh, oh, co)),)

    if kind == "rows":
        return rows, put(images, w.reshape(k, -1, co)), named
    return columns, put(images, w.reshape(-1, co)), named


for _kind in ("conv", "columns", "rows"):
    candidate.add(
        "dense_conv",
        "forward",
        _kind,
        lambda x, params, kind=_kind: _convolutions(x["x"], x["w"], params, first, kind),
        "eager",
        *TRACED,
    )
    candidate.add(
        "capsule_conv",
        "forward",
        _kind,
        lambda x, params, kind=_kind: _convolutions(*_folded(x), params, _poses, kind),
        "eager",
        *TRACED,
    )
