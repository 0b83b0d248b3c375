"""The fastest ways known to write the workloads in JAX, by hand: the other side of `bench_best`.

A candidate takes host inputs and axes and gives `fn`, its arguments, and how host copies of what `fn(*args)` returns
are named. EXECUTIONS are the settings in which each is tried, ONLY the candidates that are tried in some of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from _candidates import MAPS, Candidates, local_windows
from jax import lax
from jax.experimental import sparse

RATE = 0.1
EPSILON = 1e-7
PRESENT, ABSENT, DOWN = 0.9, 0.1, 0.5
YNN = "xla_cpu_experimental_ynn_fusion_type"
NHWC = ("NHWC", "HWIO", "NHWC")

candidate = Candidates()
CANDIDATES, ONLY = candidate.known, candidate.only


def _compiler(**options: str | bool) -> Callable[..., Any]:
    return lambda fn, args: jax.jit(fn).lower(*args).compile(compiler_options=options or None)


EXECUTIONS: Mapping[str, Callable[..., Any]] = {
    "eager": lambda fn, args: fn,
    "default": _compiler(),
    "jit": lambda fn, args: jax.jit(fn),  # its dispatch is in C++, that of an ahead-of-time executable in Python
    "off": _compiler(**{YNN: ""}),
    "dot": _compiler(**{YNN: "LIBRARY_FUSION_TYPE_DOT"}),
    "individual": _compiler(**{YNN: "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_INDIVIDUAL_CONVOLUTION"}),
    "onednn": _compiler(**{YNN: "", "xla_cpu_experimental_onednn_custom_call": True}),
    "fast-math": _compiler(**{YNN: "", "xla_cpu_enable_fast_math": True}),
}
PRODUCT = ("eager", "jit", "off", "individual")
wait = jax.block_until_ready
host = np.asarray


def _put(*xs):
    return [jnp.array(np.ascontiguousarray(x)) for x in xs]


def _y(outputs):
    return {"y": outputs[0]}


# -- dense products ---------------------------------------------------------------------------------------------------
def _dot(dims):
    return lambda a, b: (lax.dot_general(a, b, ((dims[:1], dims[1:]), ((), ()))),)


@candidate("dense_matmul", "forward", *PRODUCT)
def product(x, params):
    return _dot((1, 0)), _put(x["a"], x["b"]), _y


@candidate("dense_matmul", "forward", *PRODUCT)
def product_b_transposed(x, params):
    return _dot((1, 1)), _put(x["a"], x["b"].T), _y


@candidate("dense_matmul", "forward", *PRODUCT)
def product_a_transposed(x, params):
    return _dot((0, 0)), _put(x["a"].T, x["b"]), _y


@candidate("dense_matmul", "forward", *PRODUCT)
def product_transposed(x, params):
    return _dot((1, 0)), _put(x["b"].T, x["a"].T), lambda o: {"y": o[0].T}


@candidate("dense_matmul", "forward", *PRODUCT)
def product_both_transposed(x, params):
    return _dot((0, 1)), _put(x["b"], x["a"]), lambda o: {"y": o[0].T}


@candidate("dense_matmul", "forward", *PRODUCT)
def vector(x, params):
    if params["n"] != 1:
        raise NotImplementedError("one column only")
    return lambda a, b: (a @ b,), _put(x["a"], x["b"][:, 0]), lambda o: {"y": o[0][:, None]}


@candidate("dense_matmul", "forward", *PRODUCT)
def multiply_and_sum(x, params):
    if params["n"] != 1:
        raise NotImplementedError("one column only")
    return lambda a, b: (jnp.sum(a * b, 1),), _put(x["a"], x["b"][:, 0]), lambda o: {"y": o[0][:, None]}


@candidate("dense_matmul", "train_step")
def product_step(x, params):
    n, both = params["n"], params["grads"] == "both"

    def run(a, b, target):
        error = a @ b - target
        dy = error / n
        out = jnp.sum(error * error) * (0.5 / n), a - RATE * lax.dot_general(dy, b, (((1,), (1,)), ((), ())))
        return (*out, lax.dot_general(a, dy, (((0,), (0,)), ((), ())))) if both else out

    return run, _put(x["a"], x["b"], x["target"]), lambda o: dict(zip(("loss", "a", "grad_b"), o, strict=False))


# -- sparse products --------------------------------------------------------------------------------------------------
def _bcsr(x, params):
    parts = _put(x["a"], x["a_indices"], x["a_indptr"])
    return sparse.BCSR(tuple(parts), shape=(params["m"], params["k"]), indices_sorted=True, unique_indices=True)


@candidate("unstructured_sparse", "forward", "eager", "jit", "default")
def csr(x, params):
    return lambda a, b: (a @ b,), [_bcsr(x, params), *_put(x["b"])], _y


@candidate("unstructured_sparse", "forward", "eager", "jit", "default")
def csr_vector(x, params):
    if params["n"] != 1:
        raise NotImplementedError("one column only")
    return lambda a, b: (a @ b,), [_bcsr(x, params), *_put(x["b"][:, 0])], lambda o: {"y": o[0][:, None]}


def _rows(x):
    return np.repeat(np.arange(len(x["a_indptr"]) - 1, dtype=np.int32), np.diff(x["a_indptr"]))


@candidate("unstructured_sparse", "forward", "eager", "jit", "default")
def coo(x, params):
    indices = np.stack([_rows(x), x["a_indices"]], 1)
    a = sparse.BCOO(
        tuple(_put(x["a"], indices)), shape=(params["m"], params["k"]), indices_sorted=True, unique_indices=True
    )
    return lambda a, b: (a @ b,), [a, *_put(x["b"])], _y


@candidate("unstructured_sparse", "forward", "default", "off", "fast-math")
def gather_scan(x, params):
    """One column: a running sum of the products, read where the rows end."""
    if params["n"] != 1:
        raise NotImplementedError("one column only")

    def run(values, columns, ends, b):
        sums = jnp.concatenate([jnp.zeros(1), jnp.cumsum(values * b[columns])])[ends]
        return (sums[1:] - sums[:-1],)

    args = _put(x["a"], x["a_indices"], x["a_indptr"], x["b"][:, 0])
    return run, args, lambda o: {"y": o[0][:, None]}


def _padded(x, params):
    starts = x["a_indptr"]
    lengths = np.diff(starts)
    wide = -(-max(1, int(lengths.max())) // 8) * 8
    columns = np.zeros((len(lengths), wide), np.int32)
    values = np.zeros((len(lengths), wide), np.float32)
    filled = np.arange(wide) < lengths[:, None]
    columns[filled], values[filled] = x["a_indices"], x["a"]
    return values, columns


@candidate("unstructured_sparse", "forward", "default", "off", "fast-math")
def padded_rows(x, params):
    """One column: rows padded to the longest, a multiple of eight; a gather, a product and a sum in one loop."""
    if params["n"] != 1:
        raise NotImplementedError("one column only")

    def run(values, columns, b):
        return (jnp.sum(values * b.at[columns].get(mode="promise_in_bounds"), 1),)

    return run, _put(*_padded(x, params), x["b"][:, 0]), lambda o: {"y": o[0][:, None]}


@candidate("unstructured_sparse", "forward", "default", "off", "fast-math")
def padded_columns(x, params):
    """The same transposed: the sum is over the outer axis and runs along the rows."""
    if params["n"] != 1:
        raise NotImplementedError("one column only")

    def run(values, columns, b):
        return (jnp.sum(values * b.at[columns].get(mode="promise_in_bounds"), 0),)

    values, columns = _padded(x, params)
    return run, _put(values.T, columns.T, x["b"][:, 0]), lambda o: {"y": o[0][:, None]}


def _flipped(x, params):
    order = np.argsort(x["a_indices"], kind="stable").astype(np.int32)
    counts = np.bincount(x["a_indices"], minlength=params["k"])
    return order, _rows(x)[order], np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)


@candidate("unstructured_sparse", "train_step", "default", "off", "dot")
def csr_step_dense(x, params):
    """CSR forward and back; the gradient of A dense, then taken."""
    m, k, n = (params[name] for name in "mkn")
    order, flipped_rows, back = _flipped(x, params)
    flat = _rows(x) * np.int32(k) + x["a_indices"]

    def run(values, b, target, columns, indptr, order, flipped_rows, back, flat):
        known = {"indices_sorted": True, "unique_indices": True}
        error = sparse.BCSR((values, columns, indptr), shape=(m, k), **known) @ b - target
        dy = error / n
        picked = values.at[order].get(mode="promise_in_bounds", unique_indices=True)
        grad_b = sparse.BCSR((picked, flipped_rows, back), shape=(k, m), **known) @ dy
        full = lax.dot_general(dy, b, (((1,), (1,)), ((), ()))).reshape(-1)
        grad = full.at[flat].get(mode="promise_in_bounds", unique_indices=True, indices_are_sorted=True)
        return jnp.sum(error * error) * (0.5 / n), values - RATE * grad, grad_b

    args = _put(x["a"], x["b"], x["target"], x["a_indices"], x["a_indptr"], order, flipped_rows, back, flat)
    return run, args, lambda o: {"loss": o[0], "a": o[1], "grad_b": o[2]}


@candidate("unstructured_sparse", "train_step", "default", "off", "dot")
def masked_step(x, params):
    """A stored with its zeros; a mask on the gradient."""
    m, k, n = (params[name] for name in "mkn")
    rows = _rows(x)
    dense, mask = np.zeros((m, k), np.float32), np.zeros((m, k), np.float32)
    dense[rows, x["a_indices"]], mask[rows, x["a_indices"]] = x["a"], 1

    def run(a, b, target, mask):
        error = a @ b - target
        dy = error / n
        updated = a - RATE * (lax.dot_general(dy, b, (((1,), (1,)), ((), ()))) * mask)
        return jnp.sum(error * error) * (0.5 / n), updated, lax.dot_general(a, dy, (((0,), (0,)), ((), ())))

    named = lambda o: {"loss": o[0], "a": o[1][rows, x["a_indices"]], "grad_b": o[2]}  # noqa: E731
    return run, _put(dense, x["b"], x["target"], mask), named


# -- block-sparse products --------------------------------------------------------------------------------------------
def _unrolled(x, params):
    m, k, side = params["m"], params["k"], params["block"]
    rows = np.repeat(np.arange(m // side), np.diff(x["a_indptr"]))
    within = np.arange(side)
    flat = (rows[:, None, None] * side + within[:, None]) * k + x["a_indices"][:, None, None] * side + within
    order = np.argsort(flat.ravel())
    flat = flat.ravel()[order]
    return (flat % k).astype(np.int32), np.searchsorted(flat, np.arange(m + 1) * k).astype(np.int32), order


@candidate("block_sparse", "forward", "default", "off")
def blocks_as_csr(x, params):
    columns, indptr, order = _unrolled(x, params)
    a = sparse.BCSR(tuple(_put(x["a"].ravel()[order], columns, indptr)), shape=(params["m"], params["k"]))
    return lambda a, b: (a @ b,), [a, *_put(x["b"])], _y


def _ragged(x, params):
    """Block rows in groups of equal length: (rows, count) and what each group's product reads."""
    side, starts = params["block"], x["a_indptr"]
    lengths = np.diff(starts)
    groups = []
    for length in np.unique(lengths[lengths > 0]):
        rows = np.flatnonzero(lengths == length)
        slots = starts[rows][:, None] + np.arange(length)
        wide = x["a"][slots].transpose(0, 2, 1, 3).reshape(len(rows), side, length * side)
        groups.append((rows, wide, x["a_indices"][slots]))
    return groups


