"""The fastest ways known to write the workloads in TensorFlow, by hand: the other side of `bench_best`.

A candidate takes host inputs and axes and gives `fn`, its arguments, and how host copies of what `fn(*args)` returns
are named. EXECUTIONS are the settings in which each is tried, ONLY the candidates that are tried in some of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from _candidates import MAPS, Candidates, local_windows
from tensorflow.python.eager import context

RATE = 0.1
EPSILON = 1e-7
PRESENT, ABSENT, DOWN = 0.9, 0.1, 0.5
raw = tf.raw_ops

candidate = Candidates()
CANDIDATES, ONLY = candidate.known, candidate.only


def _concrete(xla: bool) -> Callable[..., Any]:
    return lambda fn, args: tf.function(fn, jit_compile=xla, autograph=False).get_concrete_function(*args)


def _called(xla: bool) -> Callable[..., Any]:
    """The runtime's own call of the traced function, without the check of its signature."""

    def compile(fn, args):
        concrete = _concrete(xla)(fn, args)
        captured, count, name = list(concrete.captured_inputs), len(concrete.outputs), concrete.name
        call = context.context().call_function
        return lambda *args, keep=concrete: call(name, [*args, *captured], count)

    return compile


EXECUTIONS: Mapping[str, Callable[..., Any]] = {
    "eager": lambda fn, args: fn,
    "graph": _concrete(False),
    "graph-called": _called(False),
    "compiled": _concrete(True),
    "compiled-called": _called(True),
}
TRACED = ("graph-called", "compiled-called")
ONLY["twin"] = ("eager", "graph", "compiled")


def wait(outputs):
    """Nothing: on the CPU, TensorFlow returns when it is done."""


def host(x):
    return x.numpy()


def _put(*xs):
    return [tf.constant(np.ascontiguousarray(x)) for x in xs]


def _y(outputs):
    return {"y": outputs[0]}


# -- dense products ---------------------------------------------------------------------------------------------------
def _product(a_transposed, b_transposed, swapped=False):
    def make(x, params):
        a, b = (x["b"].T, x["a"].T) if swapped else (x["a"], x["b"])
        a, b = a.T if a_transposed else a, b.T if b_transposed else b

        def run(a, b):
            return (raw.MatMul(a=a, b=b, transpose_a=a_transposed, transpose_b=b_transposed),)

        return run, _put(a, b), (lambda o: {"y": o[0].T}) if swapped else _y

    return make


for _name, _args in {
    "product": (False, False),
    "product_b_transposed": (False, True),
    "product_a_transposed": (True, False),
    "product_transposed": (False, False, True),
}.items():
    candidate.add("dense_matmul", "forward", _name, _product(*_args), *("eager", "graph-called", "compiled-called"))


@candidate("dense_matmul", "forward", "eager", "compiled-called")
def multiply_and_sum(x, params):
    if params["n"] != 1:
        raise NotImplementedError("one column only")
    return lambda a, b: (tf.reduce_sum(a * b, 1),), _put(x["a"], x["b"][:, 0]), lambda o: {"y": o[0][:, None]}


@candidate("dense_matmul", "train_step")
def product_step(x, params):
    n, both = params["n"], params["grads"] == "both"

    def run(a, b, target):
        error = raw.MatMul(a=a, b=b) - target
        dy = error / n
        out = raw.L2Loss(t=error) / n, a - RATE * raw.MatMul(a=dy, b=b, transpose_b=True)
        return (*out, raw.MatMul(a=a, b=dy, transpose_a=True)) if both else out

    return run, _put(x["a"], x["b"], x["target"]), lambda o: dict(zip(("loss", "a", "grad_b"), o, strict=False))


# -- sparse products --------------------------------------------------------------------------------------------------
def _rows(x):
    return np.repeat(np.arange(len(x["a_indptr"]) - 1, dtype=np.int32), np.diff(x["a_indptr"]))


def _matrix(values, coordinates, shape):
    return raw.SparseTensorToCSRSparseMatrix(
        indices=coordinates, values=values, dense_shape=tf.constant(shape, tf.int64)
    )


def _coordinates(rows, columns):
    return tf.constant(np.stack([rows, columns], 1).astype(np.int64))


@candidate("unstructured_sparse", "forward", "eager")
def csr(x, params):
    a = _matrix(tf.constant(x["a"]), _coordinates(_rows(x), x["a_indices"]), (params["m"], params["k"]))
    return lambda b: (raw.SparseMatrixMatMul(a=a, b=b),), _put(x["b"]), _y


@candidate("unstructured_sparse", "forward", "eager")
def csr_b_transposed(x, params):
    a = _matrix(tf.constant(x["a"]), _coordinates(_rows(x), x["a_indices"]), (params["m"], params["k"]))
    return lambda b: (raw.SparseMatrixMatMul(a=a, b=b, transpose_b=True),), _put(x["b"].T), _y


