"""The computations of `bench_handwritten` as a good JAX user writes them, with nothing of ours in between."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import sparse

EXECUTIONS = ("eager", "compiled")
RATE = 0.1
EPSILON = 1e-7  # under the root of the squash
THETA, TINY = 2.0, 1e-4  # forward-forward: the threshold, and what is added to a length
FUSION = "xla_cpu_experimental_ynn_fusion_type"
CHANNELS_LAST = ("NHWC", "HWIO", "NHWC")


class Twin(NamedTuple):
    """`fn(*args)` returns a flat tuple; `arrange` gives host copies of it the abstraction's order and layout."""

    fn: Callable[..., tuple[Any, ...]]
    args: Sequence[Any]
    arrange: Callable[[list[Any]], list[Any]] = list


def compile(fn, execution, args, flags):
    """Ahead of time, with the compiler option that the adapter chose by trial for the same computation."""
    if execution != "compiled":
        return fn
    chosen = flags.get(FUSION, "default")
    options = None if chosen == "default" else {FUSION: "" if chosen == "off" else chosen}
    return jax.jit(fn).lower(*args).compile(compiler_options=options)


wait = jax.block_until_ready
host = np.asarray


def same(x, operand):
    """Whether `operand` can stand for `x`."""
    return (
        all(isinstance(v, jax.Array) for v in (x, operand)) and x.dtype == operand.dtype and jnp.array_equal(x, operand)
    )


def _put(*xs):
    return [jnp.array(x) for x in xs]


# -- products ---------------------------------------------------------------------------------------------------------
def dense_matmul(x, params, execution):
    return Twin(lambda a, b: (a @ b,), _put(x["a"], x["b"]))


def unstructured_sparse(x, params, execution):
    *parts, b = _put(x["a"], x["a_indices"], x["a_indptr"], x["b"])
    a = sparse.BCSR(tuple(parts), shape=(params["m"], params["k"]), indices_sorted=True, unique_indices=True)
    return Twin(lambda a, b: (a @ b,), [a, b])


