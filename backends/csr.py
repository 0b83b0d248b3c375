"""A sparse matrix on the host, from which every framework makes its own. Imports nothing of ours."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

HostArray: TypeAlias = npt.NDArray[Any]


def rows_of(indptr: HostArray) -> HostArray:
    """Row of each non-zero, (nnz,) int32, of the row pointers (rows+1,)."""
    return np.repeat(np.arange(len(indptr) - 1, dtype=np.int32), np.diff(indptr))


class CSR(NamedTuple):
    """A sparse matrix on the host: `values` (nnz,), `indices` (nnz,) int32 sorted in rows, `indptr` (rows+1,)."""

    values: HostArray
    indices: HostArray
    indptr: HostArray
    shape: tuple[int, int]

    @property
    def rows(self) -> HostArray:
        """Row of each non-zero, (nnz,) int32."""
        return rows_of(self.indptr)

    def transposed(self) -> tuple[CSR, HostArray]:
        """The transpose as CSR, and the permutation (nnz,) int32 with `transpose.values == values[permutation]`."""
        order = np.argsort(self.indices, kind="stable").astype(np.int32)
        counts = np.bincount(self.indices, minlength=self.shape[1])
        indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        return CSR(self.values[order], self.rows[order], indptr, (self.shape[1], self.shape[0])), order

    def dense(self) -> HostArray:
        """The same matrix with its zeros, (rows, columns)."""
        out = np.zeros(self.shape, self.values.dtype)
        out[self.rows, self.indices] = self.values
        return out
