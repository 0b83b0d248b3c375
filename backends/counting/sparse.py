"""Counting rules of sparse operands: their stored values, blocks and positions, and the products with them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from backends.counting.arrays import CountedArray, Trace
from backends.counting.totals import Rows
from backends.csr import CSR

EMBEDDING_BAG, SPARSE_VECTOR = "embedding_bag", "sparse_vector"  # names of operations


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedMatrix:
    """A sparse operand without values: (m, k), `stored` values in blocks of side `block`, and where they stand.

    `places` are its positions in memory: an index for each value or block, and the row offsets (or a row for each).
    """

    shape: tuple[int, int]
    format: str
    block: int
    count: int
    values: CountedArray
    places: CountedArray

    @property
    def stored(self) -> int:
        """Values, the zeros within blocks among them."""
        return self.count * self.block**2


def made(trace: Trace, csr: CSR, format: str, block: int) -> CountedMatrix:
    """From a matrix on the host; of `bsr` every block that holds a value is stored whole."""
    (m, k), side = csr.shape, block if format == "bsr" else 1
    count = len(csr.indices) if side == 1 else _blocks(csr, side)
    offsets = {"coo": count, "csc": k + 1}.get(format, m // side + 1)
    shape = (count, side, side) if format == "bsr" else (count,)
    return CountedMatrix(
        shape=(m, k),
        format=format,
        block=side,
        count=count,
        values=trace.leaf(shape, csr.values.dtype),
        places=trace.leaf((count + offsets,), np.int32),
    )


def _blocks(csr: CSR, side: int) -> int:
    across = -(-csr.shape[1] // side)
    return len(np.unique(csr.rows.astype(np.int64) // side * across + csr.indices // side))


def with_values(a: CountedMatrix, values: CountedArray) -> CountedMatrix:
    """The same places."""
    return replace(a, values=values)


def product(a: CountedMatrix, b: CountedArray, transposed: bool = False) -> CountedArray:
    """a·b or aᵀ·b: 2 FLOP for each stored value and column of b; those of blocks are of a matrix unit.

    For each value or block a row of b (or the rows that a block meets) is gathered. By columns of a (CSC, or a CSR
    transposed) it is a row of the result that is scattered to instead; COO does both, in the order of its rows.
    """
    m = a.shape[1 if transposed else 0]
    n = 1 if b.ndim == 1 else b.shape[1]
    shape = (m,) if b.ndim == 1 else (m, n)
    rows = Rows(a.count, a.count * a.block * n * b.dtype.itemsize)
    scatters = a.format == "coo" or (a.format == "csc") != transposed
    gathers = a.format == "coo" or not scatters

    def of_values(g: CountedArray) -> CountedArray:
        return sampled(a, b, g) if transposed else sampled(a, g, b)

    def of_b(g: CountedArray) -> CountedArray:
        return product(a, g, not transposed)

    flop = 2 * a.stored * n
    return b.trace.make(
        _name(a, b, transposed),
        "sparse",
        shape,
        b.dtype,
        (a.values, a.places, b),
        (of_values, None, of_b),
        matmul_flop=flop if a.block > 1 else 0,
        other_flop=flop if a.block == 1 else 0,
        gathered=rows if gathers else Rows(),
        scattered=rows if scatters else Rows(),
    )


def _name(a: CountedMatrix, b: CountedArray, transposed: bool) -> str:
    """What the library calls it: an embedding bag and a product with a vector are kernels of their own."""
    if a.format == "bag" and not transposed:
        return EMBEDDING_BAG
    return SPARSE_VECTOR if b.ndim == 1 else "sparse_matmul"


def sampled(a: CountedMatrix, x: CountedArray, y: CountedArray) -> CountedArray:
    """(x·yᵀ) where a stores something: 2 FLOP for each value and column, a row of y gathered for each."""
    n = 1 if x.ndim == 1 else x.shape[1]
    flop = 2 * a.stored * n
    return x.trace.make(
        "sampled_matmul",
        "sparse",
        a.values.shape,
        x.dtype,
        (a.places, x, y),
        matmul_flop=flop if a.block > 1 else 0,
        other_flop=flop if a.block == 1 else 0,
        gathered=Rows(a.count, a.count * a.block * n * y.dtype.itemsize),
    )


def taken(x: CountedArray, indices: CountedArray, axis: int) -> CountedArray:
    """Slices of x at positions: a row is what lies behind `axis`, for each index and each setting of the axes before.

    The gradient adds rows into a zeroed array of the shape of x.
    """
    axis %= x.ndim
    shape = (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])
    before = int(np.prod(x.shape[:axis], dtype=np.int64))
    size = int(np.prod(shape, dtype=np.int64)) * x.dtype.itemsize
    rows = Rows(before * indices.size, size)

    def gradient(g: CountedArray) -> CountedArray:
        return scattered(g, indices, x.shape, rows)

    # what is gathered is read once for each index, though a buffer is never counted twice over
    return x.trace.make(
        "take",
        "gather",
        shape,
        x.dtype,
        (x, indices),
        (gradient, None),
        reads_bytes=(size, indices.view_bytes),
        gathered=rows,
    )


def scattered(g: CountedArray, indices: CountedArray, shape: tuple[int, ...], rows: Rows) -> CountedArray:
    """Rows of g added into zeros of `shape`: one addition a value."""
    return g.trace.make("scatter_add", "scatter", shape, g.dtype, (g, indices), other_flop=g.size, scattered=rows)


def segment_sum(x: CountedArray, segments: CountedArray, count: int) -> CountedArray:
    """Rows of x added up by segment: one addition a value, and a row of the result written to for each."""
    rows = Rows(x.shape[0], x.size * x.dtype.itemsize)
    return x.trace.make(
        "segment_sum",
        "scatter",
        (count, *x.shape[1:]),
        x.dtype,
        (x, segments),
        (lambda g: taken(g, segments, 0), None),
        other_flop=x.size,
        scattered=rows,
    )
