"""How a step of a mixture of experts brings tokens to their experts and back: sorted, counted, padded or one by one.

Everywhere x is (n, d), w1 (E, d, h), w2 (E, h, d), experts_of and gates (n, k), and a pair is of a token and one of its
experts. Lengths that a framework must know ahead are those of operands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from backends.ops import Array, HostArray, Matrix, Ops
from workloads.base import Parameters
from workloads.common import routing_of_tokens


# -- operands ----------------------------------------------------------------------------------------------------------
def operands(
    ops: Ops, p: Parameters, x: HostArray, w1: HostArray, w2: HostArray, experts_of: HostArray, gates: HostArray
) -> Sequence[Array]:
    """Everything as it is, and the numbers of the experts."""
    every = np.arange(p.experts, dtype=np.int32)
    return [ops.asarray(v) for v in (x, w1, w2, experts_of, gates, every)]


def capacity_operands(
    ops: Ops, p: Parameters, x: HostArray, w1: HostArray, w2: HostArray, experts_of: HostArray, gates: HostArray
) -> Sequence[Array]:
    """As `operands`, and the places of an expert, as many as the fullest has tokens."""
    places = np.arange(routing_of_tokens.fullest(experts_of, p.experts), dtype=np.int32)
    return [*operands(ops, p, x, w1, w2, experts_of, gates), ops.asarray(places)]


def ranked_operands(
    ops: Ops, p: Parameters, x: HostArray, w1: HostArray, w2: HostArray, experts_of: HostArray, gates: HostArray
) -> Sequence[Array]:
    """As `capacity_operands`, and the token of each pair."""
    tokens = np.repeat(np.arange(p.n, dtype=np.int32), p.k)
    return [*capacity_operands(ops, p, x, w1, w2, experts_of, gates), ops.asarray(tokens)]


def _most_blocks(p: Parameters) -> int:
    """Blocks that any routing fits in: every expert may leave its last one nearly empty."""
    used = min(p.experts, p.n * p.k)
    return int((p.n * p.k + used * (p.block - 1)) // p.block)


def blocked_operands(
    ops: Ops, p: Parameters, x: HostArray, w1: HostArray, w2: HostArray, experts_of: HostArray, gates: HostArray
) -> Sequence[Array]:
    """As `operands`, and the numbers of the blocks and of the rows in one."""
    blocks, rows = np.arange(_most_blocks(p), dtype=np.int32), np.arange(p.block, dtype=np.int32)
    return [*operands(ops, p, x, w1, w2, experts_of, gates), ops.asarray(blocks), ops.asarray(rows)]


def packed_operands(
    ops: Ops, p: Parameters, x: HostArray, w1: HostArray, w2: HostArray, experts_of: HostArray, gates: HostArray
) -> Sequence[Array | Matrix]:
    """Tokens, routing, each pair's number and token, and weights laid out ahead for as many tokens as on average."""
    rows = -(-p.n * p.k // p.experts)
    numbers = np.arange(p.n * p.k, dtype=np.int32)
    host = (x, experts_of, gates, numbers, numbers // np.int32(p.k))
    return [*(ops.asarray(v) for v in host), *(ops.packed_weights(w, rows) for both in (w1, w2) for w in both)]


# -- steps -------------------------------------------------------------------------------------------------------------
def sorted_pairs(ops: Ops, p: Parameters, x: Array, experts_of: Array) -> tuple[Array, Array, Array]:
    """Pairs of token and expert in the order of the experts: which pair, its expert, its token's values (n·k, d)."""
    flat = ops.reshape(experts_of, (p.n * p.k,))
    order = ops.argsort(flat)
    return order, ops.take(flat, order), ops.take(x, order // p.k)


def counts(ops: Ops, p: Parameters, experts_of: Array, every: Array) -> Array:
    """How many tokens each expert has, (E,) int32."""
    hits = ops.reshape(experts_of, (p.n * p.k, 1)) == ops.expand_dims(every, 0)
    return ops.astype(ops.sum(ops.astype(hits, "int32"), 0), "int32")


def starts(ops: Ops, counts: Array) -> Array:
    """Where each expert's run of sorted pairs begins."""
    return ops.cumsum(counts, 0) - counts


def places_of_pairs(ops: Ops, flat: Array, every: Array) -> Array:
    """The how many-th of its expert each pair (n·k,) is, by a running count: int32, from 0."""
    hits = ops.astype(ops.expand_dims(flat, 1) == ops.expand_dims(every, 0), "int32")
    return ops.astype(ops.sum(ops.cumsum(hits, 0) * hits, 1) - 1, "int32")


def taken_back(ops: Ops, p: Parameters, results: Array, place: Array, gates: Array) -> Array:
    """Results (…, d) at the place of each pair back to their tokens, weighted and summed: y (n, d)."""
    back = ops.reshape(ops.take(results, place), (p.n, p.k, p.d))
    return ops.sum(back * ops.expand_dims(gates, 2), 1)


def mixed(ops: Ops, p: Parameters, results: Array, order: Array, gates: Array) -> Array:
    """Results (n·k, d) of sorted pairs back to their tokens, weighted and summed: y (n, d)."""
    return taken_back(ops, p, results, ops.argsort(order), gates)


def by_experts(ops: Ops, x: Array, w1: Array, w2: Array) -> Array:
    """Each batch of rows (e, r, d) through its own block."""
    return ops.matmul(ops.relu(ops.matmul(x, w1)), w2)


def rank(ops: Ops, starts: Array, of: Array) -> Array:
    """The how many-th of its expert each sorted pair is."""
    ones = of * 0 + 1
    return ops.cumsum(ones, 0) - 1 - ops.take(starts, of)


def one_by_one(
    ops: Ops,
    p: Parameters,
    x: Array,
    experts_of: Array,
    block: Callable[[int, Array], Array],
    tokens: Array | None = None,
) -> tuple[Array, Array]:
    """Results (n·k, d) of sorted pairs by `block` of each expert that has tokens, and which pair each is of.

    `tokens` (n·k,) are those of the pairs, where they are an operand: taken sooner than found by a division.
    """
    flat = ops.reshape(experts_of, (p.n * p.k,))
    order = ops.argsort(flat)
    rows = ops.take(x, order // p.k if tokens is None else ops.take(tokens, order))
    ends = np.cumsum(np.bincount(ops.to_numpy(flat), minlength=p.experts)).tolist()
    runs = enumerate(zip([0, *ends], ends, strict=False))
    return ops.concat([block(expert, rows[start:end, :]) for expert, (start, end) in runs if end > start], 0), order
