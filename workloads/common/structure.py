"""The structure that a matrix of the user's has, found and never assumed: full blocks, or so many of every so many."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from backends.ops import HostArray
from workloads.base import Params
from workloads.common.matrix import FileMatrix
from workloads.common.patterns import Pattern, blocks

_LARGEST_BLOCK = 10**4
_GROUPS = (4, 8, 16, 2)  # 4 first: 2 of every 4 is what hardware runs, and 1 of every 2 is that, too


class Structure(NamedTuple):
    """A workload that a matrix can be measured as: its name, what its axes are beside m, k, n and pattern, and why."""

    workload: str
    axes: Params
    why: str


def structures(pattern: Pattern) -> list[Structure]:
    """All that a pattern can be measured as: any is unstructured; blocks and groups where every one of them is so.

    A workload that does not take matrices of files, or is not there, is for the caller to leave out.
    """
    rows, columns = pattern.shape
    density = len(pattern.indices) / (rows * columns)
    found = [Structure("unstructured_sparse", {"density": density}, f"density {density:.3g}")]
    if density == 1:
        return found
    if (side := block_side(pattern)) is not None:
        found.append(Structure("block_sparse", {"density": density, "block": side}, f"full blocks of {side}×{side}"))
    if (group := kept_of(pattern)) is not None:
        keep, of = group
        found.append(
            Structure("nm_sparse", {"keep": keep, "out_of": of, "transposable": 0}, f"{keep} of every {of} in a row")
        )
    return found


def block_side(pattern: Pattern) -> int | None:
    """The side of the largest square blocks, from 2×2, of which each is full or empty; None where there are none."""
    common = math.gcd(*pattern.shape)
    nnz = len(pattern.indices)
    sides = (side for side in range(min(common, _LARGEST_BLOCK), 1, -1) if not common % side and not nnz % side**2)
    return next((side for side in sides if _full(pattern, side)), None)


def _full(pattern: Pattern, side: int) -> bool:
    lengths = np.diff(pattern.indptr).reshape(-1, side)
    if (lengths != lengths[:, :1]).any() or (lengths % side).any():
        return False
    runs = pattern.indices.reshape(-1, side)
    if (runs[:, 0] % side).any() or (runs - runs[:, :1] != np.arange(side)).any():
        return False
    rows = pattern.rows
    above = np.arange(len(rows)) - (rows % side) * lengths.reshape(-1)[rows].astype(
        np.int64
    )  # in its block's first row
    return bool((pattern.indices == pattern.indices[above]).all())


def kept_of(pattern: Pattern) -> tuple[int, int] | None:
    """(keep, of): every `of` neighbours in a row, from a multiple of it on, hold `keep` non-zeros; None if none do."""
    rows, columns = pattern.shape
    for of in _GROUPS:
        keep = len(pattern.indices) * of // (rows * columns)
        if columns != of and 0 < keep < of and in_groups(pattern, keep, of):
            return keep, of
    return None


def in_groups(pattern: Pattern, keep: int, of: int) -> bool:
    """Whether every `of` neighbours in a row, from a multiple of it on, hold `keep` non-zeros."""
    rows, columns = pattern.shape
    count, rest = divmod(rows * columns, of)
    if columns % of or rest or len(pattern.indices) != count * keep:
        return False
    groups = (pattern.flat // of).reshape(-1, keep)  # in order, so that each row of this is to be one group
    return bool((groups == np.arange(count)[:, None]).all())


def in_blocks(matrix: FileMatrix, side: int) -> tuple[Pattern, HostArray | None]:
    """The pattern in units of blocks, and its values (blocks, side, side); ValueError where a block is not full."""
    pattern, values = matrix
    shape = blocks(*pattern.shape, side)
    if not _full(pattern, side):
        raise ValueError(f"block {side} is not the side of blocks that are each full or empty; give the file's own")
    lengths = np.diff(pattern.indptr)[::side] // side
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    rows = pattern.rows
    within = np.arange(len(rows)) - pattern.indptr[rows]  # of its row
    slots = indptr[rows // side] + within // side
    indices = np.empty(int(indptr[-1]), np.int32)
    indices[slots] = pattern.indices // side
    found = Pattern(indices, indptr, shape)
    if values is None:
        return found, None
    out = np.empty((len(indices), side, side))
    out[slots, rows % side, pattern.indices % side] = values
    return found, out
