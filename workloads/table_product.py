"""A product by tables: Y ≈ X·Wᵀ, where a group of X's columns is told by four comparisons and its product looked up.

MADDNESS: the K columns of X (N×K) are C groups. A tree of depth four gives each row one of 16 codes in each group, and
Y (N×M) is the sum of C rows of tables that hold the products of W with the 16 mean rows of every group. Nothing is
multiplied. Values are compared as they are given, so that codes are exact in every dtype and framework.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from backends.ops import Array, HostArray, Ops
from workloads.base import Axis, Definition, Inputs, Mode, Parameters, Params, Point, Twin, Work
from workloads.common import digits
from workloads.common.sparse import forward_step, marked_multiplies_zeros

LEVELS = 4
CODES = 2**LEVELS
_LEARNT_ROWS = 1024  # of digits from which trees and mean rows are learnt; others than those that are told
_GATHERED = 2**28  # values of the largest temporary that take_sum may make


def _group(p: Parameters) -> int:
    """Columns of a group; ValueError where groups are not equal or have fewer columns than are compared."""
    if p.k % p.books or p.k // p.books < LEVELS:
        found = f"found {p.books} for {p.k} columns"
        raise ValueError(f"axis books of table_product must divide k into groups of at least {LEVELS}, {found}")
    return int(p.k // p.books)


def _codes(values: HostArray, thresholds: HostArray) -> HostArray:
    """The code of each row (rows,) by its compared values (rows, 4) and a tree's thresholds (15,), level by level."""
    node = np.zeros(len(values), np.int64)
    for level in range(LEVELS):
        node = 2 * node + 1 + (values[:, level] > thresholds[node])
    codes: HostArray = node - (CODES - 1)
    return codes


