"""What an early exit's step is made of: its operands, the margin of a head, and the layers of some of the examples.

Operands are x (n, h), the number of each example and of each class, thresholds, the layers, the heads; examples may be
sorted by the layer where they leave, which a server knows only of the past.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np

from backends.ops import Array, HostArray, Matrix, Ops
from workloads.base import Parameters
from workloads.common import exits

Product: TypeAlias = Callable[[Array, Matrix], Array]  # of activities and weights


def planned(p: Parameters) -> list[int]:
    """How many examples each layer has."""
    return exits.alive(p.batch, p.alive, p.layers)


def weight_names(p: Parameters) -> tuple[list[str], list[str]]:
    """Of the layers, and of their heads."""
    return [f"w{i}" for i in range(p.layers)], [f"q{i}" for i in range(p.layers)]


# -- operands ----------------------------------------------------------------------------------------------------------
def operands(ops: Ops, p: Parameters, x: HostArray, thresholds: HostArray, **weights: HostArray) -> Sequence[Array]:
    """x, the number of each example and of each class, thresholds, the layers, the heads."""
    layers, heads = weight_names(p)
    numbers = np.arange(p.batch, dtype=np.int32), np.arange(p.classes, dtype=np.int32)
    host = (x, *numbers, thresholds, *(weights[n] for n in layers), *(weights[n] for n in heads))
    return [ops.asarray(v) for v in host]


def _order(p: Parameters, x: HostArray, thresholds: HostArray, weights: Mapping[str, HostArray]) -> HostArray:
    """The examples in the order in which they leave, the last first.

    ValueError where other numbers of them leave than was planned: slices are static.
    """
    layers, heads = weight_names(p)
    exact, own = ([weights[n].astype(np.float64) for n in both] for both in (layers, heads))
    left = exits.run(x.astype(np.float64), exact, own, thresholds)[1]
    if [int((left >= layer).sum()) for layer in range(p.layers)] != planned(p):
        raise ValueError("sorted_prefix of early_exit is for a batch that keeps to the plan, and this one does not")
    return np.argsort(-left, kind="stable").astype(np.int32)


def prepare_sorted(
    ops: Ops, p: Parameters, x: HostArray, thresholds: HostArray, **weights: HostArray
) -> Sequence[Array]:
    """As `operands`, the examples in the order in which they leave."""
    order = _order(p, x, thresholds, weights)
    _, _, classes, *rest = operands(ops, p, x, thresholds, **weights)
    return [ops.asarray(x[order]), ops.asarray(order), classes, *rest]


def prepare_sorted_packed(
    ops: Ops, p: Parameters, x: HostArray, thresholds: HostArray, **weights: HostArray
) -> Sequence[Array | Matrix]:
    """The same with every layer and head laid out ahead for as many examples as come to it."""
    order = _order(p, x, thresholds, weights)
    host = (x[order], order, thresholds)
    packed = [
        ops.packed_weights(weights[n], rows)
        for several in weight_names(p)
        for n, rows in zip(several, planned(p), strict=True)
    ]
    return [*(ops.asarray(v) for v in host), *packed]


def unsorted(logits: HostArray, left_at: HostArray, order: HostArray) -> Mapping[str, HostArray]:
    """Outputs of sorted examples, in the order in which the examples were given."""
    back = np.argsort(order)
    return {"logits": logits[back], "left_at": left_at[back]}


# -- steps -------------------------------------------------------------------------------------------------------------
def margin(ops: Ops, logits: Array, classes: Array) -> Array:
    """The greatest logit less the next, (n,)."""
    greatest = ops.max(logits, 1, True)
    first = ops.astype(ops.argmax(logits, 1), "int32")
    where = ops.expand_dims(first, 1) == ops.expand_dims(classes, 0)
    lowest = ops.where(where, greatest - 1e30, logits)
    return ops.reshape(greatest, (-1,)) - ops.max(lowest, 1)


def relu_layer(ops: Ops, h: Array, weights: Array) -> Array:
    """relu(h·W)."""
    return ops.relu(ops.matmul(h, weights))


def first_ones(
    ops: Ops, size: int, h: Array, logits: Array, gone: Array, weights: Array, head: Array
) -> tuple[Array, Array]:
    """The layer and its head for the first `size` examples; the logits of those that left stay."""
    first = relu_layer(ops, h[:size, :], weights)
    found = ops.where(ops.expand_dims(gone[:size], 1) == 0, ops.matmul(first, head), logits[:size, :])
    if size == h.shape[0]:
        return first, found
    return ops.concat([first, h[size:, :]], 0), ops.concat([found, logits[size:, :]], 0)


def prefixes(
    ops: Ops,
    p: Parameters,
    layer_of: Product,
    head_of: Product,
    margin: Callable[[Array], Array],
    h: Array,
    order: Array,
    *rest: Array | Matrix,
) -> tuple[Array, ...]:
    """Each layer for the examples that come to it."""
    thresholds, layers, heads = rest[0], rest[1 : 1 + p.layers], rest[1 + p.layers :]
    plan = [*planned(p), 0]
    logits, at = [], []
    for layer, (weights, head) in enumerate(zip(layers, heads, strict=True)):
        h = layer_of(h[: plan[layer], :], weights)
        found = head_of(h, head)
        leaving = found[plan[layer + 1] :, :]
        logits.append(leaving)
        if layer < p.layers - 1:
            at.append(ops.astype(margin(leaving) < thresholds[layer], "int32") + layer)
        else:
            at.append(order[: plan[layer]] * 0 + layer)
    return ops.concat(logits[::-1], 0), ops.concat(at[::-1], 0), order


def one_alive(
    ops: Ops,
    classes: Array,
    last: bool,
    h: Array,
    logits: Array,
    at: Array,
    gone: Array,
    weights: Array,
    head: Array,
    threshold: Array,
) -> tuple[Array, ...]:
    """A layer and its head for an example that is alive."""
    h = relu_layer(ops, h, weights)
    found = ops.matmul(h, head)
    if last:
        return h, found, at + 0, gone + 1
    stays = ops.astype(margin(ops, found, classes) < threshold, "int32")
    return h, found, at + stays, 1 - stays


def one_gone(h: Array, logits: Array, at: Array, gone: Array, *others: Array) -> tuple[Array, ...]:
    """Of an example that has left; `+ 0`, since a branch may not return its own operands."""
    return h * 1.0, logits * 1.0, at + 0, gone + 0
