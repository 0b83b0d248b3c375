"""The ways to write dynamic routing, once against `Ops`: with û formed, and without.

û has B·I·J·D values and every round passes over it twice. Without it, s = Σ (c·u)·W has the coupling folded into u, and
the agreement û·Σv = u·(W·Σv) is a product with W: more FLOP, of which dense products do most, and less traffic.

The ratios in the notes are CPU time over the best formulation, each in its best execution, interleaved in one process
for each framework on one AVX-512 core, float32, the paper's shape with a batch of 32. Under 1.15 is a tie.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from backends.ops import Array, HostArray, Ops
from workloads.base import LEARNING_RATE, Params
from workloads.common.routing_reference import ABSENT, DOWN, EPSILON, PRESENT

STEP_BLOCKS = 8  # of the step by hand: few enough that eager calls do not dominate
# Bytes of (c·u) in a block, near a share of a cache.
LARGE, SMALL = 3e6, 1.5e6
MOST_BLOCKS = 24  # an eager call for each part of each: more were not tried


def sizes(params: Params) -> tuple[int, int, int, int, int, int]:
    """B, I, J, d, D and R."""
    names = ("batch", "in_capsules", "out_capsules", "in_dim", "out_dim", "rounds")
    b, i, j, d, D, rounds = (int(params[n]) for n in names)
    return b, i, j, d, D, rounds


def squash(ops: Ops, s: Array, axis: int) -> Array:
    """Eq. 1 along `axis`, with the reference's epsilon."""
    norm2 = ops.sum(s * s, axis, keepdims=True)
    return s * (norm2 / ((norm2 + 1.0) * ops.sqrt(norm2 + EPSILON)))


