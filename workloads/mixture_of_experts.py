"""A mixture of experts: each of N tokens goes through k of E blocks of two layers, and their results are mixed.

y[n] = Σ_j g[n, j] · relu(x[n] · W1[e]) · W2[e], e = experts_of[n, j]. The routing is given, and no token is dropped:
dropping some would be another computation. Where tokens go is only known in the call, so that whatever sorts, counts or
pads them (workloads/common/dispatch.py) belongs to the step.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from backends.ops import Array, HostArray, Matrix, Ops
from workloads import Axis, Parameters, Workload
from workloads.base import Inputs, Mode, Work
from workloads.common import digits, dispatch, routing_of_tokens

w = Workload(
    "mixture_of_experts",
    title="mixture of experts",
    source="Shazeer et al. 2017 (arXiv:1701.06538), §2; Gale et al. 2022, MegaBlocks (arXiv:2211.15841), §4",
    leaves_out="equal work for every example",
    axes={
        "n": Axis(help="tokens", low=1, high=1e7, default=512, break_even=True),
        "d": Axis(help="values of a token", low=1, high=1e6, default=256),
        "h": Axis(help="units of an expert", low=1, high=1e6, default=512),
        "experts": Axis(help="experts there are", low=1, high=4096, default=8),
        "k": Axis(help="experts of each token", low=1, high=4096, default=2),
        "balance": Axis(help="how tokens spread", choices=routing_of_tokens.BALANCES, default="uniform"),
        "block": Axis(help="tokens of a block, in the blocked formulation", low=1, high=4096, default=32),
    },
)
w.preset("smoke", n=16, d=16, h=32, experts=4, block=4)
w.preset("smoke", n=16, d=16, h=32, experts=4, block=4, balance="zipf")
w.preset("ideas")
w.preset("standard", n=2048, d=512, h=1024, experts=8, block=64, group="512x1024")
w.preset("standard", n=256, d=512, h=1024, experts=8, block=64, survey=False, headline=False, group="512x1024")
w.preset("standard", n=2048, d=512, h=1024, experts=64, block=32, balance="zipf", group="512x1024")
w.preset("full", n=16384, d=4096, h=14336, experts=8, block=128)
w.preset("full", n=32768, d=2560, h=1280, experts=64, k=8, block=128)
w.twin("dense_block", kind="active_width", batch="n", d="d", h=lambda p: p.k * p.h)
w.twin("dense_block", kind="all_parameters", batch="n", d="d", h=lambda p: p.experts * p.h)


def _checked(p: Parameters) -> Parameters:
    if p.k > p.experts:
        raise ValueError(f"axis k of mixture_of_experts must be at most experts, found {p.k} of {p.experts}")
    if p.balance == "expert_choice" and p.n * p.k % p.experts:
        raise ValueError(
            f"axis experts of mixture_of_experts must divide n·k where balance is expert_choice, found {p.experts} for "
            f"{p.n * p.k}"
        )
    return p


@w.inputs
def inputs(p: Parameters, seed: int) -> Inputs:
    """x (n, d) digits, w1 (E, d, h), w2 (E, h, d), experts_of (n, k) int32, gates (n, k), which sum to 1."""
    _checked(p)
    rng = np.random.default_rng([seed, 5])
    scores = np.exp(rng.standard_normal((p.n, p.k)))
    return {
        "x": digits.flat(p.n, p.d, seed),
        "w1": rng.standard_normal((p.experts, p.d, p.h)) * np.sqrt(2 / p.d),
        "w2": rng.standard_normal((p.experts, p.h, p.d)) / np.sqrt(p.h),
        "experts_of": routing_of_tokens.draw(p.n, p.experts, p.k, p.balance, rng),
        "gates": scores / scores.sum(axis=1, keepdims=True),
    }


@w.reference
def reference(
    x: HostArray, w1: HostArray, w2: HostArray, experts_of: HostArray, gates: HostArray
) -> Mapping[str, HostArray]:
    """Expert by expert."""
    return {"y": routing_of_tokens.mixture(x, w1, w2, experts_of, gates)}


@w.work
def work(p: Parameters, mode: Mode, itemsize: int) -> Work:
    """4·N·k·d·h; X, Y and the hidden values once each way, the weights of the experts used, the routing's 8 bytes."""
    _checked(p)
    used = min(p.experts, p.n * p.k)
    moved = itemsize * (2 * p.n * p.d + 2 * p.n * p.k * p.h + 2 * used * p.d * p.h) + 8 * p.n * p.k
    return Work(4 * p.n * p.k * p.d * p.h, moved, moved)


Y = ("y",)


