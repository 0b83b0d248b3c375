"""Sparse training's patterns: how they are drawn, and how an update drops the smallest weights and grows others.

Sizes are those of a layer as `dims` has them, (in, out); a weight matrix is stored as A (out × in), so that A·h is what
a layer computes. The last layer is dense. What is stored, dropped and grown is a weight, or a block of `side`² of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from backends.ops import HostArray
from workloads.base import Parameters
from workloads.common.decisions import largest, near_ties
from workloads.common.patterns import Pattern

SIDE = 16  # of the blocks that the rule `blocks` moves
WIDER = 2  # of Top-KAST, |B| over |A|: a tenth of the weights is read and a fifth learns, a pair that its paper has
DROPPED = 0.3  # ζ of the first update, α/2·(1 + cos 0) with α = 0.3: the most that a schedule exchanges


def side_of(rule: str) -> int:
    """Of what a rule moves: 1 is a weight."""
    return SIDE if rule == "blocks" else 1


def keeps_all(rule: str) -> bool:
    """Whether every weight is kept, and a pattern says which are read."""
    return rule == "top_kast"


def check(p: Parameters) -> None:
    """ValueError in one sentence where the axes leave nothing to store, to drop, to grow or to choose from."""
    side = side_of(p.rule)
    for axis in ("features", "hidden"):
        if p[axis] % side:
            raise ValueError(
                f"axis {axis} of sparse_training must be a multiple of {side} where rule is {p.rule}, found {p[axis]}"
            )
    least, what = p.density * min(p.features, p.hidden) * p.hidden / side**2, "weight" if side == 1 else "block"
    if least < 1:
        raise ValueError(f"axis density of sparse_training leaves a layer without a {what}, found {p.density:g}")
    if keeps_all(p.rule) and p.density > 1 / WIDER:
        raise ValueError(
            f"axis density of sparse_training must be at most {1 / WIDER:g} where rule is top_kast, found "
            f"{p.density:g}: gradients are taken at {WIDER} times as many weights"
        )
    exchanges = p.phase == "update" and not keeps_all(p.rule)
    if exchanges and least < 2:
        raise ValueError(
            f"axis density of sparse_training leaves a layer with a single {what}, which an update drops, found "
            f"{p.density:g}"
        )
    if exchanges and p.density > 1 / (1 + DROPPED):
        raise ValueError(
            f"axis density of sparse_training must be at most {1 / (1 + DROPPED):.2f} where phase is update, "
            f"found {p.density:g}: else there is no room to grow"
        )


def stored(dims: Sequence[int], density: float, side: int = 1) -> list[int]:
    """Weights of each layer: side²·round(density·in·out/side²), and all of the last."""
    sizes = [i * o for i, o in pairwise(dims)]
    return [side**2 * max(1, round(density * size / side**2)) for size in sizes[:-1]] + sizes[-1:]


def read_and_learnt(dims: Sequence[int], density: float) -> list[tuple[int, int]]:
    """Of each sparse layer how many weights Top-KAST reads, and how many of them and others learn."""
    found = zip(pairwise(dims), stored(dims, density)[:-1], strict=False)
    return [(few, min(WIDER * few, fan_in * fan_out)) for (fan_in, fan_out), few in found]


def exchanged(count: int) -> int:
    """How many of `count` stored weights, or blocks, an update drops, and grows elsewhere."""
    return max(1, round(DROPPED * count))


def useful_flop(batch: int, dims: Sequence[int], density: float, dense_gradient: bool, side: int = 1) -> int:
    """2B for each stored weight forward, for its gradient, and but for the first layer backward.

    With `dense_gradient` the gradient of every weight is formed, stored or not.
    """
    counts = stored(dims, density, side)
    if not dense_gradient:
        return sum(2 * batch * z * (3 if layer else 2) for layer, z in enumerate(counts))
    through = sum(2 * batch * z * (2 if layer else 1) for layer, z in enumerate(counts))
    return through + sum(2 * batch * i * o for i, o in pairwise(dims))


def even_pattern(rows: int, columns: int, count: int, rng: np.random.Generator) -> Pattern:
    """`count` entries, as many in every row as in any other, or one more; each set of these equally likely."""
    lengths = np.full(rows, count // rows)
    lengths[rng.permutation(rows)[: count % rows]] += 1
    order = np.argsort(rng.random((rows, columns)), axis=1)
    chosen = [np.sort(order[row, :length]) for row, length in enumerate(lengths)]
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return Pattern(np.concatenate(chosen).astype(np.int32), indptr, (rows, columns))


def unused(pattern: Pattern, count: int, rng: np.random.Generator) -> HostArray:
    """Flat positions of `count` entries that are not in the pattern, (count,) int32, ascending."""
    free = np.setdiff1d(np.arange(pattern.shape[0] * pattern.shape[1]), pattern.flat, assume_unique=True)
    return np.sort(rng.choice(free, count, replace=False)).astype(np.int32)


def in_tiles(x: HostArray, side: int) -> HostArray:
    """A matrix as (rows/side, side, columns/side, side), without a copy."""
    rows, columns = x.shape
    return x.reshape(rows // side, side, columns // side, side)


def spread(mask: HostArray, side: int) -> HostArray:
    """What is said of each block, said of each of its weights."""
    return mask.repeat(side, axis=0).repeat(side, axis=1)


def updated(
    weights: HostArray, active: HostArray, growth: HostArray, count: int, side: int = 1
) -> tuple[HostArray, HostArray, HostArray]:
    """New weights, the new mask as int64, and where rounding may decide otherwise; the last two have one for a block.

    The `count` smallest of the `active` are dropped; of the rest of the layer the `count` largest by `growth`, the
    gradient's magnitude or a score that was drawn, become active with weight 0. Of a block it is the Frobenius norm.
    """
    size, growing = (np.sqrt((in_tiles(x, side) ** 2).sum(axis=(1, 3))) for x in (weights, growth))
    there = active[::side, ::side]
    stays = int(there.sum()) - count
    magnitude = np.where(there, size, 0.0)
    kept = largest(magnitude, stays) & there
    score = np.where(kept, 0.0, growing)
    grown = largest(score, count) & ~kept
    near = (near_ties(magnitude, stays) & there) | (near_ties(score, count) & ~kept)
    return np.where(spread(kept, side), weights, 0.0), (kept | grown).astype(np.int64), near
