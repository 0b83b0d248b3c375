"""TensorFlow's candidates of `bench_best`: sparse training over whole blocks. Activities are (units, images)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from _candidates import SIDE, Blocks, block_layers, moved_blocks, sparse_layers, stored_blocks, updated_layers
from _tensorflow_by_hand import RATE, TRACED, candidate, put, raw

ALL = ("eager", *TRACED)


class _Form(NamedTuple):
    """What a layer is stored as: values, and the others; then products of values and them."""

    operands: Callable[[Blocks], list[Any]]
    forward: Callable[..., Any]  # (values, h, others, shape) → y
    back: Callable[..., Any]
    gradient: Callable[..., Any]  # (dz, h, others, shape)
    blocks: Callable[[Blocks, Any], Any]  # of values on the host


def _tiles(x):
    return tf.reshape(x, (-1, SIDE, x.shape[1]))


def _flat(tiles):
    return tf.reshape(tiles, (-1, tiles.shape[-1]))


def _added(made, at, count):
    return _flat(raw.UnsortedSegmentSum(data=made, segment_ids=at, num_segments=count))


def _in_order(made, at, count):
    """Rows that come sorted by where they belong; every one has some."""
    return _flat(tf.ensure_shape(raw.SegmentSum(data=made, segment_ids=at), (count, *made.shape[1:])))


# -- blocks one by one ------------------------------------------------------------------------------------------------
GATHERED = _Form(
    lambda b: [b.values, b.rows, b.columns],
    lambda v, h, o, shape: _added(raw.BatchMatMulV2(x=v, y=tf.gather(_tiles(h), o[1])), o[0], shape[0]),
    lambda v, d, o, shape: _added(raw.BatchMatMulV2(x=v, y=tf.gather(_tiles(d), o[0]), adj_x=True), o[1], shape[1]),
    lambda d, h, o, shape: raw.BatchMatMulV2(x=tf.gather(_tiles(d), o[0]), y=tf.gather(_tiles(h), o[1]), adj_y=True),
    lambda b, v: v,
)


def _sorted_back(v, dz, o, shape):
    made = raw.BatchMatMulV2(x=v, y=tf.gather(_tiles(dz), o[0]), adj_x=True)
    return _in_order(tf.gather(made, o[2]), o[3], shape[1])


def _both_orders(b: Blocks):
    order = np.argsort(b.columns, kind="stable").astype(np.int32)
    return [b.values, b.rows, b.columns, order, b.columns[order]]


SORTED = GATHERED._replace(
    operands=_both_orders,
    forward=lambda v, h, o, shape: _in_order(raw.BatchMatMulV2(x=v, y=tf.gather(_tiles(h), o[1])), o[0], shape[0]),
    back=_sorted_back,
)


# -- block rows, padded to the longest --------------------------------------------------------------------------------
def _picked(h, columns):
    return tf.reshape(tf.gather(_tiles(h), columns), (columns.shape[0], -1, h.shape[1]))


def _rows(b: Blocks):
    wide, columns, filled = b.padded()
    places, there = b.by_column(np.flatnonzero(filled.ravel()).astype(np.int32))
    order = places[there]
    ones = np.repeat(filled, SIDE, 1)[:, None].astype(np.float32), there[..., None, None].astype(np.float32)
    return [wide, columns, ones[0], places, ones[1], order, np.sort(b.columns)]


def _made_back(v, dz):
    return tf.reshape(raw.BatchMatMulV2(x=v, y=_tiles(dz), adj_x=True), (-1, SIDE, dz.shape[1]))


ROWS = _Form(
    _rows,
    lambda v, h, o, shape: _flat(raw.BatchMatMulV2(x=v, y=_picked(h, o[0]))),
    lambda v, dz, o, shape: _added(_made_back(v, dz), tf.reshape(o[0], (-1,)), shape[1]),
    lambda dz, h, o, shape: raw.BatchMatMulV2(x=_tiles(dz), y=_picked(h, o[0]), adj_y=True) * o[1],
    lambda b, v: b.of_padded(v),
)
ROWS_SORTED = ROWS._replace(back=lambda v, dz, o, shape: _in_order(tf.gather(_made_back(v, dz), o[4]), o[5], shape[1]))
ROWS_TAKEN = ROWS._replace(
    back=lambda v, dz, o, shape: _flat(tf.reduce_sum(tf.gather(_made_back(v, dz), o[2]) * o[3], 1))
)


# -- a step -----------------------------------------------------------------------------------------------------------
def _pass(form, layers, weights, others, h, target):
    """The loss, what each layer reads, the error behind each, and that of the logits."""
    *sparse, last = weights
    read = [h]
    for b, v, o in zip(layers, sparse, others, strict=True):
        read.append(tf.nn.relu(form.forward(v, read[-1], o, b.shape)))
    log_p = tf.nn.log_softmax(raw.MatMul(a=last, b=read[-1], transpose_a=True), 0)
    loss, error = tf.reduce_sum(target * log_p) * (-1.0 / h.shape[1]), (tf.exp(log_p) - target) / h.shape[1]
    back, errors = raw.MatMul(a=last, b=error), []
    for i in reversed(range(len(layers))):
        errors.insert(0, raw.ReluGrad(gradients=back, features=read[i + 1]))
        if i:
            back = form.back(sparse[i], errors[0], others[i], layers[i].shape)
    return loss, read, errors, error


def _parts(form, layers, x, params):
    """x, target, the weights and of each layer the others, one after the other; and what takes them apart again."""
    made = [form.operands(b) for b in layers]
    host = (x["x"].T, x["target"].T, *(m[0] for m in made), x[f"w{params['layers']}"])
    count, each = len(layers), len(made[0]) - 1

    def apart(*arrays):
        weights, rest = arrays[: count + 1], arrays[count + 1 :]
        return weights, [rest[each * i : each * (i + 1)] for i in range(count)], rest[each * count :]

    return put(*host, *(v for m in made for v in m[1:])), apart


def _step(form):
    def make(x, params):
        layers = block_layers(x, params, "step")
        args, apart = _parts(form, layers, x, params)

        def run(h, target, *arrays):
            weights, others, _ = apart(*arrays)
            loss, read, errors, error = _pass(form, layers, weights, others, h, target)
            new = [
                v - RATE * form.gradient(dz, r, o, b.shape)
                for v, dz, r, o, b in zip(weights, errors, read, others, layers, strict=False)
            ]
            return loss, *new, weights[-1] - RATE * raw.MatMul(a=read[-1], b=error, transpose_b=True)

        def named(o):
            blocks = [form.blocks(b, v) for b, v in zip(layers, o[1:-1], strict=True)]
            return stored_blocks([o[0], *blocks, o[-1]], layers, x, params)

        return run, args, named

    return make


# -- an update --------------------------------------------------------------------------------------------------------
def _sizes(matrix):
    """The squared norm of each block: rows first, which are contiguous."""
    rows, columns = matrix.shape
    halfway = tf.reduce_sum(tf.reshape(matrix * matrix, (-1, SIDE, columns)), 1)
    return tf.reduce_sum(tf.reshape(halfway, (rows // SIDE, -1, SIDE)), 2)


def _exchanged(values, places, gradient):
    """Blocks and places after the smallest gave their storage to where the gradient is largest."""
    stored = values.shape[0]
    dropped = max(1, round(0.3 * stored))
    gone = tf.math.top_k(-tf.reduce_sum(values * values, (1, 2)), dropped).indices
    kept = tf.tensor_scatter_nd_update(tf.ones(stored), gone[:, None], tf.zeros(dropped))
    wanted = tf.reshape(_sizes(gradient), (-1,))
    wanted *= 1.0 - tf.scatter_nd(places[:, None], kept, wanted.shape)
    grown = tf.math.top_k(wanted, dropped).indices
    return values * kept[:, None, None], tf.tensor_scatter_nd_update(places, gone[:, None], grown)


def _moved(form):
    def make(x, params):
        layers = block_layers(x, params, "update")
        args, apart = _parts(form, layers, x, params)
        stood = put(*(b.rows * np.int32(b.shape[1]) + b.columns for b in layers))

        def run(h, target, *arrays):
            weights, others, stood = apart(*arrays)
            _, read, errors, _ = _pass(form, layers, weights, others, h, target)
            found = [
                _exchanged(v, at, raw.MatMul(a=dz, b=r, transpose_b=True))
                for v, at, dz, r in zip(weights, stood, errors, read, strict=False)
            ]
            return *(v for v, _ in found), *(at for _, at in found)

        return run, [*args, *stood], lambda o: moved_blocks(o, layers)

    return make


@candidate("sparse_training", "train_step", *ALL)
def blocks_moved_dense(x, params):
    """Layers (out, in) with their zeros, dense products, the masks by block."""
    layers = block_layers(x, params, "update")
    dense, count = sparse_layers(x, params), len(layers)

    def run(h, target, last, *rest):
        weights, masks = rest[:count], rest[count:]
        read = [h]
        for w in weights:
            read.append(tf.nn.relu(raw.MatMul(a=w, b=read[-1])))
        error = (tf.nn.softmax(raw.MatMul(a=last, b=read[-1], transpose_a=True), 0) - target) / h.shape[1]
        back, new, chosen = raw.MatMul(a=last, b=error), [], []
        for i in reversed(range(count)):
            dz = raw.ReluGrad(gradients=back, features=read[i + 1])
            back = raw.MatMul(a=weights[i], b=dz, transpose_a=True) if i else None
            stored = len(layers[i].values)
            dropped = max(1, round(0.3 * stored))
            size = _sizes(weights[i])
            keep = (size >= tf.math.top_k(tf.reshape(size, (-1,)), stored - dropped).values[-1]) & masks[i]
            wanted = tf.where(keep, 0.0, _sizes(raw.MatMul(a=dz, b=read[i], transpose_b=True)))
            grown = wanted >= tf.math.top_k(tf.reshape(wanted, (-1,)), dropped).values[-1]
            tiles = tf.reshape(weights[i], (keep.shape[0], SIDE, -1, SIDE))
            there = tf.cast(keep, tf.float32)[:, None, :, None]
            new.insert(0, tf.reshape(tiles * there, weights[i].shape))
            chosen.insert(0, keep | grown)
        return *new, *chosen

    host = (x["x"].T, x["target"].T, x[f"w{count}"], *(w for w, _ in dense))
    masks = [m[::SIDE, ::SIDE] > 0 for _, m in dense]
    return run, put(*host, *masks), lambda o: updated_layers([v.T for v in o], count)


for _name, _form, _where in (
    ("gathered", GATHERED, ALL),
    ("sorted", SORTED, ALL[:2]),
    ("rows", ROWS, ALL),
    ("rows_sorted", ROWS_SORTED, ALL[:2]),
    ("rows_taken", ROWS_TAKEN, ALL),
):
    candidate.add("sparse_training", "train_step", f"blocks_{_name}", _step(_form), *_where)
# of stored blocks alone, since an update leaves rows of any length
for _name, _form, _where in (("gathered", GATHERED, ALL), ("sorted", SORTED, ALL[:2])):
    candidate.add("sparse_training", "train_step", f"blocks_moved_{_name}", _moved(_form), *_where)
