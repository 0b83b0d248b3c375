"""JAX's candidates of `bench_best`: dense, sparse and block-sparse products."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from _jax_by_hand import PRODUCT, RATE, candidate, first, put
from jax import lax
from jax.experimental import sparse


# -- dense products ---------------------------------------------------------------------------------------------------
def _dot(dims):
    return lambda a, b: (lax.dot_general(a, b, ((dims[:1], dims[1:]), ((), ()))),)


@candidate("dense_matmul", "forward", *PRODUCT)
def product(x, params):
    return _dot((1, 0)), put(x["a"], x["b"]), first


@candidate("dense_matmul", "forward", *PRODUCT)
def product_b_transposed(x, params):
    return _dot((1, 1)), put(x["a"], x["b"].T), first


@candidate("dense_matmul", "forward", *PRODUCT)
def product_a_transposed(x, params):
    return _dot((0, 0)), put(x["a"].T, x["b"]), first


@candidate("dense_matmul", "forward", *PRODUCT)
def product_transposed(x, params):
    return _dot((1, 0)), put(x["b"].T, x["a"].T), lambda o: {"y": o[0].T}


@candidate("dense_matmul", "forward", *PRODUCT)
def product_both_transposed(x, params):
    return _dot((0, 1)), put(x["b"], x["a"]), lambda o: {"y": o[0].T}


@candidate("dense_matmul", "forward", *PRODUCT)
def vector(x, params):
    if params["n"] != 1:
        raise NotImplementedError("one column only")
    return lambda a, b: (a @ b,), put(x["a"], x["b"][:, 0]), lambda o: {"y": o[0][:, None]}


@candidate("dense_matmul", "forward", *PRODUCT)
def multiply_and_sum(x, params):
    if params["n"] != 1:
        raise NotImplementedError("one column only")
    return lambda a, b: (jnp.sum(a * b, 1),), put(x["a"], x["b"][:, 0]), lambda o: {"y": o[0][:, None]}


@candidate("dense_matmul", "train_step")
def product_step(x, params):
    n, both = params["n"], params["grads"] == "both"

    def run(a, b, target):
        error = a @ b - target
        dy = error / n
        out = jnp.sum(error * error) * (0.5 / n), a - RATE * lax.dot_general(dy, b, (((1,), (1,)), ((), ())))
        return (*out, lax.dot_general(a, dy, (((0,), (0,)), ((), ())))) if both else out

    return run, put(x["a"], x["b"], x["target"]), lambda o: dict(zip(("loss", "a", "grad_b"), o, strict=False))


# -- sparse products --------------------------------------------------------------------------------------------------
def _bcsr(x, params):
    parts = put(x["a"], x["a_indices"], x["a_indptr"])
    return sparse.BCSR(tuple(parts), shape=(params["m"], params["k"]), indices_sorted=True, unique_indices=True)


@candidate("unstructured_sparse", "forward", "eager", "jit", "default")
def csr(x, params):
    return lambda a, b: (a @ b,), [_bcsr(x, params), *put(x["b"])], first


@candidate("unstructured_sparse", "forward", "eager", "jit", "default")
def csr_vector(x, params):
    if params["n"] != 1:
        raise NotImplementedError("one column only")
    return lambda a, b: (a @ b,), [_bcsr(x, params), *put(x["b"][:, 0])], lambda o: {"y": o[0][:, None]}


def _rows(x):
    return np.repeat(np.arange(len(x["a_indptr"]) - 1, dtype=np.int32), np.diff(x["a_indptr"]))


@candidate("unstructured_sparse", "forward", "eager", "jit", "default")
def coo(x, params):
    indices = np.stack([_rows(x), x["a_indices"]], 1)
    a = sparse.BCOO(
        tuple(put(x["a"], indices)), shape=(params["m"], params["k"]), indices_sorted=True, unique_indices=True
    )
    return lambda a, b: (a @ b,), [a, *put(x["b"])], first


@candidate("unstructured_sparse", "forward", "default", "off", "fast-math")
def gather_scan(x, params):
    """One column: a running sum of the products, read where the rows end."""
    if params["n"] != 1:
        raise NotImplementedError("one column only")

    def run(values, columns, ends, b):
        sums = jnp.concatenate([jnp.zeros(1), jnp.cumsum(values * b[columns])])[ends]
        return (sums[1:] - sums[:-1],)

    args = put(x["a"], x["a_indices"], x["a_indptr"], x["b"][:, 0])
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

    return run, put(*_padded(x, params), x["b"][:, 0]), lambda o: {"y": o[0][:, None]}


@candidate("unstructured_sparse", "forward", "default", "off", "fast-math")
def padded_columns(x, params):
    """The same transposed: the sum is over the outer axis and runs along the rows."""
    if params["n"] != 1:
        raise NotImplementedError("one column only")

    def run(values, columns, b):
        return (jnp.sum(values * b.at[columns].get(mode="promise_in_bounds"), 0),)

    values, columns = _padded(x, params)
    return run, put(values.T, columns.T, x["b"][:, 0]), lambda o: {"y": o[0][:, None]}


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

    args = put(x["a"], x["b"], x["target"], x["a_indices"], x["a_indptr"], order, flipped_rows, back, flat)
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
    return run, put(dense, x["b"], x["target"], mask), named


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
    a = sparse.BCSR(tuple(put(x["a"].ravel()[order], columns, indptr)), shape=(params["m"], params["k"]))
    return lambda a, b: (a @ b,), [a, *put(x["b"])], first


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

    return run, put(x["b"], order, *(g[1] for g in groups), *(g[2] for g in groups)), first


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

    return run, put(x["b"], columns, *wide), first


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

    return run, put(x["a"], x["b"], x["target"], rows, columns), lambda o: {"loss": o[0], "a": o[1], "grad_b": o[2]}