def _tree(rows: HostArray) -> tuple[HostArray, HostArray]:
    """The columns that vary most (4,), and the thresholds (15,): each in the widest gap near its node's median."""
    columns = np.sort(np.argsort(-rows.var(axis=0), kind="stable")[:LEVELS])
    thresholds, node = np.zeros(CODES - 1), np.zeros(len(rows), np.int64)
    for level in range(LEVELS):
        values = rows[:, columns[level]]
        for at in range(2**level - 1, 2 ** (level + 1) - 1):
            found = np.sort(values[node == at])
            middle = found[len(found) // 4 : len(found) - len(found) // 4]
            if len(middle) > 1:
                gap = int(np.diff(middle).argmax())
                thresholds[at] = (middle[gap] + middle[gap + 1]) / 2
        node = 2 * node + 1 + (values > thresholds[node])
    return columns, thresholds


def inputs(p: Parameters, seed: int) -> Inputs:
    """`x` (N, K) digits; `columns` (C, 4) int32 of x, `thresholds` (C, 15), `tables` (C, 16, M)."""
    size = _group(p)
    learnt = digits.flat(_LEARNT_ROWS, p.k, seed + 1)
    w = np.random.default_rng([seed, 1]).standard_normal((p.m, p.k)) / np.sqrt(p.k)
    columns = np.empty((p.books, LEVELS), np.int32)
    thresholds, tables = np.empty((p.books, CODES - 1)), np.empty((p.books, CODES, p.m))
    for book in range(p.books):
        rows = learnt[:, book * size : (book + 1) * size]
        compared, thresholds[book] = _tree(rows)
        columns[book] = book * size + compared
        codes = _codes(rows[:, compared], thresholds[book])
        means = np.stack(
            [rows[codes == c].mean(axis=0) if (codes == c).any() else rows.mean(axis=0) for c in range(CODES)]
        )
        tables[book] = means @ w[:, book * size : (book + 1) * size].T
    return {"x": digits.flat(p.n, p.k, seed), "columns": columns, "thresholds": thresholds, "tables": tables}


def reference(x: Inputs, p: Parameters, mode: Mode) -> Mapping[str, HostArray]:
    """Group by group, by the tree."""
    y = np.zeros((p.n, p.m))
    for columns, thresholds, table in zip(x["columns"], x["thresholds"], x["tables"], strict=True):
        y += table[_codes(x["x"][:, columns], thresholds)]
    return {"y": y}


def work(p: Parameters, mode: Mode, itemsize: int) -> Work:
    """NCM additions and 4NC comparisons; the compared values, the tables and Y once: e(4NC + 16CM + NM) bytes."""
    _group(p)
    moved = itemsize * (LEVELS * p.n * p.books + CODES * p.books * p.m + p.n * p.m)
    return Work(useful_flop=p.n * p.books * (p.m + LEVELS), least_bytes=moved, live_bytes=moved)


def twins(p: Parameters, mode: Mode) -> Sequence[Twin]:
    """The exact product, 2NKM."""
    return (Twin("exact_product", "dense_matmul", {"m": p.n, "k": p.k, "n": p.m, "grads": "both"}, mode),)


# -- formulations -----------------------------------------------------------------------------------------------------


def _levels(x: Inputs) -> HostArray:
    """Columns of x, all of the first level, then all of the second, …: (4C,)."""
    return np.ascontiguousarray(x["columns"].T).reshape(-1)


def _bits(ops: Ops, p: Parameters, x: Array, columns: Array, thresholds: Array) -> list[Array]:
    """Of each level whether the right branch is taken, (N, C) bool; the threshold is chosen, not gathered.

    `thresholds` (15, C): node by node.
    """
    values = ops.reshape(ops.take(x, columns, 1), (p.n, LEVELS, p.books))
    bits: list[Array] = []
    for level in range(LEVELS):
        nodes = [thresholds[node, ...] for node in range(2**level - 1, 2 ** (level + 1) - 1)]
        for bit in reversed(bits):  # the last branch tells neighbours apart, the first one the halves
            nodes = [ops.where(bit, right, left) for left, right in zip(nodes[::2], nodes[1::2], strict=True)]
        bits.append(values[:, level, :] > nodes[0])
    return bits


def _numbers(ops: Ops, bits: Sequence[Array]) -> Array:
    """Codes (N, C) int32."""
    code = ops.astype(bits[0], "int32")
    for bit in bits[1:]:
        code = code * 2 + ops.astype(bit, "int32")
    return code


def _encoder(ops: Ops, x: Inputs) -> list[Array]:
    turned = np.ascontiguousarray(x["thresholds"].T)
    return [ops.asarray(x["x"]), ops.positions(_levels(x)), ops.asarray(turned)]


def _with_table(ops: Ops, x: Inputs, p: Parameters) -> Sequence[Array]:
    """The tables as one (16·C, M), and where each book begins in it (C,) int32."""
    begins = np.arange(p.books, dtype=np.int32) * CODES
    return [*_encoder(ops, x), ops.asarray(x["tables"].reshape(-1, p.m)), ops.asarray(begins)]


def _take_sum(
    ops: Ops, p: Parameters, x: Array, columns: Array, thresholds: Array, table: Array, begins: Array
) -> Array:
    codes = _numbers(ops, _bits(ops, p, x, columns, thresholds)) + begins
    return ops.sum(ops.take(table, codes), 1)


def _bag(ops: Ops, p: Parameters, x: Array, columns: Array, thresholds: Array, table: Array, begins: Array) -> Array:
    return ops.embedding_bag(table, _numbers(ops, _bits(ops, p, x, columns, thresholds)) + begins)


def _with_tables(ops: Ops, x: Inputs, p: Parameters) -> Sequence[Array]:
    return [*_encoder(ops, x), ops.asarray(x["tables"])]


def _by_codebook(ops: Ops, p: Parameters, x: Array, columns: Array, thresholds: Array, tables: Array) -> Array:
    codes = _numbers(ops, _bits(ops, p, x, columns, thresholds))
    y = ops.take(tables[0, ...], codes[:, 0])
    for book in range(1, p.books):
        y = y + ops.take(tables[book, ...], codes[:, book])
    return y


def _with_empty(ops: Ops, x: Inputs, p: Parameters) -> Sequence[Array]:
    return [*_with_tables(ops, x, p), ops.asarray(np.zeros((p.n, p.m), x["tables"].dtype))]


def _codebook_loop(
    ops: Ops, p: Parameters, x: Array, columns: Array, thresholds: Array, tables: Array, empty: Array
) -> Array:
    codes = ops.permute_dims(_numbers(ops, _bits(ops, p, x, columns, thresholds)), (1, 0))

    def added(y: tuple[Array, ...], book: tuple[Array, ...]) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        return (y[0] + ops.take(book[0], book[1]),), (ops.max(book[1], 0),)  # Inductor has no scan without a result

    return ops.scan(added, (empty,), (tables, codes))[0][0]


def _with_numbers(ops: Ops, x: Inputs, p: Parameters) -> Sequence[Array]:
    numbers = np.arange(CODES, dtype=np.int32)
    return [
        *_encoder(ops, x),
        ops.asarray(x["tables"].reshape(-1, p.m)),
        ops.asarray(numbers),
        ops.asarray(np.ones(1, x["tables"].dtype)),
    ]


def _one_hot(
    ops: Ops, p: Parameters, x: Array, columns: Array, thresholds: Array, table: Array, numbers: Array, one: Array
) -> Array:
    codes = _numbers(ops, _bits(ops, p, x, columns, thresholds))
    hot = ops.where(ops.expand_dims(codes, 2) == numbers, one, 0.0)
    return ops.matmul(ops.reshape(hot, (p.n, p.books * CODES)), table)


# -- presets ----------------------------------------------------------------------------------------------------------


def _params(n: int, k: int, m: int, books: int) -> Params:
    return {"n": n, "k": k, "m": m, "books": books}


WORKLOAD = Definition(
    name="table_product",
    title="product by lookup tables",
    source="Blalock and Guttag 2021, Multiplying Matrices Without Multiplying (arXiv:2106.10860), §4",
    leaves_out="multiplications",
    axes={
        "n": Axis(help="rows of X", low=1, high=1e6),
        "k": Axis(help="columns of X", low=1, high=1e6),
        "m": Axis(help="columns of Y", low=1, high=1e6),
        "books": Axis(help="groups of columns, each with a tree and a table, C; divides k", low=1, high=1e5),
    },
    presets={
        "smoke": (Point(_params(16, 32, 16, 4)), Point(_params(5, 24, 3, 6), headline=False)),
        "ideas": (Point(_params(1024, 512, 512, 32)),),
        "standard": (Point(_params(4096, 1024, 1024, 64)),),
        "full": (Point(_params(65536, 4096, 4096, 256)),),
    },
    inputs=inputs,
    reference=reference,
    formulations={
        "forward": {
            "take_sum": forward_step(
                "C rows of the tables gathered for every row of X, then summed",
                _with_table,
                _take_sum,
                lambda p: p.n * p.books * p.m <= _GATHERED,
            ),
            "bag": forward_step(
                "the C rows of every row of X summed as they are read: an embedding bag", _with_table, _bag
            ),
            "by_codebook": forward_step("a gather for each group, added up", _with_tables, _by_codebook),
            "codebook_loop": forward_step(
                "the same as steps of a loop, whose gathers a compiler does not put into one",
                _with_empty,
                _codebook_loop,
            ),
            "one_hot": marked_multiplies_zeros(
                forward_step(
                    "codes as 16 columns of zeros and a one, a dense product with the tables: for matrix units",
                    _with_numbers,
                    _one_hot,
                )
            ),
        },
    },
    work=work,
    twins=twins,
)
