"""The computations of `bench_handwritten` as a good TensorFlow user writes them, with nothing of ours in between."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow.python.ops.linalg.sparse import sparse_csr_matrix_ops  # private; the only way to the fast product

EXECUTIONS = ("eager", "graph", "compiled")
RATE = 0.1
EPSILON = 1e-7  # under the root of the squash
THETA, TINY = 2.0, 1e-4  # forward-forward: the threshold, and what is added to a length


class Twin(NamedTuple):
    """`fn(*args)` returns a flat tuple; `arrange` gives host copies of it the abstraction's order and layout."""

    fn: Callable[..., tuple[Any, ...]]
    args: Sequence[Any]
    arrange: Callable[[list[Any]], list[Any]] = list


def compile(fn, execution, args, flags):
    if execution == "eager":
        return fn
    return tf.function(fn, jit_compile=execution == "compiled", autograph=False).get_concrete_function(*args)


def wait(outputs):
    """Nothing: on the CPU, TensorFlow returns when it is done."""


def host(x):
    return x.numpy()


def same(x, operand):
    """Whether `operand` can stand for `x`."""
    both = isinstance(operand, tf.Tensor) and x.dtype == operand.dtype != tf.variant
    return both and np.array_equal(x.numpy(), operand.numpy())


def _put(*xs):
    return [tf.constant(x) for x in xs]


# -- products ---------------------------------------------------------------------------------------------------------
def dense_matmul(x, params, execution):
    return Twin(lambda a, b: (tf.matmul(a, b),), _put(x["a"], x["b"]))


def unstructured_sparse(x, params, execution):
    """The matrix is closed over: it cannot be an argument of a tf.function, which captures it by reference."""
    rows = np.repeat(np.arange(params["m"]), np.diff(x["a_indptr"]))
    coordinates = np.stack([rows, x["a_indices"]], axis=1).astype(np.int64)
    a = sparse_csr_matrix_ops.CSRSparseMatrix(tf.SparseTensor(coordinates, x["a"], (params["m"], params["k"])))
    return Twin(lambda b: (sparse_csr_matrix_ops.matmul(a, b),), _put(x["b"]))


