"""The framework's own product with a stored sparse matrix: what its kernel takes for a stored value, and for a FLOP."""

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
    axes={
        "side": Axis(help="rows and columns of the sparse matrix", default=1536, low=1, high=1e6),
        "stored": Axis(help="values stored in each row", default=96, low=1, high=1e6),
        "n": Axis(help="columns of the other", default=64, low=1, high=1e6),
    },
    smoke={"side": 16, "stored": 4, "n": 3},
)
for _n in (1, 64):
    w.preset("quick", n=_n, mode="forward", headline=False, group=str(_n))


@w.inputs
def inputs(p: Parameters, rng: np.random.Generator) -> Inputs:
    """Values and columns (side, stored) in order, as many in each row, and B (side, n)."""
    stored = min(p.stored, p.side)
    columns = np.sort(np.argsort(rng.random((p.side, p.side)), axis=1)[:, :stored], axis=1)
    return {
        "values": rng.standard_normal((p.side, stored)) / np.sqrt(stored),
        "columns": columns.astype(np.int32),
        "b": rng.standard_normal((p.side, p.n)),
    }


@w.reference
def reference(values: HostArray, columns: HostArray, b: HostArray) -> Mapping[str, HostArray]:
    """Y (side, n)."""
    return {"y": np.einsum("rs,rsn->rn", values, b[columns])}


@w.work
def work(p: Parameters, mode: Mode, itemsize: int) -> Work:
    """2 FLOP for each stored value and column."""
    count = p.side * min(p.stored, p.side)
    moved = count * (itemsize + 4) + 4 * (p.side + 1) + 2 * itemsize * p.side * p.n
    return Work(2 * count * p.n, moved, moved)


def _csr(ops: Ops, p: Parameters, values: HostArray, columns: HostArray, b: HostArray) -> Sequence[Array | Matrix]:
    offsets = np.arange(p.side + 1, dtype=np.int32) * np.int32(values.shape[1])
    host = CSR(values.reshape(-1), columns.reshape(-1), offsets, (p.side, p.side))
    return [ops.sparse(host, "csr"), ops.asarray(b)]


@w.formulation(note="compressed rows", prepare=_csr, outputs=("y",))
def csr(ops: Ops, a: Matrix, b: Array) -> tuple[Array, ...]:
    """A·B."""
    return (ops.sparse_matmul(a, b),)


WORKLOAD = w.definition()
