"""Causal self-attention of H heads: each step looks at all steps before it. The twin of ideas that keep a state.

o_t = Σ_{j ≤ t} softmax_j(q_t·k_j / √W) v_j, in every head of W values. Queries, keys and values are given: what makes
them are dense products that a layer with a state has as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from backends.ops import Array, HostArray, Ops
from workloads import Axis, Parameters, Workload
from workloads.base import Inputs, Mode, Work

BLOCKS = 4  # of queries, each of which multiplies no keys that come after it
_ABSENT = -1e30

w = Workload(
    "causal_attention",
    title="causal attention",
    source="Vaswani et al. 2017, Attention Is All You Need (arXiv:1706.03762), §3.2",
    role="twin",
    axes={
        "batch": Axis(help="sequences", low=1, high=1e5, default=2),
        "steps": Axis(help="steps of a sequence, T", low=1, high=1e6, default=512),
        "width": Axis(help="values of a step, all heads together, D", low=1, high=1e6, default=256),
        "head": Axis(help="values of a head, W, which divides width", low=1, high=1e4, default=64),
    },
)
w.preset("smoke", batch=2, steps=16, width=16, head=8)


def _shape(p: Parameters) -> tuple[int, int, int, int]:
    if p.width % p.head:
        raise ValueError(f"axis head of causal_attention must divide width, found {p.head} for {p.width}")
    return p.batch, p.width // p.head, p.steps, p.head


@w.inputs
def inputs(p: Parameters, rng: np.random.Generator) -> Inputs:
    """q, k and v (batch, heads, steps, head), unit normal."""
    return {name: rng.standard_normal(_shape(p)) for name in "qkv"}


@w.reference
def reference(q: HostArray, k: HostArray, v: HostArray) -> Mapping[str, HostArray]:
    """Step by step, over the steps so far."""
    y = np.empty_like(q)
    for t in range(q.shape[2]):
        scores = np.einsum("bhw,bhjw->bhj", q[:, :, t], k[:, :, : t + 1]) / np.sqrt(q.shape[3])
        shares = np.exp(scores - scores.max(axis=2, keepdims=True))
        y[:, :, t] = np.einsum("bhj,bhjw->bhw", shares / shares.sum(axis=2, keepdims=True), v[:, :, : t + 1])
    return {"y": y}


@w.work
def work(p: Parameters, mode: Mode, itemsize: int) -> Work:
    """2·B·T(T + 1)·D: two products of the pairs that there are; q, k, v and y once. A softmax is not counted."""
    batch, heads, steps, head = _shape(p)
    moved = itemsize * 4 * batch * heads * steps * head
    return Work(2 * batch * steps * (steps + 1) * heads * head, moved, moved)


# -- formulations -----------------------------------------------------------------------------------------------------
def _attended(ops: Ops, q: Array, k: Array, v: Array, late: Array, whole: bool) -> Array:
    """Of queries (…, t, W) over keys (…, j, W); `late` (t, j) is true where a key comes after its query.

    By the framework's softmax of the `whole`, or divided behind the product, where there is less to divide.
    """
    scores = _scores(ops, q, k)
    scores = ops.where(late, scores * 0.0 + _ABSENT, scores)
    if whole:
        return ops.matmul(ops.softmax(scores, 3), v)
    weights = ops.exp(scores - ops.max(scores, 3, True))
    return ops.matmul(weights, v) / ops.sum(weights, 3, True)


def _scores(ops: Ops, q: Array, k: Array) -> Array:
    return ops.matmul(q, ops.permute_dims(k, (0, 1, 3, 2))) * (1 / float(q.shape[3]) ** 0.5)


def _bounded(ops: Ops, q: Array, k: Array, v: Array, late: Array) -> Array:
    """The same, keys that come later set aside behind the exponential: their scores are part of the bound."""
    scores = _scores(ops, q, k)
    weights = ops.exp(scores - ops.max(scores, 3, True))
    weights = ops.where(late, 0.0 * weights, weights)
    return ops.matmul(weights, v) / ops.sum(weights, 3, True)


def _with_steps(ops: Ops, p: Parameters, q: HostArray, k: HostArray, v: HostArray) -> list[Array]:
    """q, k, v, and which key comes after which query, (T, T)."""
    steps = np.arange(p.steps)
    return [*(ops.asarray(x) for x in (q, k, v)), ops.asarray(steps[None, :] > steps[:, None])]


Y = ("y",)


@w.formulation(note="all scores, those of later steps set aside: twice the products", prepare=_with_steps, outputs=Y)
def masked(ops: Ops, q: Array, k: Array, v: Array, late: Array) -> tuple[Array, ...]:
    """Two dense products and a softmax."""
    return (_attended(ops, q, k, v, late, True),)


def _in_blocks(p: Parameters, of_block: Callable[..., Array], q: Array, k: Array, v: Array, late: Array) -> list[Array]:
    size = -(-p.steps // BLOCKS)
    ends = [(i, min(i + size, p.steps)) for i in range(0, p.steps, size)]
    return [of_block(q[:, :, i:end, :], k[:, :, :end, :], v[:, :, :end, :], late[i:end, :end]) for i, end in ends]


@w.formulation(note="four blocks of queries, each over the keys up to its end", prepare=_with_steps, outputs=Y)
def blocked(ops: Ops, p: Parameters, q: Array, k: Array, v: Array, late: Array) -> tuple[Array, ...]:
    """Five eighths of the products of `masked`."""
    return (ops.concat(_in_blocks(p, partial(_attended, ops, whole=False), q, k, v, late), 2),)


@w.formulation(note="the same, keys that come later set aside behind the exponential", prepare=_with_steps, outputs=Y)
def blocked_bounded(ops: Ops, p: Parameters, q: Array, k: Array, v: Array, late: Array) -> tuple[Array, ...]:
    """Scores are read once less; where a later key's is greater by over 80 there would be nothing left."""
    return (ops.concat(_in_blocks(p, partial(_bounded, ops), q, k, v, late), 2),)


@w.formulation(note="the framework's own attention", outputs=Y)
def native(ops: Ops, q: Array, k: Array, v: Array) -> tuple[Array, ...]:
    """What it makes of it."""
    return (ops.causal_attention(q, k, v),)


WORKLOAD = w.definition()