def block_sparse(x, params, execution):
    m, k, n, side = (params[name] for name in ("m", "k", "n", "block"))
    rows = np.repeat(np.arange(m // side, dtype=np.int32), np.diff(x["a_indptr"]))

    def run(blocks, rows, columns, b):
        products = blocks @ jnp.take(b.reshape(k // side, side, n), columns, axis=0, mode="clip")
        return (jax.ops.segment_sum(products, rows, m // side, indices_are_sorted=True).reshape(m, n),)

    return Twin(run, _put(x["a"], rows, x["a_indices"], x["b"]))


# -- capsules ---------------------------------------------------------------------------------------------------------
def _squash(s):
    norm2 = jnp.sum(s * s, 1, keepdims=True)
    return s * (norm2 / ((1 + norm2) * jnp.sqrt(norm2 + EPSILON)))


def capsule_routing(x, params, execution):
    """û never formed, the batch innermost: u (d, I, B), W (J, D, d·I)."""
    batch, i, j, d, D, rounds = (
        params[name] for name in ("batch", "in_capsules", "out_capsules", "in_dim", "out_dim", "rounds")
    )

    def run(u, w):
        v = total = _squash((w.reshape(j * D, d * i) @ u.reshape(d * i, batch)).reshape(j, D, batch) / j)
        for r in range(1, rounds):
            agreement = jnp.sum((w.swapaxes(1, 2) @ total).reshape(j, d, i, batch) * u, 1, keepdims=True)
            v = _squash(w @ (jax.nn.softmax(agreement, 0) * u).reshape(j, d * i, batch))
            if r + 1 < rounds:
                total = total + v
        return (v.transpose(2, 0, 1),)

    return Twin(run, _put(x["u"].transpose(2, 1, 0), x["w"].transpose(1, 3, 2, 0).reshape(j, D, d * i)))


def capsule_conv(x, params, execution):
    """As a convolution: a pose's row goes to the batch, its column to the channels."""
    n, height, ci, co, stride, p = (
        params[name] for name in ("batch", "height", "in_capsules", "out_capsules", "stride", "padding")
    )
    k = params["kernel"]

    def run(poses, w):
        images = poses.transpose(0, 4, 1, 2, 3, 5).reshape(4 * n, height, height, ci * 4)
        v = lax.conv_general_dilated(images, w, (stride, stride), ((p, p), (p, p)), dimension_numbers=CHANNELS_LAST)
        side = v.shape[1]
        return (v.reshape(n, 4, side, side, co, 4).transpose(0, 2, 3, 4, 1, 5).reshape(n, side, side, co, 16),)

    return Twin(run, _put(x["poses"], x["w"].transpose(0, 1, 2, 4, 3, 5).reshape(k, k, ci * 4, co * 4)))


# -- networks ---------------------------------------------------------------------------------------------------------
def _cross_entropy(logits, target):
    return -jnp.mean(jnp.sum(target * jax.nn.log_softmax(logits), axis=1))


def _sgd(loss):
    """A step of plain SGD on `loss(weights, x, target)`; the weights are the last arguments."""
    gradients = jax.value_and_grad(loss)

    def run(x, target, *weights):
        value, grads = gradients(weights, x, target)
        return value, *(w - RATE * g for w, g in zip(weights, grads, strict=True))

    return run


def _max_pool(x):
    """Of strided slices: on a CPU the gradient of lax.reduce_window takes ten times as long."""
    top = jnp.maximum(x[:, ::2, ::2], x[:, ::2, 1::2])
    return jnp.maximum(top, jnp.maximum(x[:, 1::2, ::2], x[:, 1::2, 1::2]))


def dense_cnn(x, params, execution):
    maps = {"vgg8b": (0, 1, 0, 1, 1, 1), "conv2": (0, 1)}[params["network"]]  # 1: a max-pool behind the convolution

    def loss(weights, h, target):
        for w, pool in zip(weights, maps, strict=False):
            h = jax.nn.relu(lax.conv_general_dilated(h, w, (1, 1), "SAME", dimension_numbers=CHANNELS_LAST))
            h = _max_pool(h) if pool else h
        h = jax.nn.relu(h.reshape(len(h), -1) @ weights[-2])
        return _cross_entropy(h @ weights[-1], target)

    return Twin(_sgd(loss), _put(x["x"], x["target"], *(x[f"w{i}"] for i in range(len(maps) + 2))))


def dense_mlp(x, params, execution):
    def loss(weights, h, target):
        for w in weights[:-1]:
            h = jax.nn.relu(h @ w)
        return _cross_entropy(h @ weights[-1], target)

    return Twin(_sgd(loss), _put(x["x"], x["target"], *(x[f"w{i}"] for i in range(params["layers"] + 1))))


def local_update(x, params, execution):
    """Each layer's own classifier and loss; no gradient goes to what it reads."""
    count = sum(name.startswith("q") for name in x)

    def loss(parameters, h, target):
        w, q = parameters
        h = jax.nn.relu(h @ w)
        return _cross_entropy(h @ q, target), h

    gradients = jax.value_and_grad(loss, has_aux=True)

    def run(h, target, *parameters):
        losses, updated_w, updated_q = [], [], []
        for w, q in zip(parameters[:count], parameters[count:], strict=True):
            (value, h), (dw, dq) = gradients((w, q), h, target)
            losses.append(value)
            updated_w.append(w - RATE * dw)
            updated_q.append(q - RATE * dq)
        return *losses, *updated_w, *updated_q

    args = _put(x["x"], x["target"], *(x[f"{name}{i}"] for name in "wq" for i in range(count)))
    return Twin(run, args, lambda out: [*out[: 2 * count], *(q.T for q in out[2 * count :])])


def forward_forward(x, params, execution):
    both = np.concatenate([x["positive"], x["negative"]])
    sign = np.repeat([1.0, -1.0], len(x["positive"])).astype(both.dtype)

    def loss(w, h, sign):
        y = jax.nn.relu(h @ w)
        goodness = jnp.sum(y * y, axis=1)
        return jnp.mean(jax.nn.softplus(sign * (THETA - goodness))), (y, goodness)

    gradients = jax.value_and_grad(loss, has_aux=True)

    def run(h, sign, *weights):
        losses, updated = [], []
        for i, w in enumerate(weights):
            (value, (y, goodness)), dw = gradients(w, h, sign)
            losses.append(value)
            updated.append(w - RATE * dw)
            if i + 1 < len(weights):
                h = y / (jnp.sqrt(goodness)[:, None] + TINY)
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