@candidate("unstructured_sparse", "forward", "eager")
def csr_of_the_transpose(x, params):
    """A stored as the CSR of its transpose, multiplied transposed."""
    a = _matrix_of_transpose(x, params)
    return lambda b: (raw.SparseMatrixMatMul(a=a, b=b, transpose_a=True),), _put(x["b"]), _y


def _matrix_of_transpose(x, params):
    order = np.argsort(x["a_indices"], kind="stable")
    places = _coordinates(x["a_indices"][order], _rows(x)[order])
    return _matrix(tf.constant(x["a"][order]), places, (params["k"], params["m"]))


@candidate("unstructured_sparse", "forward", "eager")
def coo(x, params):
    places, shape = _coordinates(_rows(x), x["a_indices"]), tf.constant((params["m"], params["k"]), tf.int64)
    values = tf.constant(x["a"])

    def run(b):
        return (raw.SparseTensorDenseMatMul(a_indices=places, a_values=values, a_shape=shape, b=b),)

    return run, _put(x["b"]), _y


def _padded(x):
    lengths = np.diff(x["a_indptr"])
    wide = -(-max(1, int(lengths.max())) // 8) * 8
    columns, values = np.zeros((len(lengths), wide), np.int32), np.zeros((len(lengths), wide), np.float32)
    filled = np.arange(wide) < lengths[:, None]
    columns[filled], values[filled] = x["a_indices"], x["a"]
    return values, columns


@candidate("unstructured_sparse", "forward", "eager", "graph-called", "compiled-called")
def padded_rows(x, params):
    if params["n"] != 1:
        raise NotImplementedError("one column only")

    def run(values, columns, b):
        return (tf.reduce_sum(values * tf.gather(b, columns), 1),)

    return run, _put(*_padded(x), x["b"][:, 0]), lambda o: {"y": o[0][:, None]}


def _sparse_step(x, params, transpose_a):
    m, k, n = (params[name] for name in "mkn")
    rows, columns = _rows(x), x["a_indices"]
    places, flat = _coordinates(rows, columns), tf.constant(rows * np.int32(k) + columns)
    order = np.argsort(columns, kind="stable").astype(np.int32)
    back = _coordinates(columns[order], rows[order])

    def run(values, b, target, order):
        a = _matrix(values, places, (m, k))
        error = raw.SparseMatrixMatMul(a=a, b=b) - target
        dy = error / n
        if transpose_a:
            grad_b = raw.SparseMatrixMatMul(a=a, b=dy, transpose_a=True)
        else:
            grad_b = raw.SparseMatrixMatMul(a=_matrix(tf.gather(values, order), back, (k, m)), b=dy)
        full = tf.reshape(raw.MatMul(a=dy, b=b, transpose_b=True), (m * k,))
        return raw.L2Loss(t=error) / n, values - RATE * tf.gather(full, flat), grad_b

    return run, _put(x["a"], x["b"], x["target"], order), lambda o: {"loss": o[0], "a": o[1], "grad_b": o[2]}


@candidate("unstructured_sparse", "train_step", "eager", "graph-called")
def csr_step(x, params):
    return _sparse_step(x, params, False)


@candidate("unstructured_sparse", "train_step", "eager", "graph-called")
def csr_step_transposing(x, params):
    """The same matrix multiplied transposed: its transpose is not built."""
    return _sparse_step(x, params, True)


@candidate("unstructured_sparse", "train_step", *TRACED)
def masked_step(x, params):
    m, k, n = (params[name] for name in "mkn")
    rows = _rows(x)
    dense, mask = np.zeros((m, k), np.float32), np.zeros((m, k), np.float32)
    dense[rows, x["a_indices"]], mask[rows, x["a_indices"]] = x["a"], 1

    def run(a, b, target, mask):
        error = raw.MatMul(a=a, b=b) - target
        dy = error / n
        updated = a - RATE * (raw.MatMul(a=dy, b=b, transpose_b=True) * mask)
        return raw.L2Loss(t=error) / n, updated, raw.MatMul(a=a, b=dy, transpose_a=True)

    named = lambda o: {"loss": o[0], "a": o[1][rows, x["a_indices"]], "grad_b": o[2]}  # noqa: E731
    return run, _put(dense, x["b"], x["target"], mask), named


# -- block-sparse products --------------------------------------------------------------------------------------------
@candidate("block_sparse", "forward", "eager")
def blocks_as_csr(x, params):
    m, k, side = params["m"], params["k"], params["block"]
    rows = np.repeat(np.arange(m // side), np.diff(x["a_indptr"]))
    within = np.arange(side)
    flat = (rows[:, None, None] * side + within[:, None]) * k + x["a_indices"][:, None, None] * side + within
    order = np.argsort(flat.ravel())
    flat = flat.ravel()[order]
    a = _matrix(tf.constant(x["a"].ravel()[order]), _coordinates(flat // k, flat % k), (m, k))
    return lambda b: (raw.SparseMatrixMatMul(a=a, b=b),), _put(x["b"]), _y


@candidate("block_sparse", "forward", "eager", *TRACED)
def product_per_block_row(x, params):
    m, k, n, side = (params[name] for name in ("m", "k", "n", "block"))
    if m // side > 64:
        raise NotImplementedError("too many block rows to unroll")
    starts = x["a_indptr"] * side
    wide = [
        x["a"][x["a_indptr"][i] : x["a_indptr"][i + 1]].transpose(1, 0, 2).reshape(side, -1) for i in range(m // side)
    ]

    def run(b, columns, *wide):
        picked = tf.reshape(tf.gather(tf.reshape(b, (k // side, side, n)), columns), (-1, n))
        parts = tf.split(picked, np.diff(starts))
        return (tf.concat([raw.MatMul(a=w, b=p) for w, p in zip(wide, parts, strict=True)], 0),)

    return run, _put(x["b"], x["a_indices"], *wide), _y


@candidate("block_sparse", "train_step", "eager", *TRACED)
def blocks_step(x, params):
    m, k, n, side = (params[name] for name in ("m", "k", "n", "block"))
    rows, columns = _rows(x), x["a_indices"]
    order = np.argsort(columns, kind="stable").astype(np.int32)

    def run(a, b, target, rows, columns, order, flipped):
        right = tf.gather(tf.reshape(b, (k // side, side, n)), columns)
        y = raw.UnsortedSegmentSum(data=raw.BatchMatMulV2(x=a, y=right), segment_ids=rows, num_segments=m // side)
        error = tf.reshape(y, (m, n)) - target
        dy = error / n
        left = tf.gather(tf.reshape(dy, (m // side, side, n)), rows)
        pulled = raw.BatchMatMulV2(x=a, y=left, adj_x=True)
        if tf.executing_eagerly():
            grad_b = raw.SegmentSum(data=tf.gather(pulled, order), segment_ids=flipped)
        else:
            grad_b = raw.UnsortedSegmentSum(data=pulled, segment_ids=columns, num_segments=k // side)
        updated = a - RATE * raw.BatchMatMulV2(x=left, y=right, adj_y=True)
        return raw.L2Loss(t=error) / n, updated, tf.reshape(grad_b, (k, n))

    args = _put(x["a"], x["b"], x["target"], rows, columns, order, columns[order])
    return run, args, lambda o: {"loss": o[0], "a": o[1], "grad_b": o[2]}


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

        return forward, _put(*us, *ws), lambda o: {"v": o[0]}

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

        return step, _put(x["labels"].T, *us, *ws), named

    return make


for _blocks in (1, 2, 4, 8, 16):
    candidate.add("capsule_routing", "forward", f"routing_{_blocks}", _routing_forward(_blocks), *TRACED)
for _blocks in (1, 8):
    candidate.add("capsule_routing", "train_step", f"routing_step_{_blocks}", _routing_step(_blocks), *TRACED)


# -- convolutions -----------------------------------------------------------------------------------------------------
def _conv(x, w, stride=1, padding="SAME"):
    return raw.Conv2D(input=x, filter=w, strides=[1, stride, stride, 1], padding=padding)


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
        return lambda x, w: (_conv(x, w, stride, "VALID"),), _put(images, w), named

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
        return rows, _put(images, w.reshape(k, -1, co)), named
    return columns, _put(images, w.reshape(-1, co)), named


for _kind in ("conv", "columns", "rows"):
    candidate.add(
        "dense_conv",
        "forward",
        _kind,
        lambda x, params, kind=_kind: _convolutions(x["x"], x["w"], params, _y, kind),
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


# -- networks ---------------------------------------------------------------------------------------------------------


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
        h = _conv(h, w)
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
        return lambda h, *w: (_cnn(h, w, pool, pool_first),), _put(x["x"], *_weights(x)), lambda o: {"logits": o[0]}

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
        return step, _put(x["x"], x["target"], *_weights(x)), named

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
    return run, _put(x["x"], x["target"], *(x[f"w{i}"] for i in range(count))), named


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
    args = _put(x["x"], x["target"], *(x[f"{p}{i}"] for p in "wq" for i in range(count)))
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
                y = tf.nn.relu(_conv(h, w))
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
        args = _put(x["x"], x["target"], *(x[f"{p}{i}"] for p in "wq" for i in range(count)))
        return step, args, lambda o: dict(zip(names, o, strict=True))

    return make


for _suffix, _pooling in {"": _pool, "_slices": _pool_slices}.items():
    candidate.add("local_update", "train_step", f"local_cnn{_suffix}", _local_cnn(_pooling), *TRACED)
