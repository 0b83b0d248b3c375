"""What sparse training is made of: the reference, the bytes, a step in each format, and the update of a pattern.

Activations of the sparse formats are stored as (units × images), since their matrix stands on the left; the dense ones
as (images × units), as in `dense_mlp`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import TypeAlias

import numpy as np

from backends.ops import CSR, Array, HostArray, Matrix, Ops
from workloads.base import LEARNING_RATE, NEAR_TIES, Mode, Parameters, Twin
from workloads.common import scattered, sparse, topology
from workloads.common.patterns import Pattern

_SAMPLE = 10_000  # values, about
_MORE, _SPARE = 1.15, 50  # times as many are taken as a sample says, and some: it may have too few of the greatest
Threshold: TypeAlias = Callable[[Ops, Array, int], Array]  # of a flat array, the how many-th greatest


def twins(p: Parameters, mode: Mode) -> Sequence[Twin]:
    """A dense step of the same shape, and of the width that has as many parameters."""
    axes = {"batch": p.batch, "features": p.features, "layers": p.layers}
    dims = [p.features, *([p.hidden] * p.layers), 10]
    total = sum(topology.stored(dims, p.density))
    width = 1
    while width < p.hidden and width * (p.features + 10) + (p.layers - 1) * width**2 < total:
        width += 1
    return (
        Twin("same_network", "dense_mlp", {**axes, "hidden": p.hidden}, mode),
        Twin("narrower", "dense_mlp", {**axes, "hidden": width}, mode),
    )


def least_bytes(
    e: int, batch: int, dims: Sequence[int], density: float, phase: str, dense_gradient: bool
) -> tuple[int, int]:
    """Least bytes and least bytes alive.

    Each product reads or writes its weights, S = z(e + 4) + 4(out + 1), e·z of the last layer, and e·B(in + out); the
    update of a step moves 3e·z. Where a pattern is updated, a sparse layer's selection reads the stored weights, the
    scores of all and the mask, e(z + in·out) + in·out, and with a dense gradient e·in·out is written before.
    """
    counts = topology.stored(dims, density)
    moved = held = 0
    for layer, ((fan_in, fan_out), z) in enumerate(zip(pairwise(dims), counts, strict=True)):
        last = layer == len(counts) - 1
        own = e * z if last else z * (e + 4) + 4 * (fan_out + 1)
        product = own + e * batch * (fan_in + fan_out)
        held += own + e * z
        if dense_gradient:
            moved += (2 if layer else 1) * product + e * batch * (fan_in + fan_out) + e * fan_in * fan_out
        else:
            moved += (3 if layer else 2) * product + 3 * e * z
        if phase == "update" and not last:
            moved += e * (z + fan_in * fan_out) + fan_in * fan_out
    return moved, held + e * batch * sum(dims)


# -- reference ---------------------------------------------------------------------------------------------------------
def patterns_of(rest: Mapping[str, HostArray], dims: Sequence[int]) -> list[Pattern]:
    """The pattern of each sparse layer, (out × in)."""
    sizes = list(pairwise(dims))[:-1]
    return [Pattern(rest[f"w{i}_indices"], rest[f"w{i}_indptr"], (o, n)) for i, (n, o) in enumerate(sizes)]


def dense_of(values: HostArray, pattern: Pattern) -> HostArray:
    """Stored values among their zeros, (out × in)."""
    return CSR(values, pattern.indices, pattern.indptr, pattern.shape).dense()


def reference(
    p: Parameters, dims: Sequence[int], x: HostArray, target: HostArray, rest: Mapping[str, HostArray]
) -> Mapping[str, HostArray]:
    """By dense products; of an update also where rounding may decide."""
    patterns = patterns_of(rest, dims)
    whole = [dense_of(rest[f"w{i}"], pattern).T for i, pattern in enumerate(patterns)] + [rest[f"w{p.layers}"]]
    hidden = [x]
    for weights in whole[:-1]:
        hidden.append(np.maximum(hidden[-1] @ weights, 0.0))
    logits = hidden[-1] @ whole[-1]
    shifted = logits - logits.max(1, keepdims=True)
    log_softmax = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    dz = (np.exp(log_softmax) - target) / len(x)
    gradients: list[HostArray] = []
    for h, weights in zip(hidden[::-1], whole[::-1], strict=True):
        gradients.insert(0, h.T @ dz)
        dz = np.where(h > 0, dz @ weights.T, 0.0)
    last = whole[-1] - LEARNING_RATE * gradients[-1]
    if p.phase == "step":
        new = [
            rest[f"w{i}"] - LEARNING_RATE * gradients[i].T[pattern.rows, pattern.indices]
            for i, pattern in enumerate(patterns)
        ]
        out = {f"w{i}": values for i, values in enumerate([*new, last])}
        return {"loss": np.asarray(-np.mean((target * log_softmax).sum(1))), **out}
    return _updated(p, patterns, whole, gradients, rest) | ({} if p.rule == "rigl" else {f"w{p.layers}": last})


def _updated(
    p: Parameters,
    patterns: Sequence[Pattern],
    whole: Sequence[HostArray],
    gradients: Sequence[HostArray],
    rest: Mapping[str, HostArray],
) -> dict[str, HostArray]:
    out: dict[str, HostArray] = {}
    for i, pattern in enumerate(patterns):
        active = dense_of(np.ones(len(pattern.indices)), pattern).T > 0
        weights, growth = whole[i], gradients[i]
        if p.rule == "set":
            weights = weights - LEARNING_RATE * gradients[i] * active
            growth = growing(rest[f"grow{i}"], pattern.shape)
        new, mask, near = topology.updated(weights, active, growth, topology.exchanged(len(pattern.indices)))
        out |= {f"new{i}": new, f"mask{i}": mask, f"{NEAR_TIES}new{i}": near, f"{NEAR_TIES}mask{i}": near}
    return out


def growing(places: HostArray, shape: tuple[int, int]) -> HostArray:
    """Ones at flat `places` of (out × in), zeros elsewhere, as (in × out)."""
    flat = np.zeros(shape[0] * shape[1])
    flat[places] = 1.0
    return flat.reshape(shape).T


# -- stored with zeros -------------------------------------------------------------------------------------------------
def _sizes(p: Parameters) -> list[int]:
    return [p.features, *([p.hidden] * p.layers), 10]


def masked_operands(
    ops: Ops, p: Parameters, x: HostArray, target: HostArray, rest: Mapping[str, HostArray]
) -> list[Array]:
    """x, target, every layer (in × out) with its zeros, and the masks.

    Of an update also where SET's grows, and the flat places of the stored weights.
    """
    patterns = patterns_of(rest, _sizes(p))
    whole = [dense_of(rest[f"w{i}"], pattern).T for i, pattern in enumerate(patterns)]
    masks = [dense_of(np.ones_like(rest[f"w{i}"]), pattern).T for i, pattern in enumerate(patterns)]
    host = [x, target, *whole, rest[f"w{p.layers}"], *masks]
    if p.phase == "update" and p.rule == "set":
        host += [growing(rest[f"grow{i}"], pattern.shape).astype(x.dtype) for i, pattern in enumerate(patterns)]
    if p.phase == "update":
        host += [np.flatnonzero(mask.ravel()).astype(np.int32) for mask in masks]
    return [ops.asarray(np.ascontiguousarray(v)) for v in host]


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


def from_masked(p: Parameters, outputs: Mapping[str, HostArray]) -> Mapping[str, HostArray]:
    """The stored values of each updated layer, in the order of its pattern."""
    patterns = patterns_of(outputs, _sizes(p))
    values = {f"w{i}": outputs[f"w{i}"].T[pattern.rows, pattern.indices] for i, pattern in enumerate(patterns)}
    return {"loss": outputs["loss"], **values, f"w{p.layers}": outputs[f"w{p.layers}"]}


# -- thresholds and the update -----------------------------------------------------------------------------------------
def by_selection(ops: Ops, values: Array, count: int) -> Array:
    """As the framework selects."""
    return ops.kth_greatest(values, count)


def by_sort(ops: Ops, values: Array, count: int) -> Array:
    """All in order."""
    return ops.sort(values, -1, True)[count - 1]


def by_sample(ops: Ops, values: Array, count: int) -> Array:
    """Of those above what a sample says, where these are enough: the host reads how many there are."""
    length = values.shape[0]
    if 2 * count > length:
        return ops.kth_greatest(values, count)
    sample = values[:: max(1, length // _SAMPLE)]
    size = sample.shape[0]
    above = ops.nonzero(values >= ops.kth_greatest(sample, min(size, round(_MORE * count * size / length) + _SPARE)))
    return ops.kth_greatest(ops.take(values, above) if above.shape[0] >= count else values, count)


def by_bisection(ops: Ops, values: Array, count: int) -> Array:
    """Bit by bit, the greatest number that `count` values are at least: bits of positive floats are in their order."""
    bits = ops.bitcast(values, "int32")
    found = ops.astype(ops.sum(bits * 0, 0), "int32")
    for bit in range(30, -1, -1):
        tried = found + (1 << bit)
        enough = ops.sum(ops.astype(bits >= tried, "int32"), 0) >= count
        found = ops.where(enough, tried, found)
    return ops.bitcast(found, "float32")


def by_loop(ops: Ops, values: Array, count: int, powers: Array) -> Array:
    """The same with the passes as steps of a loop, which reads the bits where they were written; `powers` of two."""
    bits = ops.bitcast(values, "int32")

    def narrowed(found: tuple[Array, ...], power: tuple[Array, ...]) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        tried = found[0] + power[0]
        enough = ops.sum(ops.astype(bits >= tried, "int32"), 0) >= count
        return (ops.where(enough, tried, found[0]),), (tried,)

    (found,), _ = ops.scan(narrowed, (ops.astype(ops.sum(bits * 0, 0), "int32"),), (powers,))
    return ops.bitcast(found, "float32")


def update(
    ops: Ops, p: Parameters, threshold: Threshold, x: Array, target: Array, operands: Sequence[Array]
) -> tuple[Array, ...]:
    """The new weights of every sparse layer, then their masks (int32); of SET also the last layer after its step."""
    count = p.layers
    weights, masks, growth = operands[: count + 1], operands[count + 1 : 2 * count + 1], operands[2 * count + 1 :]
    places = operands[len(operands) - count :]
    _, gradients = dense_gradients(ops, x, target, weights)
    counts = topology.stored(_sizes(p), p.density)
    new, chosen = [], []
    for i in range(count):
        matrix, score, dropped = weights[i], gradients[i], topology.exchanged(counts[i])
        if p.rule == "set":
            matrix, score = ops.sgd_step(matrix, gradients[i] * masks[i], LEARNING_RATE), growth[i]
        magnitude = ops.maximum(matrix, -matrix)
        stored = ops.take(ops.reshape(magnitude, (-1,)), places[i])  # few: a tenth of the values to find one among
        least = threshold(ops, stored, counts[i] - dropped)
        kept = (magnitude >= least) & (masks[i] > 0)
        wanted = ops.where(kept, 0.0 * score, ops.maximum(score, -score))
        grown = wanted > 0 if p.rule == "set" else wanted >= threshold(ops, ops.reshape(wanted, (-1,)), dropped)
        new.append(ops.where(kept, matrix, 0.0))
        chosen.append(ops.astype(kept | grown, "int32"))
    last = [ops.sgd_step(weights[count], gradients[count], LEARNING_RATE)] if p.rule == "set" else []
    return *new, *chosen, *last


# -- sparse formats ----------------------------------------------------------------------------------------------------
def native_operands(
    ops: Ops, p: Parameters, format: str, sampling: str, x: HostArray, target: HostArray, rest: Mapping[str, HostArray]
) -> list[Array | Matrix]:
    """x and target (units × images), the values and the last layer; then of each layer A, its transpose, the order.

    With `sampling` gather also rows and columns, with dense the flat positions of the stored values.
    """
    out = [ops.asarray(np.ascontiguousarray(v.T)) for v in (x, target)]
    out += [ops.asarray(rest[f"w{i}"]) for i in range(p.layers + 1)]
    for i, pattern in enumerate(patterns_of(rest, _sizes(p))):
        csr = CSR(rest[f"w{i}"], pattern.indices, pattern.indptr, pattern.shape)
        flipped, order = csr.transposed()
        out += [ops.sparse(csr, format), ops.sparse(flipped, format), ops.asarray(order)]
        extra = {"gather": (pattern.rows, pattern.indices), "dense": (pattern.flat.astype(np.int32),)}
        out += [ops.asarray(v) for v in extra.get(sampling, ())]
    return out


Layer: TypeAlias = tuple[
    Callable[[Array, Array], Array], Callable[[Array, Array], Array], Callable[[Array, Array], Array]
]  # forward(values, h), backward(values, dz), gradient(dz, h)


def _native_layer(ops: Ops, p: Parameters, sampling: str, operands: Sequence[Array | Matrix]) -> Layer:
    a, flipped, order, *extra = operands

    def gradient(dz: Array, h: Array) -> Array:
        if sampling == "native":
            return ops.sampled_matmul(a, dz, h)
        if sampling == "gather":
            return ops.sum(ops.take(dz, extra[0]) * ops.take(h, extra[1]), 1)
        full = ops.matmul(dz, sparse.transpose(ops, h))
        return ops.take(ops.reshape(full, (-1,)), extra[0])

    return (
        lambda values, h: ops.sparse_matmul(ops.sparse_with_values(a, values), h),
        lambda values, dz: ops.sparse_matmul(ops.sparse_with_values(flipped, ops.take(values, order)), dz),
        gradient,
    )


def native_step(ops: Ops, p: Parameters, sampling: str, operands: Sequence[Array | Matrix]) -> tuple[Array, ...]:
    """(loss, the values of each layer after a step, the last layer)."""
    each = {"native": 3, "gather": 5, "dense": 4}[sampling]
    rest = operands[3 + p.layers :]
    layers = [_native_layer(ops, p, sampling, rest[each * i : each * (i + 1)]) for i in range(p.layers)]
    return _step(ops, layers, operands[0], operands[1], operands[2 : 3 + p.layers])


def _step(ops: Ops, layers: Sequence[Layer], x: Array, target: Array, weights: Sequence[Array]) -> tuple[Array, ...]:
    """x (features × n), target (10 × n); weights are the values of each sparse layer, and the last one (in × 10)."""
    hidden = [x]
    for (forward, _, _), values in zip(layers, weights, strict=False):
        hidden.append(ops.relu(forward(values, hidden[-1])))
    last, images = weights[-1], x.shape[1]
    log_softmax = ops.log_softmax(ops.matmul(sparse.transpose(ops, last), hidden[-1]), 0)
    dz = (ops.exp(log_softmax) - target) / float(images)
    new = [ops.sgd_step_along(last, hidden[-1], sparse.transpose(ops, dz), LEARNING_RATE)]
    dz = ops.relu_grad(ops.matmul(last, dz), hidden[-1])
    for i in range(len(layers) - 1, -1, -1):
        _, backward, gradient = layers[i]
        new.insert(0, ops.sgd_step(weights[i], gradient(dz, hidden[i]), LEARNING_RATE))
        if i:
            dz = ops.relu_grad(backward(weights[i], dz), hidden[i])
    return ops.sum(log_softmax * target) * (-1.0 / images), *new


# -- equal rows --------------------------------------------------------------------------------------------------------
def ell_operands(
    ops: Ops, p: Parameters, x: HostArray, target: HostArray, rest: Mapping[str, HostArray]
) -> list[Array]:
    """As `native_operands`; of each layer columns and which are filled, and its transpose for the backward product.

    The values are (out, longest), padded by zeros.
    """
    out = [ops.asarray(np.ascontiguousarray(v.T)) for v in (x, target)]
    more: list[Array] = []
    for i, pattern in enumerate(patterns_of(rest, _sizes(p))):
        ell = sparse.padded(pattern)
        out.append(ops.asarray(np.where(ell.filled, rest[f"w{i}"][ell.slots], 0).astype(x.dtype)))
        flipped, order = pattern.transposed()
        places = np.flatnonzero(ell.filled.ravel()).astype(np.int32)[order]
        host = (ell.columns.ravel(), ell.filled.astype(x.dtype), places, flipped.rows, flipped.indices)
        more += [ops.asarray(v) for v in host]
    return [*out, ops.asarray(rest[f"w{p.layers}"]), *more]


def ell_step(ops: Ops, p: Parameters, operands: Sequence[Array]) -> tuple[Array, ...]:
    """(loss, the padded values of each layer after a step, the last layer)."""
    rest, sizes = operands[3 + p.layers :], _sizes(p)
    layers = [_ell_layer(ops, p, sizes[i], *rest[5 * i : 5 * (i + 1)]) for i in range(p.layers)]
    return _step(ops, layers, operands[0], operands[1], operands[2 : 3 + p.layers])


def _ell_layer(
    ops: Ops, p: Parameters, inputs: int, columns: Array, filled: Array, places: Array, rows: Array, below: Array
) -> Layer:
    units, longest = filled.shape

    def gradient(dz: Array, h: Array) -> Array:
        picked = ops.reshape(ops.take(h, columns), (units, longest, h.shape[1]))
        return ops.einsum("mn,mln->ml", dz, picked) * filled

    def backward(values: Array, dz: Array) -> Array:
        stored = ops.take(ops.reshape(values, (units * longest,)), places)
        return scattered.segment_product(ops, inputs, stored, rows, below, dz)

    return lambda values, h: scattered.ell_product(ops, p, values, columns, h), backward, gradient


def from_ell(p: Parameters, outputs: Mapping[str, HostArray]) -> Mapping[str, HostArray]:
    """The stored values of each updated layer, in the order of its pattern."""
    filled = [sparse.padded(pattern).filled for pattern in patterns_of(outputs, _sizes(p))]
    values = {f"w{i}": outputs[f"w{i}"][where] for i, where in enumerate(filled)}
    return {"loss": outputs["loss"], **values, f"w{p.layers}": outputs[f"w{p.layers}"]}
