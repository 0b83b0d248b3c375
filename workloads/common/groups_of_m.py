"""Patterns that keep n of every m values: along rows, or in both directions of square tiles; and packed positions."""

from __future__ import annotations

import functools
from itertools import combinations, product

import numpy as np

from backends.ops import HostArray

LARGEST_SQUARE = 4  # all patterns of a tile are tried: of 4×4 with two in each row and column there are 90


def rows(score: HostArray, keep: int, of: int) -> HostArray:
    """A mask (m, k) of the `keep` highest scores in each `of` that stand beside each other in a row."""
    groups = score.reshape(*score.shape[:-1], -1, of)
    order = np.argsort(-groups, axis=-1, kind="stable")[..., :keep]
    mask = np.zeros(groups.shape, bool)
    np.put_along_axis(mask, order, True, axis=-1)
    return mask.reshape(score.shape)


def squares(score: HostArray, keep: int, of: int) -> HostArray:
    """A mask (m, k) of which every of×of tile has `keep` in each row and column, of the greatest sum of scores."""
    m, k = score.shape
    tiles = score.reshape(m // of, of, k // of, of).transpose(0, 2, 1, 3).reshape(-1, of * of)
    choices = _square_patterns(keep, of)
    best: HostArray = choices[np.argmax(tiles @ choices.T.astype(score.dtype), axis=1)]
    return best.reshape(m // of, k // of, of, of).transpose(0, 2, 1, 3).reshape(m, k)


@functools.cache
def _square_patterns(keep: int, of: int) -> HostArray:
    lines = [np.isin(np.arange(of), chosen) for chosen in combinations(range(of), keep)]
    found = [np.stack(several) for several in product(lines, repeat=of)]
    return np.array([tile.ravel() for tile in found if (tile.sum(0) == keep).all()])


def field(of: int) -> int:
    """Bits of the field that holds a position below `of`: 1, 2, 4 or 8, so that a byte holds whole fields."""
    return next(bits for bits in (1, 2, 4, 8) if 2**bits >= of)


def pack(positions: HostArray, bits: int) -> HostArray:
    """Positions (r, c) in fields of `bits` bits as uint8 (r, ⌈c·bits/8⌉).

    Field i of byte j is position i·⌈c·bits/8⌉ + j of the row, so that fields unpack into slices that stand beside each
    other; ValueError where the fields of a row do not fill whole bytes.
    """
    fields = 8 // bits
    if positions.shape[1] % fields:
        raise ValueError(f"{positions.shape[1]} fields of {bits} bits a row do not fill whole bytes; choose a multiple")
    parts = positions.reshape(len(positions), fields, -1)
    out = np.zeros((len(positions), parts.shape[2]), np.uint8)
    for i in range(fields):
        out |= parts[:, i].astype(np.uint8) << np.uint8(bits * i)
    return out
