"""TensorFlow's candidates of `bench_best`: dense, sparse and block-sparse products."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from _tensorflow_by_hand import RATE, TRACED, candidate, first, put, raw


# -- dense products ---------------------------------------------------------------------------------------------------
def _product(a_transposed, b_transposed, swapped=False):
    def make(x, params):
        a, b = (x["b"].T, x["a"].T) if swapped else (x["a"], x["b"])
        a, b = a.T if a_transposed else a, b.T if b_transposed else b

        def run(a, b):
            return (raw.MatMul(a=a, b=b, transpose_a=a_transposed, transpose_b=b_transposed),)

        return run, put(a, b), (lambda o: {"y": o[0].T}) if swapped else first

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
    return lambda a, b: (tf.reduce_sum(a * b, 1),), put(x["a"], x["b"][:, 0]), lambda o: {"y": o[0][:, None]}


@candidate("dense_matmul", "train_step")
def product_step(x, params):
    n, both = params["n"], params["grads"] == "both"

    def run(a, b, target):
        error = raw.MatMul(a=a, b=b) - target
        dy = error / n
        out = raw.L2Loss(t=error) / n, a - RATE * raw.MatMul(a=dy, b=b, transpose_b=True)
        return (*out, raw.MatMul(a=a, b=dy, transpose_a=True)) if both else out

    return run, put(x["a"], x["b"], x["target"]), lambda o: dict(zip(("loss", "a", "grad_b"), o, strict=False))


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
    return lambda b: (raw.SparseMatrixMatMul(a=a, b=b),), put(x["b"]), first


@candidate("unstructured_sparse", "forward", "eager")
def csr_b_transposed(x, params):
    a = _matrix(tf.constant(x["a"]), _coordinates(_rows(x), x["a_indices"]), (params["m"], params["k"]))
    return lambda b: (raw.SparseMatrixMatMul(a=a, b=b, transpose_b=True),), put(x["b"].T), first


@candidate("unstructured_sparse", "forward", "eager")
def csr_of_the_transpose(x, params):
    """A stored as the CSR of its transpose, multiplied transposed."""
    a = _matrix_of_transpose(x, params)
    return lambda b: (raw.SparseMatrixMatMul(a=a, b=b, transpose_a=True),), put(x["b"]), first


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

    return run, put(x["b"]), first


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

    return run, put(*_padded(x), x["b"][:, 0]), lambda o: {"y": o[0][:, None]}


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

    return run, put(x["a"], x["b"], x["target"], order), lambda o: {"loss": o[0], "a": o[1], "grad_b": o[2]}


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
    return run, put(dense, x["b"], x["target"], mask), named


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
    return lambda b: (raw.SparseMatrixMatMul(a=a, b=b),), put(x["b"]), first


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

    return run, put(x["b"], x["a_indices"], *wide), first


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

    args = put(x["a"], x["b"], x["target"], rows, columns, order, columns[order])
    return run, args, lambda o: {"loss": o[0], "a": o[1], "grad_b": o[2]}