def block_sparse(x, params, execution):
    m, k, n, side = (params[name] for name in ("m", "k", "n", "block"))
    rows = np.repeat(np.arange(m // side, dtype=np.int32), np.diff(x["a_indptr"]))

    def run(blocks, rows, columns, b):
        products = tf.matmul(blocks, tf.gather(tf.reshape(b, (k // side, side, n)), columns))
        if execution == "compiled":  # XLA has no sum over sorted segments
            return (tf.reshape(tf.math.unsorted_segment_sum(products, rows, m // side), (m, n)),)
        return (tf.reshape(tf.math.segment_sum(products, rows), (m, n)),)  # the last block row holds a block

    return Twin(run, _put(x["a"], rows, x["a_indices"], x["b"]))


# -- capsules ---------------------------------------------------------------------------------------------------------
def _squash(s):
    norm2 = tf.reduce_sum(s * s, 1, keepdims=True)
    return s * (norm2 / ((1 + norm2) * tf.sqrt(norm2 + EPSILON)))


def capsule_routing(x, params, execution):
    """û never formed, the batch innermost: u (d, I, B), W (J, D, d·I)."""
    batch, i, j, d, D, rounds = (
        params[name] for name in ("batch", "in_capsules", "out_capsules", "in_dim", "out_dim", "rounds")
    )

    def run(u, w):
        s = tf.matmul(tf.reshape(w, (j * D, d * i)), tf.reshape(u, (d * i, batch)))
        v = total = _squash(tf.reshape(s, (j, D, batch)) / j)
        for r in range(1, rounds):
            pulled = tf.reshape(tf.matmul(w, total, transpose_a=True), (j, d, i, batch))
            coupling = tf.nn.softmax(tf.reduce_sum(pulled * u, 1, keepdims=True), 0)
            v = _squash(tf.matmul(w, tf.reshape(coupling * u, (j, d * i, batch))))
            if r + 1 < rounds:
                total = total + v
        return (tf.transpose(v, (2, 0, 1)),)

    return Twin(run, _put(x["u"].transpose(2, 1, 0), x["w"].transpose(1, 3, 2, 0).reshape(j, D, d * i)))


def capsule_conv(x, params, execution):
    """As a convolution: a pose's row goes to the batch, its column to the channels."""
    n, height, ci, co, stride, p = (
        params[name] for name in ("batch", "height", "in_capsules", "out_capsules", "stride", "padding")
    )
    k = params["kernel"]
    padding = [[0, 0], [p, p], [p, p], [0, 0]] if p else "VALID"

    def run(poses, w):
        images = tf.reshape(tf.transpose(poses, (0, 4, 1, 2, 3, 5)), (4 * n, height, height, ci * 4))
        v = tf.nn.conv2d(images, w, stride, padding)
        side = v.shape[1]
        v = tf.transpose(tf.reshape(v, (n, 4, side, side, co, 4)), (0, 2, 3, 4, 1, 5))
        return (tf.reshape(v, (n, side, side, co, 16)),)

    return Twin(run, _put(x["poses"], x["w"].transpose(0, 1, 2, 4, 3, 5).reshape(k, k, ci * 4, co * 4)))


# -- networks ---------------------------------------------------------------------------------------------------------
def _cross_entropy(logits, target):
    return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(target, logits))


def _sgd(loss):
    """A step of plain SGD on `loss(weights, x, target)`; the weights are the last arguments."""

    def run(x, target, *weights):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
            value = loss(weights, x, target)
        grads = tape.gradient(value, weights)
        return value, *(w - RATE * g for w, g in zip(weights, grads, strict=True))

    return run


def dense_cnn(x, params, execution):
    maps = {"vgg8b": (0, 1, 0, 1, 1, 1), "conv2": (0, 1)}[params["network"]]  # 1: a max-pool behind the convolution

    def loss(weights, h, target):
        for w, pool in zip(weights, maps, strict=False):
            h = tf.nn.relu(tf.nn.conv2d(h, w, 1, "SAME"))
            h = tf.nn.max_pool2d(h, 2, 2, "VALID") if pool else h
        h = tf.nn.relu(tf.matmul(tf.reshape(h, (h.shape[0], -1)), weights[-2]))
        return _cross_entropy(tf.matmul(h, weights[-1]), target)

    return Twin(_sgd(loss), _put(x["x"], x["target"], *(x[f"w{i}"] for i in range(len(maps) + 2))))


def dense_mlp(x, params, execution):
    def loss(weights, h, target):
        for w in weights[:-1]:
            h = tf.nn.relu(tf.matmul(h, w))
        return _cross_entropy(tf.matmul(h, weights[-1]), target)

    return Twin(_sgd(loss), _put(x["x"], x["target"], *(x[f"w{i}"] for i in range(params["layers"] + 1))))


def local_update(x, params, execution):
    """Each layer's own classifier and loss, on a tape of its own: no gradient goes to what it reads."""
    count = sum(name.startswith("q") for name in x)

    def run(h, target, *parameters):
        losses, updated_w, updated_q = [], [], []
        for w, q in zip(parameters[:count], parameters[count:], strict=True):
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch((w, q))
                h = tf.nn.relu(tf.matmul(h, w))
                value = _cross_entropy(tf.matmul(h, q), target)
            dw, dq = tape.gradient(value, (w, q))
            losses.append(value)
            updated_w.append(w - RATE * dw)
            updated_q.append(q - RATE * dq)
        return *losses, *updated_w, *updated_q

    args = _put(x["x"], x["target"], *(x[f"{name}{i}"] for name in "wq" for i in range(count)))
    return Twin(run, args, lambda out: [*out[: 2 * count], *(q.T for q in out[2 * count :])])


def forward_forward(x, params, execution):
    both = np.concatenate([x["positive"], x["negative"]])
    sign = np.repeat([1.0, -1.0], len(x["positive"])).astype(both.dtype)

    def run(h, sign, *weights):
        losses, updated = [], []
        for i, w in enumerate(weights):
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(w)
                y = tf.nn.relu(tf.matmul(h, w))
                goodness = tf.reduce_sum(y * y, 1)
                value = tf.reduce_mean(tf.nn.softplus(sign * (THETA - goodness)))
            losses.append(value)
            updated.append(w - RATE * tape.gradient(value, w))
            if i + 1 < len(weights):
                h = y / (tf.sqrt(goodness)[:, None] + TINY)
        return *losses, *updated

    return Twin(run, _put(both, sign, *(x[f"w{i}"] for i in range(params["layers"]))))


TWINS: Mapping[str, Callable[..., Twin]] = {
    f.__name__: f
    for f in (
        dense_matmul,
        unstructured_sparse,
        block_sparse,
        capsule_routing,
        capsule_conv,
        dense_cnn,
        dense_mlp,
        local_update,
        forward_forward,
    )
}
