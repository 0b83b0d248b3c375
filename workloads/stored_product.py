"""The framework's own product with a stored sparse matrix: rows gathered and added up where they are, never written.

It reads rows faster than a gather by itself, which writes each, and so it is a ceiling of what gathers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from backends.ops import CSR, Array, HostArray, Matrix, Ops
from workloads import Axis, Parameters, Workload
from workloads.base import Inputs, Mode, Work

w = Workload(
    "stored_product",
    title="product with a stored sparse matrix",
    source="the primitive of every library of sparse matrices",
    role="ceiling",
    lone=True,
    axes={
        "rows": Axis(help="rows of the sparse matrix", default=1536, low=1, high=1e7),
        "columns": Axis(help="its columns, and the rows of the other that are gathered", default=128, low=1, high=1e7),
        "stored": Axis(help="values stored in each row", default=96, low=1, high=1e6),
        "n": Axis(help="columns of the other", default=64, low=1, high=1e6),
    },
    smoke={"rows": 16, "columns": 16, "stored": 4, "n": 3},
)
NARROW = {"rows": 1024, "columns": 1024, "stored": 512, "n": 1}  # a row is one value
WIDE = {"rows": 1536, "columns": 128, "stored": 96, "n": 64}  # 256 bytes in float32, of 32 KiB that stay in a cache
FAR = {**WIDE, "columns": 2**17}  # of 32 MiB
for _preset, _more in (("ideas", 1), ("quick", 1), ("standard", 4), ("full", 32)):
    for _group, _axes in (("narrow", NARROW), ("wide", WIDE), ("wide", FAR)):
        if _axes is not FAR or _more > 1:
            _given = {**_axes, "rows": _more * _axes["rows"]}
            w.preset(_preset, mode="forward", survey=_axes is not FAR, headline=False, group=_group, **_given)


@w.inputs
def inputs(p: Parameters, rng: np.random.Generator) -> Inputs:
    """Values and columns (rows, stored), one in each of `stored` equal parts of a row, and B (columns, n)."""
    stored = min(p.stored, p.columns)
    columns = (np.arange(stored) + rng.random((p.rows, stored))) * (p.columns / stored)
    return {
        "values": rng.standard_normal((p.rows, stored)) / np.sqrt(stored),
        "columns": columns.astype(np.int32),
        "b": rng.standard_normal((p.columns, p.n)),
    }


@w.reference
def reference(values: HostArray, columns: HostArray, b: HostArray) -> Mapping[str, HostArray]:
    """Y (rows, n)."""
    y = np.zeros((len(values), b.shape[1]))
    for value, column in zip(values.T, columns.T, strict=True):
        y += value[:, None] * b[column]
    return {"y": y}


@w.work
def work(p: Parameters, mode: Mode, itemsize: int) -> Work:
    """2 FLOP for each stored value and column."""
    count = p.rows * min(p.stored, p.columns)
    moved = count * (itemsize + 4) + 4 * (p.rows + 1) + itemsize * (p.rows + p.columns) * p.n
    return Work(2 * count * p.n, moved, moved)


def _host(p: Parameters, values: HostArray, columns: HostArray) -> CSR:
    offsets = np.arange(p.rows + 1, dtype=np.int32) * np.int32(values.shape[1])
    return CSR(values.reshape(-1), columns.reshape(-1), offsets, (p.rows, p.columns))


def _csr(ops: Ops, p: Parameters, values: HostArray, columns: HostArray, b: HostArray) -> Sequence[Array | Matrix]:
    return [ops.sparse(_host(p, values, columns), "csr"), ops.asarray(b)]


def _bag(ops: Ops, p: Parameters, values: HostArray, columns: HostArray, b: HostArray) -> Sequence[Array | Matrix]:
    return [ops.sparse(_host(p, values, columns), "bag"), ops.asarray(b)]


@w.formulation(note="compressed rows", prepare=_csr, outputs=("y",))
def csr(ops: Ops, a: Matrix, b: Array) -> tuple[Array, ...]:
    """A·B."""
    return (ops.sparse_matmul(a, b),)


@w.formulation(
    note="compressed rows, B of one column as a vector",
    prepare=lambda ops, p, values, columns, b: [_csr(ops, p, values, columns, b)[0], ops.asarray(b[:, 0].copy())],
    restore=lambda y: {"y": y[:, None]},
    applies=lambda p: p.n == 1,
    outputs=("y",),
)
def vector(ops: Ops, a: Matrix, b: Array) -> tuple[Array, ...]:
    """A·b."""
    return (ops.sparse_matmul(a, b),)


@w.formulation(note="a weighted embedding bag for each row", prepare=_bag, applies=lambda p: p.n > 1, outputs=("y",))
def bag(ops: Ops, a: Matrix, b: Array) -> tuple[Array, ...]:
    """A·B."""
    return (ops.sparse_matmul(a, b),)


WORKLOAD = w.definition()