@w.formulation(
    note="every expert padded to the fullest, one batched product; none is dropped",
    prepare=dispatch.capacity_operands,
    outputs=Y,
)
def capacity_bmm(
    ops: Ops,
    p: Parameters,
    x: Array,
    w1: Array,
    w2: Array,
    experts_of: Array,
    gates: Array,
    every: Array,
    places: Array,
) -> tuple[Array, ...]:
    """A place that an expert does not fill holds somebody else's token, and nobody reads what becomes of it.

    Tokens go to their places in one gather and come back in one: a running count says the place of each pair.
    """
    capacity, flat = places.shape[0], ops.reshape(experts_of, (p.n * p.k,))
    starts = dispatch.starts(ops, dispatch.counts(ops, p, experts_of, every))
    wanted = ops.expand_dims(starts, 1) + ops.expand_dims(places, 0)
    source = ops.take(ops.argsort(flat), ops.where(wanted < p.n * p.k, wanted, p.n * p.k - 1))
    results = ops.reshape(dispatch.by_experts(ops, ops.take(x, source // p.k), w1, w2), (p.experts * capacity, p.d))
    place = flat * capacity + dispatch.places_of_pairs(ops, flat, every)
    return (dispatch.taken_back(ops, p, results, place, gates),)


@w.formulation(
    note="the same without a sort: each pair scatters the number of its token to its place",
    prepare=dispatch.ranked_operands,
    outputs=Y,
)
def capacity_ranked(
    ops: Ops,
    p: Parameters,
    x: Array,
    w1: Array,
    w2: Array,
    experts_of: Array,
    gates: Array,
    every: Array,
    places: Array,
    tokens: Array,
) -> tuple[Array, ...]:
    """A place that an expert does not fill holds the first token, and nobody reads what becomes of it."""
    capacity, flat = places.shape[0], ops.reshape(experts_of, (p.n * p.k,))
    place = flat * capacity + dispatch.places_of_pairs(ops, flat, every)
    source = ops.reshape(ops.scatter(tokens, place, p.experts * capacity), (p.experts, capacity))
    results = ops.reshape(dispatch.by_experts(ops, ops.take(x, source), w1, w2), (p.experts * capacity, p.d))
    return (dispatch.taken_back(ops, p, results, place, gates),)


@w.formulation(
    note="tokens padded to blocks, each with its own expert's weights, one batched product: MegaBlocks in plain "
    "operations",
    prepare=dispatch.blocked_operands,
    outputs=Y,
)
def blocked(
    ops: Ops,
    p: Parameters,
    x: Array,
    w1: Array,
    w2: Array,
    experts_of: Array,
    gates: Array,
    every: Array,
    blocks: Array,
    within: Array,
) -> tuple[Array, ...]:
    """At most n·k + E·(block − 1) rows, whatever the routing: static shapes; weights are copied a block."""
    order, of, rows = dispatch.sorted_pairs(ops, p, x, experts_of)
    counts = dispatch.counts(ops, p, experts_of, every)
    starts = dispatch.starts(ops, counts)
    used = (counts + (p.block - 1)) // p.block
    ends = ops.cumsum(used, 0)
    passed = ops.astype(ops.expand_dims(blocks, 1) >= ops.expand_dims(ends, 0), "int32")
    expert = ops.astype(ops.sum(passed, 1), "int32")
    expert = ops.where(expert < p.experts, expert, p.experts - 1)  # of blocks that nobody needs
    first = ops.take(starts, expert) + (blocks - ops.take(ends - used, expert)) * p.block
    wanted = ops.expand_dims(first, 1) + ops.expand_dims(within, 0)
    source = ops.where(wanted < p.n * p.k, wanted, p.n * p.k - 1)
    results = dispatch.by_experts(ops, ops.take(rows, source), ops.take(w1, expert), ops.take(w2, expert))
    place = ops.take((ends - used) * p.block, of) + dispatch.rank(ops, starts, of)
    flat = ops.reshape(results, (blocks.shape[0] * p.block, p.d))
    return (dispatch.mixed(ops, p, ops.take(flat, place), order, gates),)


@w.formulation(
    note="pairs sorted by expert, one product an expert: the host reads how many each has",
    prepare=dispatch.operands,
    outputs=Y,
    executions=("eager",),
)
def sorted_loop(
    ops: Ops, p: Parameters, x: Array, w1: Array, w2: Array, experts_of: Array, gates: Array, every: Array
) -> tuple[Array, ...]:
    """Nothing is padded; shapes are those of the call."""

    def block(expert: int, rows: Array) -> Array:
        return ops.matmul(ops.relu(ops.matmul(rows, w1[expert, ...])), w2[expert, ...])

    results, order = dispatch.one_by_one(ops, p, x, experts_of, block)
    return (dispatch.mixed(ops, p, results, order, gates),)


@w.formulation(
    note="the same with each expert's weights laid out ahead, the relu within the product; a weighted bag mixes",
    prepare=dispatch.packed_operands,
    outputs=Y,
    executions=("eager",),
)
def sorted_packed(
    ops: Ops, p: Parameters, x: Array, experts_of: Array, gates: Array, numbers: Array, tokens: Array, *weights: Matrix
) -> tuple[Array, ...]:
    """In the framework's own layout, as a server has them; scattered `numbers` say where a pair's result stands."""

    def block(expert: int, rows: Array) -> Array:
        return ops.packed_matmul(ops.packed_matmul(rows, weights[expert], relu=True), weights[p.experts + expert])

    results, order = dispatch.one_by_one(ops, p, x, experts_of, block, tokens)
    places = ops.reshape(ops.scatter(numbers, order, p.n * p.k), (p.n, p.k))
    return (ops.embedding_bag(results, places, gates),)


@w.formulation(
    note="each expert's pairs found, one product an expert",
    prepare=dispatch.operands,
    outputs=Y,
    executions=("eager", "graph"),
)
def parted(
    ops: Ops, p: Parameters, x: Array, w1: Array, w2: Array, experts_of: Array, gates: Array, every: Array
) -> tuple[Array, ...]:
    """As `sorted_loop` without the sort, as most write it; an expert may have no pair."""
    pairs = ops.partition(ops.reshape(experts_of, (p.n * p.k,)), p.experts)
    parts = [
        ops.matmul(ops.relu(ops.matmul(ops.take(x, of // p.k), w1[expert, ...])), w2[expert, ...])
        for expert, of in enumerate(pairs)
    ]
    return (dispatch.mixed(ops, p, ops.concat(parts, 0), ops.concat(pairs, 0), gates),)


@w.formulation(note="pairs sorted by expert, the framework's grouped product", prepare=dispatch.operands, outputs=Y)
def grouped(
    ops: Ops, p: Parameters, x: Array, w1: Array, w2: Array, experts_of: Array, gates: Array, every: Array
) -> tuple[Array, ...]:
    """Where it has one that is not something else."""
    order, _, rows = dispatch.sorted_pairs(ops, p, x, experts_of)
    counts = dispatch.counts(ops, p, experts_of, every)
    hidden = ops.relu(ops.grouped_matmul(rows, w1, counts))
    return (dispatch.mixed(ops, p, ops.grouped_matmul(hidden, w2, counts), order, gates),)


@w.formulation(
    note="every expert for every token, those it was not sent to weighted by zero: E/k times the work",
    prepare=dispatch.operands,
    outputs=Y,
    multiplies_zeros=True,
)
def all_experts(
    ops: Ops, p: Parameters, x: Array, w1: Array, w2: Array, experts_of: Array, gates: Array, every: Array
) -> tuple[Array, ...]:
    """One wide product in, weights by token and expert, one wide product out."""
    sent = ops.expand_dims(experts_of, 2) == ops.reshape(every, (1, 1, p.experts))
    weight = ops.sum(ops.where(sent, ops.expand_dims(gates, 2), 0.0), 1)
    wide = ops.reshape(ops.permute_dims(w1, (1, 0, 2)), (p.d, p.experts * p.h))
    hidden = ops.reshape(ops.relu(ops.matmul(x, wide)), (p.n, p.experts, p.h)) * ops.expand_dims(weight, 2)
    out = ops.reshape(w2, (p.experts * p.h, p.d))
    return (ops.matmul(ops.reshape(hidden, (p.n, p.experts * p.h)), out),)


@w.formulation(
    note="GShard: tokens sent to places of experts by products with one-hot matrices",
    prepare=dispatch.capacity_operands,
    outputs=Y,
    multiplies_zeros=True,
)
def one_hot(
    ops: Ops,
    p: Parameters,
    x: Array,
    w1: Array,
    w2: Array,
    experts_of: Array,
    gates: Array,
    every: Array,
    places: Array,
) -> tuple[Array, ...]:
    """No sort and no gather: the two products that move tokens have n·E·capacity·d multiplications each."""
    capacity = places.shape[0]
    flat = ops.reshape(experts_of, (p.n * p.k, 1))
    hits = ops.astype(flat == ops.expand_dims(every, 0), "int32")
    rank = ops.sum((ops.cumsum(hits, 0) - 1) * hits, 1)
    to = ops.expand_dims(hits, 2) * ops.astype(
        ops.reshape(ops.astype(rank, "int32"), (p.n * p.k, 1, 1)) == ops.reshape(places, (1, 1, capacity)), "int32"
    )
    sent = ops.where(to > 0, ops.reshape(gates, (p.n * p.k, 1, 1)) * 0.0 + 1.0, 0.0)
    sent = ops.reshape(sent, (p.n, p.k, p.experts, capacity))
    weight = ops.sum(sent * ops.reshape(gates, (p.n, p.k, 1, 1)), 1)
    grouped = ops.einsum("nec,nd->ecd", ops.sum(sent, 1), x)
    return (ops.einsum("nec,ecd->nd", weight, dispatch.by_experts(ops, grouped, w1, w2)),)


WORKLOAD = w.definition()
