"""JAX's candidates of `bench_best`: sparse training over whole blocks. Activities are (units, images)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from _candidates import SIDE, Blocks, block_layers, moved_blocks, sparse_layers, stored_blocks, updated_layers
from _jax_by_hand import RATE, candidate, put
from jax import lax

COMPILED = ("default", "off", "dot")


class _Form(NamedTuple):
    """What a layer is stored as: values, and the others; then products of values and them."""

    operands: Callable[[Blocks], list[Any]]
    forward: Callable[..., Any]  # (values, h, others, shape) → y
    back: Callable[..., Any]
    gradient: Callable[..., Any]  # (dz, h, others, shape)
    blocks: Callable[[Blocks, Any], Any]  # of values on the host


def _tiles(x):
    return x.reshape(-1, SIDE, x.shape[1])


def _at(x, places):
    return x.at[places].get(mode="promise_in_bounds")


def _batched(a, b, inner):
    """A batched product along axis inner[0] of a and inner[1] of b."""
    return lax.dot_general(a, b, (((inner[0],), (inner[1],)), ((0,), (0,))))


def _flat(tiles):
    return tiles.reshape(-1, tiles.shape[-1])


# -- blocks one by one ------------------------------------------------------------------------------------------------
def _summed(made, at, count):
    return _flat(jnp.zeros((count, *made.shape[1:])).at[at].add(made, mode="promise_in_bounds"))


GATHERED = _Form(
    lambda b: [b.values, b.rows, b.columns],
    lambda v, h, o, shape: _summed(_batched(v, _at(_tiles(h), o[1]), (2, 1)), o[0], shape[0]),
    lambda v, dz, o, shape: _summed(_batched(v, _at(_tiles(dz), o[0]), (1, 1)), o[1], shape[1]),
    lambda dz, h, o, shape: _batched(_at(_tiles(dz), o[0]), _at(_tiles(h), o[1]), (2, 2)),
    lambda b, v: v,
)


# -- block rows, padded to the longest --------------------------------------------------------------------------------
def _picked(h, columns):
    return _at(_tiles(h), columns).reshape(len(columns), -1, h.shape[1])


def _rows(b: Blocks):
    wide, columns, filled = b.padded()
    places, there = b.by_column(np.flatnonzero(filled.ravel()).astype(np.int32))
    ones = np.repeat(filled, SIDE, 1)[:, None].astype(np.float32), there[..., None, None].astype(np.float32)
    return [wide, columns, ones[0], places, ones[1]]


def _back_summed(v, dz, o, shape):
    made = _batched(v, _tiles(dz), (1, 1)).reshape(-1, SIDE, dz.shape[1])
    return _summed(made, o[0].reshape(-1), shape[1])


def _back_taken(v, dz, o, shape):
    """The blocks of each block column taken together, padded to the longest, and added up: nothing is scattered."""
    made = _batched(v, _tiles(dz), (1, 1)).reshape(-1, SIDE, dz.shape[1])
    return _flat(jnp.sum(_at(made, o[2]) * o[3], 1))


ROWS = _Form(
    _rows,
    lambda v, h, o, shape: _flat(_batched(v, _picked(h, o[0]), (2, 1))),
    _back_summed,
    lambda dz, h, o, shape: _batched(_tiles(dz), _picked(h, o[0]), (2, 2)) * o[1],
    lambda b, v: b.of_padded(v),
)
ROWS_TAKEN = ROWS._replace(back=_back_taken)


# -- block rows one by one, written out -------------------------------------------------------------------------------
ROWS_WRITTEN_OUT = ROWS_TAKEN._replace(
    forward=lambda v, h, o, shape: jnp.concatenate([v[i] @ _flat(_at(_tiles(h), o[0][i])) for i in range(len(v))]),
)


# -- a step -----------------------------------------------------------------------------------------------------------
def _pass(form, layers, weights, others, h, target):
    """The loss, what each layer reads, the error behind each, and that of the logits."""
    *sparse, last = weights
    read = [h]
    for b, v, o in zip(layers, sparse, others, strict=True):
        read.append(jax.nn.relu(form.forward(v, read[-1], o, b.shape)))
    log_p = jax.nn.log_softmax(last.T @ read[-1], 0)
    loss, error = jnp.sum(target * log_p) * (-1.0 / h.shape[1]), (jnp.exp(log_p) - target) / h.shape[1]
    back, errors = last @ error, []
    for i in reversed(range(len(layers))):
        errors.insert(0, jnp.where(read[i + 1] > 0, back, 0))
        if i:
            back = form.back(sparse[i], errors[0], others[i], layers[i].shape)
    return loss, read, errors, error


def _operands(form, layers, x, params):
    """x, target, the weights, and of each layer the others."""
    made = [form.operands(b) for b in layers]
    host = (x["x"].T, x["target"].T, *(m[0] for m in made), x[f"w{params['layers']}"])
    return put(*host), [put(*m[1:]) for m in made]


def _step(form):
    def make(x, params):
        layers = block_layers(x, params, "step")

        def run(h, target, weights, others):
            loss, read, errors, error = _pass(form, layers, weights, others, h, target)
            new = [
                v - RATE * form.gradient(dz, r, o, b.shape)
                for v, dz, r, o, b in zip(weights, errors, read, others, layers, strict=False)
            ]
            return loss, *new, weights[-1] - RATE * (read[-1] @ error.T)

        def named(o):
            blocks = [form.blocks(b, v) for b, v in zip(layers, o[1:-1], strict=True)]
            return stored_blocks([o[0], *blocks, o[-1]], layers, x, params)

        (h, target, *weights), others = _operands(form, layers, x, params)
        return run, [h, target, weights, others], named

    return make


# -- an update --------------------------------------------------------------------------------------------------------
def _sizes(matrix):
    """The squared norm of each block: rows first, which are contiguous."""
    rows, columns = matrix.shape
    return (matrix * matrix).reshape(-1, SIDE, columns).sum(1).reshape(rows // SIDE, -1, SIDE).sum(2)


def _exchanged(values, places, gradient):
    """Blocks and places after the smallest gave their storage to where the gradient is largest."""
    dropped = max(1, round(0.3 * len(values)))
    size = jnp.sum(values * values, (1, 2))
    gone = lax.top_k(-size, dropped)[1]
    kept = jnp.ones(len(values), bool).at[gone].set(False, unique_indices=True)
    wanted = _sizes(gradient).reshape(-1)
    wanted = wanted * (1.0 - jnp.zeros_like(wanted).at[places].set(kept.astype(wanted.dtype), unique_indices=True))
    grown = lax.top_k(wanted, dropped)[1]
    return values * kept[:, None, None], places.at[gone].set(grown, unique_indices=True)


def _moved(form):
    def make(x, params):
        layers = block_layers(x, params, "update")
        stood = put(*(b.rows * np.int32(b.shape[1]) + b.columns for b in layers))

        def run(h, target, weights, others, stood):
            _, read, errors, _ = _pass(form, layers, weights, others, h, target)
            found = [
                _exchanged(v, at, lax.dot_general(dz, r, (((1,), (1,)), ((), ()))))
                for v, at, dz, r in zip(weights, stood, errors, read, strict=False)
            ]
            return *(v for v, _ in found), *(at for _, at in found)

        (h, target, *weights), others = _operands(form, layers, x, params)
        return run, [h, target, weights, others, stood], lambda o: moved_blocks(o, layers)

    return make


@candidate("sparse_training", "train_step", *COMPILED)
def blocks_moved_dense(x, params):
    """Layers (out, in) with their zeros, dense products, the masks by block."""
    layers = block_layers(x, params, "update")
    dense, count = sparse_layers(x, params), len(layers)

    def run(h, target, last, *rest):
        weights, masks = rest[:count], rest[count:]
        read = [h]
        for w in weights:
            read.append(jax.nn.relu(w @ read[-1]))
        error = (jax.nn.softmax(last.T @ read[-1], 0) - target) / h.shape[1]
        back, new, chosen = last @ error, [], []
        for i in reversed(range(count)):
            dz = jnp.where(read[i + 1] > 0, back, 0)
            back = weights[i].T @ dz if i else None
            stored = len(layers[i].values)
            dropped = max(1, round(0.3 * stored))
            size = _sizes(weights[i])
            keep = (size >= lax.top_k(size.reshape(-1), stored - dropped)[0][-1]) & masks[i]
            wanted = jnp.where(keep, 0, _sizes(lax.dot_general(dz, read[i], (((1,), (1,)), ((), ())))))
            grown = wanted >= lax.top_k(wanted.reshape(-1), dropped)[0][-1]
            tiles = weights[i].reshape(len(keep), SIDE, -1, SIDE)
            new.insert(0, (tiles * keep[:, None, :, None]).reshape(weights[i].shape))
            chosen.insert(0, (keep | grown).astype(jnp.int32))
        return *new, *chosen

    host = (x["x"].T, x["target"].T, x[f"w{count}"], *(w for w, _ in dense))
    masks = [m[::SIDE, ::SIDE] > 0 for _, m in dense]
    return run, put(*host, *masks), lambda o: updated_layers([v.T for v in o], count)


for _name, _form in {"gathered": GATHERED, "rows": ROWS, "rows_taken": ROWS_TAKEN}.items():
    candidate.add("sparse_training", "train_step", f"blocks_{_name}", _step(_form), *COMPILED)
candidate.add("sparse_training", "train_step", "blocks_written_out", _step(ROWS_WRITTEN_OUT), *COMPILED)
# of stored blocks alone, since an update leaves rows of any length
candidate.add("sparse_training", "train_step", "blocks_moved_gathered", _moved(GATHERED), *COMPILED)