@candidate("block_sparse", "forward", "default", "off", "dot")
def products_of_equal_rows(x, params):
    """A batched product for the block rows of each length: nothing is padded and nothing summed afterwards."""
    m, k, n, side = (params[name] for name in ("m", "k", "n", "block"))
    groups = _ragged(x, params)
    order = np.argsort(np.concatenate([rows for rows, _, _ in groups])).astype(np.int32)
    if len(order) != m // side:
        raise NotImplementedError("no empty block row")

    def run(b, order, *parts):
        tiles, half = b.reshape(k // side, side, n), len(parts) // 2
        out = []
        for wide, columns in zip(parts[:half], parts[half:], strict=True):
            picked = tiles.at[columns].get(mode="promise_in_bounds").reshape(len(wide), -1, n)
            out.append(wide @ picked)
        return (jnp.concatenate(out).at[order].get(mode="promise_in_bounds").reshape(m, n),)

    return run, _put(x["b"], order, *(g[1] for g in groups), *(g[2] for g in groups)), _y


@candidate("block_sparse", "forward", "default", "off", "dot")
def product_per_block_row(x, params):
    m, k, n, side = (params[name] for name in ("m", "k", "n", "block"))
    if m // side > 64:
        raise NotImplementedError("too many block rows to unroll")
    starts, columns = x["a_indptr"], x["a_indices"]
    wide = [x["a"][starts[i] : starts[i + 1]].transpose(1, 0, 2).reshape(side, -1) for i in range(m // side)]

    def run(b, columns, *wide):
        picked = b.reshape(k // side, side, n).at[columns].get(mode="promise_in_bounds").reshape(-1, n)
        parts = [w @ picked[starts[i] * side : starts[i + 1] * side] for i, w in enumerate(wide)]
        return (jnp.concatenate(parts),)

    return run, _put(x["b"], columns, *wide), _y


@candidate("block_sparse", "train_step", "default", "off", "dot")
def blocks_step(x, params):
    m, k, n, side = (params[name] for name in ("m", "k", "n", "block"))
    rows = _rows(x)
    columns = x["a_indices"]

    def run(a, b, target, rows, columns):
        right = b.reshape(k // side, side, n).at[columns].get(mode="promise_in_bounds")
        y = (
            jnp.zeros((m // side, side, n))
            .at[rows]
            .add(a @ right, mode="promise_in_bounds", indices_are_sorted=True)
            .reshape(m, n)
        )
        error = y - target
        dy = error / n
        left = dy.reshape(m // side, side, n).at[rows].get(mode="promise_in_bounds", indices_are_sorted=True)
        pulled = lax.dot_general(a, left, (((1,), (1,)), ((0,), (0,))))
        grad_b = jnp.zeros((k // side, side, n)).at[columns].add(pulled, mode="promise_in_bounds")
        grad = lax.dot_general(left, right, (((2,), (2,)), ((0,), (0,))))
        return jnp.sum(error * error) * (0.5 / n), a - RATE * grad, grad_b.reshape(k, n)

    return run, _put(x["a"], x["b"], x["target"], rows, columns), lambda o: {"loss": o[0], "a": o[1], "grad_b": o[2]}


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

        return forward, _put(*us, *ws), lambda o: {"v": o[0]}

    return make


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

        return step, _put(x["labels"].T, *us, *ws), named

    return make


for _blocks in (1, 2, 4, 8, 16):
    candidate.add(
        "capsule_routing",
        "forward",
        f"routing_{_blocks}",
        _routing_forward(_blocks),
        *("default", "off", "dot", "fast-math"),
    )
for _blocks in (1, 8):
    candidate.add(
        "capsule_routing", "train_step", f"routing_step_{_blocks}", _routing_step(_blocks), "default", "off", "dot"
    )


# -- convolutions -----------------------------------------------------------------------------------------------------
CONV = ("default", "off", "dot", "individual", "fast-math")


def _conv(x, w, stride=1, padding=1):
    return lax.conv_general_dilated(x, w, (stride, stride), ((padding, padding),) * 2, dimension_numbers=NHWC)


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
        return lambda x, w: (_conv(x, w, stride, padding),), _put(images, w), named

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
        return rows, _put(images, w.reshape(k, -1, co)), named
    return columns, _put(images, w.reshape(-1, co)), named


for _kind in ("conv", "columns", "rows"):
    candidate.add(
        "dense_conv",
        "forward",
        _kind,
        lambda x, params, kind=_kind: _convolutions(x["x"], x["w"], params, _y, kind),
        *CONV,
    )
    candidate.add(
        "capsule_conv",
        "forward",
        _kind,
        lambda x, params, kind=_kind: _convolutions(*_folded(x), params, _poses, kind),
        *CONV,
    )


# -- networks ---------------------------------------------------------------------------------------------------------


def _same_columns(x, k=3):
    n, side = x.shape[:2]
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return jnp.concatenate([padded[:, i : i + side, j : j + side] for i in range(k) for j in range(k)], 3).reshape(
        n * side * side, -1
    )


@jax.custom_vjp
def _conv_by_columns(x, w):
    """A convolution whose weight gradient is a product of patches, and whose input gradient is a convolution."""
    return _conv(x, w)


def _forward_rule(x, w):
    return _conv(x, w), (x, w)


def _backward_rule(saved, dy):
    x, w = saved
    dw = lax.dot_general(_same_columns(x), dy.reshape(-1, dy.shape[3]), (((0,), (0,)), ((), ())))
    return _conv(dy, w[::-1, ::-1].transpose(0, 1, 3, 2)), dw.reshape(w.shape)


_conv_by_columns.defvjp(_forward_rule, _backward_rule)


@jax.custom_vjp
def _conv_by_taps(x, w):
    """The weight gradient is nine products of shifted maps."""
    return _conv(x, w)


def _backward_taps(saved, dy):
    x, w = saved
    side, flat = x.shape[1], dy.reshape(-1, dy.shape[3])
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    taps = [
        lax.dot_general(padded[:, i : i + side, j : j + side].reshape(-1, x.shape[3]), flat, (((0,), (0,)), ((), ())))
        for i in range(3)
        for j in range(3)
    ]
    return _conv(dy, w[::-1, ::-1].transpose(0, 1, 3, 2)), jnp.stack(taps).reshape(w.shape)


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
            _put(x["x"], *_weights(x)),
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
        return step, _put(x["x"], x["target"], *_weights(x)), named

    return make


for _name, _parts in {
    "cnn": (_conv, _pool, False),
    "cnn_pool_first": (_conv, _pool, True),
    "cnn_pool_first_reshaped": (_conv, _pool_reshaped, True),
    "cnn_columns": (_conv_products, _pool, True),
}.items():
    candidate.add("dense_cnn", "forward", _name, _cnn_forward(*_parts), *CONV)
for _name, _parts in {
    "cnn_step": (_conv, _pool, False),
    "cnn_step_pool_first": (_conv, _pool, True),
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
    return run, _put(x["x"], x["target"], *(x[f"w{i}"] for i in range(count))), named


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
    return run, _put(x["x"].T, x["target"].T, *(x[f"w{i}"].T for i in range(count))), named


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
                y = jax.nn.relu(_conv(h, w))
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
        args = _put(x["x"], x["target"], *(x[f"{p}{i}"] for p in "wq" for i in range(count)))
        return step, args, lambda o: dict(zip(names, o, strict=True))

    return make


for _name, _pooling in {"local_cnn": _pool, "local_cnn_reshaped": _pool_reshaped}.items():
    candidate.add("local_update", "train_step", _name, _local_cnn(_pooling), *CONV)


ONLY["twin"] = ("eager", "default", "jit", "off", "dot")
