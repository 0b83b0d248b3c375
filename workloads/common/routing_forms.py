"""The ways to write dynamic routing, once against `Ops`: with û formed, and without.

û has B·I·J·D values and every round passes over it twice. Without it, s = Σ (c·u)·W has the coupling folded into u, and
the agreement û·Σv = u·(W·Σv) is a product with W: more FLOP, of which dense products do most, and less traffic.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from backends.ops import Array, HostArray, Ops
from workloads.base import Parameters
from workloads.common.routing_reference import ABSENT, DOWN, EPSILON, PRESENT

# Bytes of (c·u) in a block, near a share of a cache.
LARGE, SMALL = 3e6, 1.5e6
MOST_BLOCKS = 24  # an eager call for each part of each: more were not tried


def sizes(p: Parameters) -> tuple[int, int, int, int, int, int]:
    """B, I, J, d, D and R."""
    return p.batch, p.in_capsules, p.out_capsules, p.in_dim, p.out_dim, p.rounds


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

    arrange(u, w) gives the host arrays of u and those of W; vectors(ops, p) takes both lists to v (B, J, D);
    gather(arrays, p) puts the arrays of W back as (I, J, d, D).
    """

    note: str
    arrange: Callable[[HostArray, HostArray], tuple[list[HostArray], list[HostArray]]]
    vectors: Callable[[Ops, Parameters], Callable[[Sequence[Array], Sequence[Array]], Array]]
    gather: Callable[[Sequence[HostArray], Parameters], HostArray]


# -- û is formed ----------------------------------------------------------------------------------------------------
def _textbook(ops: Ops, p: Parameters) -> Callable[[Sequence[Array], Sequence[Array]], Array]:
    _, _, j, _, _, rounds = sizes(p)

    def vectors(us: Sequence[Array], ws: Sequence[Array]) -> Array:
        predicted = ops.einsum("bid,ijde->bije", us[0], ws[0])
        v = total = squash(ops, ops.sum(predicted, 1) * (1.0 / j), 2)
        for r in range(1, rounds):
            coupling = ops.softmax(ops.sum(predicted * ops.expand_dims(total, 1), 3), 2)
            v = squash(ops, ops.sum(predicted * ops.expand_dims(coupling, 3), 1), 2)
            total = total + v if r + 1 < rounds else total
        return v

    return vectors


def _matmul(ops: Ops, p: Parameters) -> Callable[[Sequence[Array], Sequence[Array]], Array]:
    b, i, j, _, D, rounds = sizes(p)

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
def _folded(ops: Ops, p: Parameters) -> Callable[[Sequence[Array], Sequence[Array]], Array]:
    b, _, j, d, D, rounds = sizes(p)

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


def from_blocks(arrays: Sequence[HostArray], p: Parameters) -> HostArray:
    """Blocks (J, D, d·I') back to (I, J, d, D)."""
    _, _, j, d, D, _ = sizes(p)
    return np.concatenate([a.reshape(j, D, d, -1).transpose(3, 0, 2, 1) for a in arrays])


def _from_matmul(arrays: Sequence[HostArray], p: Parameters) -> HostArray:
    _, i, j, d, D, _ = sizes(p)
    return arrays[0].reshape(i, d, j, D).transpose(0, 2, 1, 3)


FORMS = {
    "textbook": Form(
        note="û by one einsum, then multiply and sum, as the paper writes it",
        arrange=_as_is,
        vectors=_textbook,
        gather=lambda arrays, p: arrays[0],
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
