"""A step of sparse training: weights stored with their zeros, in the framework's sparse formats, or in equal rows.

Activations of the sparse formats are stored as (units × images), since their matrix stands on the left; the dense ones
as (images × units), as in `dense_mlp`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from backends.ops import CSR, Array, HostArray, Matrix, Ops
from workloads.base import LEARNING_RATE, Parameters
from workloads.common import scattered, sparse
from workloads.common.sparse import Products
from workloads.common.sparse_mlp import dense_of, patterns_of, sizes, with_zeros

_EACH = {"native": 3, "gather": 5, "dense": 4}  # operands of a layer in a format, by how its gradient is sampled


# -- stored with zeros -------------------------------------------------------------------------------------------------
def masked_operands(
    ops: Ops, p: Parameters, x: HostArray, target: HostArray, rest: Mapping[str, HostArray]
) -> list[Array]:
    """x, target, every layer (in × out) with its zeros, and the masks."""
    patterns = patterns_of(rest, sizes(p))
    masks = [dense_of(np.ones_like(rest[f"w{i}"]), pattern).T for i, pattern in enumerate(patterns)]
    return [ops.asarray(np.ascontiguousarray(v)) for v in (x, target, *with_zeros(p, rest), *masks)]


def dense_gradients(ops: Ops, x: Array, target: Array, weights: Sequence[Array]) -> tuple[Array, list[Array]]:
    """The loss, and the gradient of every weight, by hand."""
    hidden = [x]
    for matrix in weights[:-1]:
        hidden.append(ops.relu(ops.matmul(hidden[-1], matrix)))
    logits, rows = ops.matmul(hidden[-1], weights[-1]), x.shape[0]
    log_softmax = ops.log_softmax(logits, 1)
    dz = (ops.exp(log_softmax) - target) / float(rows)
    gradients: list[Array] = []
    for layer in range(len(weights) - 1, -1, -1):
        gradients.insert(0, ops.matmul(sparse.transpose(ops, hidden[layer]), dz))
        if layer:
            dz = ops.relu_grad(ops.matmul(dz, sparse.transpose(ops, weights[layer])), hidden[layer])
    return ops.sum(log_softmax * target) * (-1.0 / rows), gradients


def masked_step(ops: Ops, p: Parameters, x: Array, target: Array, *operands: Array) -> tuple[Array, ...]:
    """(loss, every layer with its zeros after a step), from the operands of `masked_operands`.

    Masks of what is read may follow, where that is less than what learns; else the weights have their zeros already.
    """
    count = p.layers
    weights, masks, seen = operands[: count + 1], operands[count + 1 : 2 * count + 1], operands[2 * count + 1 :]
    read = [*(w * mask for w, mask in zip(weights, seen, strict=False)), *weights[len(seen) :]]
    loss, gradients = dense_gradients(ops, x, target, read)
    masked = [g * m for g, m in zip(gradients, masks, strict=False)]
    new = [ops.sgd_step(v, g, LEARNING_RATE) for v, g in zip(weights, [*masked, gradients[-1]], strict=True)]
    return loss, *new


def from_masked(p: Parameters, outputs: Mapping[str, HostArray]) -> Mapping[str, HostArray]:
    """The stored values of each updated layer, in the order of its pattern."""
    patterns = patterns_of(outputs, sizes(p))
    values = {f"w{i}": outputs[f"w{i}"].T[pattern.rows, pattern.indices] for i, pattern in enumerate(patterns)}
    return {"loss": outputs["loss"], **values, f"w{p.layers}": outputs[f"w{p.layers}"]}


# -- a step from the products of each layer ----------------------------------------------------------------------------
class Passes(NamedTuple):
    """What went through a network and came back.

    `read` is what each layer reads, the last one too, and `errors` the gradient behind each sparse layer, before its
    relu, all (units × images); `error` is that of the logits (10 × images).
    """

    loss: Array
    read: list[Array]
    errors: list[Array]
    error: Array


def passes(ops: Ops, layers: Sequence[Products], x: Array, target: Array, weights: Sequence[Array]) -> Passes:
    """x (features × n), target (10 × n); weights are the values of each sparse layer, and the last one (in × 10)."""
    read = [x]
    for layer, values in zip(layers, weights, strict=False):
        read.append(ops.relu(layer.forward(values, read[-1])))
    last, images = weights[-1], x.shape[1]
    log_softmax = ops.log_softmax(ops.matmul(sparse.transpose(ops, last), read[-1]), 0)
    error = (ops.exp(log_softmax) - target) / float(images)
    errors = [ops.relu_grad(ops.matmul(last, error), read[-1])]
    for i in range(len(layers) - 1, 0, -1):
        errors.insert(0, ops.relu_grad(layers[i].backward(weights[i], errors[0]), read[i]))
    return Passes(ops.sum(log_softmax * target) * (-1.0 / images), read, errors, error)


def step(ops: Ops, layers: Sequence[Products], x: Array, target: Array, weights: Sequence[Array]) -> tuple[Array, ...]:
    """(loss, the values of each layer after a step, the last layer)."""
    loss, read, errors, error = passes(ops, layers, x, target, weights)
    new = [layer.update(v, dz, h) for layer, v, dz, h in zip(layers, weights, errors, read, strict=False)]
    return loss, *new, ops.sgd_step_along(weights[-1], read[-1], sparse.transpose(ops, error), LEARNING_RATE)


# -- sparse formats ----------------------------------------------------------------------------------------------------
def native_operands(
    ops: Ops, p: Parameters, format: str, sampling: str, x: HostArray, target: HostArray, rest: Mapping[str, HostArray]
) -> list[Array | Matrix]:
    """x and target (units × images), the values and the last layer; then of each layer A, its transpose, the order.

    With `sampling` gather also rows and columns, with dense the flat positions of the stored values.
    """
    out = [ops.asarray(np.ascontiguousarray(v.T)) for v in (x, target)]
    out += [ops.asarray(rest[f"w{i}"]) for i in range(p.layers + 1)]
    for i, pattern in enumerate(patterns_of(rest, sizes(p))):
        csr = CSR(rest[f"w{i}"], pattern.indices, pattern.indptr, pattern.shape)
        flipped, order = csr.transposed()
        out += [ops.sparse(csr, format), ops.sparse(flipped, format), ops.asarray(order)]
        extra = {"gather": (pattern.rows, pattern.indices), "dense": (pattern.flat.astype(np.int32),)}
        out += [ops.asarray(v) for v in extra.get(sampling, ())]
    return out


def native_step(ops: Ops, p: Parameters, sampling: str, operands: Sequence[Array | Matrix]) -> tuple[Array, ...]:
    """(loss, the values of each layer after a step, the last layer)."""
    each, rest = _EACH[sampling], operands[3 + p.layers :]
    layers = [_native_layer(ops, sampling, rest[each * i : each * (i + 1)]) for i in range(p.layers)]
    return step(ops, layers, operands[0], operands[1], operands[2 : 3 + p.layers])


def sampled(ops: Ops, sampling: str, a: Matrix, extra: Sequence[Array | Matrix]) -> Callable[[Array, Array], Array]:
    """The gradient at stored weights, from (units × images) behind and before them.

    By the framework's own product at the non-zeros of `a`, or by `extra`: rows and columns, or flat positions.
    """

    def gradient(dz: Array, h: Array) -> Array:
        if sampling == "native":
            return ops.sampled_matmul(a, dz, h)
        if sampling == "gather":
            return ops.sum(ops.take(dz, extra[0]) * ops.take(h, extra[1]), 1)
        full = ops.matmul(dz, sparse.transpose(ops, h))
        return ops.take(ops.reshape(full, (-1,)), extra[0])

    return gradient


def _native_layer(ops: Ops, sampling: str, operands: Sequence[Array | Matrix]) -> Products:
    a, flipped, order, *extra = operands
    return Products(
        lambda values, h: ops.sparse_matmul(ops.sparse_with_values(a, values), h),
        sparse.sgd_update(ops, sampled(ops, sampling, a, extra)),
        lambda values, dz: ops.sparse_matmul(ops.sparse_with_values(flipped, ops.take(values, order)), dz),
    )


# -- equal rows --------------------------------------------------------------------------------------------------------
def ell_operands(
    ops: Ops, p: Parameters, x: HostArray, target: HostArray, rest: Mapping[str, HostArray]
) -> list[Array]:
    """As `native_operands`; of each layer columns and which are filled, and its transpose for the backward product.

    The values are (out, longest), padded by zeros.
    """
    out = [ops.asarray(np.ascontiguousarray(v.T)) for v in (x, target)]
    more: list[Array] = []
    for i, pattern in enumerate(patterns_of(rest, sizes(p))):
        ell = sparse.padded(pattern)
        out.append(ops.asarray(np.where(ell.filled, rest[f"w{i}"][ell.slots], 0).astype(x.dtype)))
        flipped, order = pattern.transposed()
        places = np.flatnonzero(ell.filled.ravel()).astype(np.int32)[order]
        host = (ell.columns.ravel(), ell.filled.astype(x.dtype), places, flipped.rows, flipped.indices)
        more += [ops.asarray(v) for v in host]
    return [*out, ops.asarray(rest[f"w{p.layers}"]), *more]


def ell_step(ops: Ops, p: Parameters, *operands: Array) -> tuple[Array, ...]:
    """(loss, the padded values of each layer after a step, the last layer)."""
    rest = operands[3 + p.layers :]
    layers = [_ell_layer(ops, p, size, *rest[5 * i : 5 * (i + 1)]) for i, size in enumerate(sizes(p)[:-2])]
    return step(ops, layers, operands[0], operands[1], operands[2 : 3 + p.layers])


def _ell_layer(
    ops: Ops, p: Parameters, inputs: int, columns: Array, filled: Array, places: Array, rows: Array, below: Array
) -> Products:
    units, longest = filled.shape

    def gradient(dz: Array, h: Array) -> Array:
        picked = ops.reshape(ops.take(h, columns), (units, longest, h.shape[1]))
        return ops.einsum("mn,mln->ml", dz, picked) * filled

    def backward(values: Array, dz: Array) -> Array:
        stored = ops.take(ops.reshape(values, (units * longest,)), places)
        return scattered.segment_product(ops, inputs, stored, rows, below, dz)

    return Products(
        lambda values, h: scattered.ell_product(ops, p, values, columns, h), sparse.sgd_update(ops, gradient), backward
    )


def from_ell(p: Parameters, outputs: Mapping[str, HostArray]) -> Mapping[str, HostArray]:
    """The stored values of each updated layer, in the order of its pattern."""
    filled = [sparse.padded(pattern).filled for pattern in patterns_of(outputs, sizes(p))]
    values = {f"w{i}": outputs[f"w{i}"][where] for i, where in enumerate(filled)}
    return {"loss": outputs["loss"], **values, f"w{p.layers}": outputs[f"w{p.layers}"]}