def margin_loss(ops: Ops, v: Array, labels: Array) -> Array:
    """Mean over the batch of eq. 4, from v (B, J, D) and one-hot labels (B, J)."""
    length = ops.sqrt(ops.sum(v * v, 2) + EPSILON)
    short, long = ops.relu(PRESENT - length), ops.relu(length - ABSENT)
    return ops.sum(labels * short * short + DOWN * ((1.0 - labels) * long * long)) * (1.0 / v.shape[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """A formulation of the forward pass; its train step follows by the framework's own differentiation.

    arrange(u, w) gives the host arrays of u and those of W; vectors(ops, params) takes both lists to v (B, J, D);
    gather(arrays, params) puts the arrays of W back as (I, J, d, D).
    """

    note: str
    arrange: Callable[[HostArray, HostArray], tuple[list[HostArray], list[HostArray]]]
    vectors: Callable[[Ops, Params], Callable[[Sequence[Array], Sequence[Array]], Array]]
    gather: Callable[[Sequence[HostArray], Params], HostArray]


# -- û is formed ----------------------------------------------------------------------------------------------------
def _textbook(ops: Ops, params: Params) -> Callable[[Sequence[Array], Sequence[Array]], Array]:
    _, _, j, _, _, rounds = sizes(params)

    def vectors(us: Sequence[Array], ws: Sequence[Array]) -> Array:
        predicted = ops.einsum("bid,ijde->bije", us[0], ws[0])
        v = total = squash(ops, ops.sum(predicted, 1) * (1.0 / j), 2)
        for r in range(1, rounds):
            coupling = ops.softmax(ops.sum(predicted * ops.expand_dims(total, 1), 3), 2)
            v = squash(ops, ops.sum(predicted * ops.expand_dims(coupling, 3), 1), 2)
            total = total + v if r + 1 < rounds else total
        return v

    return vectors


def _matmul(ops: Ops, params: Params) -> Callable[[Sequence[Array], Sequence[Array]], Array]:
    b, i, j, _, D, rounds = sizes(params)

    def vectors(us: Sequence[Array], ws: Sequence[Array]) -> Array:
        # u (I, B, d) · W (I, d, J·D), then one (I, D) matrix for each sample and capsule above
        predicted = ops.permute_dims(ops.reshape(ops.matmul(us[0], ws[0]), (i, b, j, D)), (1, 2, 0, 3))
        v = total = squash(ops, ops.sum(predicted, 2, keepdims=True) * (1.0 / j), 3)
        for r in range(1, rounds):
            coupling = ops.softmax(ops.matmul(predicted, ops.permute_dims(total, (0, 1, 3, 2))), 1)
            v = squash(ops, ops.matmul(ops.permute_dims(coupling, (0, 1, 3, 2)), predicted), 3)
            total = total + v if r + 1 < rounds else total
        return ops.reshape(v, (b, j, D))

    return vectors


# -- û is never formed: the coupling is folded into u, the agreement into a product with W ----------------------------
def _folded(ops: Ops, params: Params) -> Callable[[Sequence[Array], Sequence[Array]], Array]:
    b, _, j, d, D, rounds = sizes(params)

    def vectors(us: Sequence[Array], ws: Sequence[Array]) -> Array:
        # every block: u (d, I', B), W (J, D, d·I'); all that a block needs of the others is the sum s
        blocks = [(u, w, ops.permute_dims(w, (0, 2, 1))) for u, w in zip(us, ws, strict=True)]
        s = None
        for u, w, _ in blocks:
            n = d * u.shape[1]
            part = ops.matmul(ops.reshape(w, (j * D, n)), ops.reshape(u, (n, b)))
            s = part if s is None else s + part
        v = total = squash(ops, ops.reshape(s, (j, D, b)) * (1.0 / j), 1)
        for r in range(1, rounds):
            s = None
            for u, w, transposed in blocks:
                n = u.shape[1]
                back = ops.reshape(ops.matmul(transposed, total), (j, d, n, b))
                coupling = ops.softmax(ops.sum(back * u, 1, keepdims=True), 0)
                part = ops.matmul(w, ops.reshape(coupling * u, (j, d * n, b)))
                s = part if s is None else s + part
            v = squash(ops, s, 1)
            total = total + v if r + 1 < rounds else total
        return ops.permute_dims(v, (2, 0, 1))

    return vectors


def _as_is(u: HostArray, w: HostArray) -> tuple[list[HostArray], list[HostArray]]:
    return [u], [w]


def _for_matmul(u: HostArray, w: HostArray) -> tuple[list[HostArray], list[HostArray]]:
    i, j, d, D = w.shape
    return [u.transpose(1, 0, 2)], [w.transpose(0, 2, 1, 3).reshape(i, d, j * D)]


def in_blocks_of(size: float) -> Callable[[HostArray, HostArray], tuple[list[HostArray], list[HostArray]]]:
    """As `in_blocks`, as few as keep (c·u) of a block within `size` bytes, at most MOST_BLOCKS."""

    def arrange(u: HostArray, w: HostArray) -> tuple[list[HostArray], list[HostArray]]:
        return in_blocks(min(MOST_BLOCKS, math.ceil(u.nbytes * w.shape[1] / size)))(u, w)

    return arrange


def in_blocks(count: int) -> Callable[[HostArray, HostArray], tuple[list[HostArray], list[HostArray]]]:
    """u as blocks (d, I', B) and W as blocks (J, D, d·I'), `count` of them where there are so many capsules."""

    def arrange(u: HostArray, w: HostArray) -> tuple[list[HostArray], list[HostArray]]:
        n = min(count, len(w))
        us = [part.transpose(2, 1, 0) for part in np.array_split(u, n, axis=1)]
        ws = [p.transpose(1, 3, 2, 0).reshape(p.shape[1], p.shape[3], -1) for p in np.array_split(w, n, axis=0)]
        return us, ws

    return arrange


def from_blocks(arrays: Sequence[HostArray], params: Params) -> HostArray:
    """Blocks (J, D, d·I') back to (I, J, d, D)."""
    _, _, j, d, D, _ = sizes(params)
    return np.concatenate([a.reshape(j, D, d, -1).transpose(3, 0, 2, 1) for a in arrays])


def _from_matmul(arrays: Sequence[HostArray], params: Params) -> HostArray:
    _, i, j, d, D, _ = sizes(params)
    return arrays[0].reshape(i, d, j, D).transpose(0, 2, 1, 3)


FORMS = {
    "textbook": Form(
        note="û by one einsum, then multiply and sum, as the paper writes it",
        arrange=_as_is,
        vectors=_textbook,
        gather=lambda arrays, params: arrays[0],
    ),
    "matmul": Form(
        note="û by a product for each capsule below, kept as (B, J, I, D); every pass is a batched product",
        arrange=_for_matmul,
        vectors=_matmul,
        gather=_from_matmul,
    ),
    "folded": Form(
        note="û never formed, the batch innermost: u (d, I, B), W (J, D, d·I)",
        arrange=in_blocks(1),
        vectors=_folded,
        gather=from_blocks,
    ),
    "folded_halves": Form(
        note="folded, two blocks of capsules below",
        arrange=in_blocks(2),
        vectors=_folded,
        gather=from_blocks,
    ),
    "folded_blocks": Form(
        note=f"folded in blocks of capsules below, (c·u) of each at most {LARGE / 1e6:g} MB",
        arrange=in_blocks_of(LARGE),
        vectors=_folded,
        gather=from_blocks,
    ),
    "folded_small_blocks": Form(
        note=f"folded in blocks of at most {SMALL / 1e6:g} MB",
        arrange=in_blocks_of(SMALL),
        vectors=_folded,
        gather=from_blocks,
    ),
}


def folded_by_hand(ops: Ops, params: Params) -> Callable[..., tuple[Array, ...]]:
    """A train step of the folded form with its backward pass written out, of blocks and labels (J, 1, B)."""
    b, _, j, d, D, rounds = sizes(params)

    def added(a: Array | None, b: Array) -> Array:
        return b if a is None else a + b

    def squash_gradient(s: Array, g: Array) -> Array:
        norm2 = ops.sum(s * s, 1, keepdims=True)
        root, one = ops.sqrt(norm2 + EPSILON), norm2 + 1.0
        slope = 2.0 / (one * one * root) - norm2 / (one * root * root * root)
        return g * (norm2 / (one * root)) + s * (slope * ops.sum(g * s, 1, keepdims=True))

    def run(*operands: Array) -> tuple[Array, ...]:
        # blocks as in _folded: u (d, I', B), W (J, D, d·I'); labels (J, 1, B)
        half = len(operands) // 2
        us, ws, labels = operands[:half], operands[half:-1], operands[-1]
        backs = [ops.permute_dims(w, (0, 2, 1)) for w in ws]
        s = None
        for u, w in zip(us, ws, strict=True):
            n = d * u.shape[1]
            s = added(s, ops.matmul(ops.reshape(w, (j * D, n)), ops.reshape(u, (n, b))))
        sums = [ops.reshape(s, (j, D, b)) * (1.0 / j)]
        v = squash(ops, sums[0], 1)
        totals: list[Array] = []
        couplings: list[list[Array]] = []
        for _ in range(1, rounds):
            totals.append(totals[-1] + v if totals else v)
            couplings.append([])
            s = None
            for u, w, back in zip(us, ws, backs, strict=True):
                n = u.shape[1]
                pulled = ops.reshape(ops.matmul(back, totals[-1]), (j, d, n, b))
                couplings[-1].append(ops.softmax(ops.sum(pulled * u, 1, keepdims=True), 0))
                s = added(s, ops.matmul(w, ops.reshape(couplings[-1][-1] * u, (j, d * n, b))))
            sums.append(s)
            v = squash(ops, s, 1)

        length = ops.sqrt(ops.sum(v * v, 1, keepdims=True) + EPSILON)
        short, long = ops.relu(PRESENT - length), ops.relu(length - ABSENT)
        absent = DOWN * (1.0 - labels)
        loss = ops.sum(labels * short * short + absent * long * long) * (1.0 / b)
        gradient_v = v * ((absent * long - labels * short) * (2.0 / b) / length)
        gradients: list[Array | None] = [None] * half
        reached = None  # the gradient of Σv: the same for every earlier v, and summed over the rounds behind
        for r in reversed(range(1, rounds)):
            gradient_s, total = squash_gradient(sums[r], gradient_v), totals[r - 1]
            for k, (u, w, back) in enumerate(zip(us, ws, backs, strict=True)):
                n, c = u.shape[1], couplings[r - 1][k]
                pulled = ops.reshape(ops.matmul(back, gradient_s), (j, d, n, b))
                pulled = c * ops.sum(pulled * u, 1, keepdims=True)
                logits = pulled - c * ops.sum(pulled, 0, keepdims=True)
                fold = ops.reshape(logits * u, (j, d * n, b))
                reached = added(reached, ops.matmul(w, fold))
                part = ops.matmul(total, ops.permute_dims(fold, (0, 2, 1)))
                fold = ops.reshape(c * u, (j, d * n, b))
                part = part + ops.matmul(gradient_s, ops.permute_dims(fold, (0, 2, 1)))
                gradients[k] = added(gradients[k], part)
            gradient_v = reached
        gradient_s = ops.reshape(squash_gradient(sums[0], gradient_v) * (1.0 / j), (j * D, b))
        updated = []
        for u, w, gradient in zip(us, ws, gradients, strict=True):
            n = d * u.shape[1]
            part = ops.matmul(gradient_s, ops.permute_dims(ops.reshape(u, (n, b)), (1, 0)))
            updated.append(ops.sgd_step(w, added(gradient, ops.reshape(part, (j, D, n))), LEARNING_RATE))
        return loss, *updated

    return run
