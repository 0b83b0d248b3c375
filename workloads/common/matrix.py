"""A sparse matrix of the user's: what a file may hold, how large it may be, and its non-zeros in one form.

Limits stand here, for all kinds of file, and are held against what a header claims before anything is allocated for it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple, NoReturn, Protocol

import numpy as np

from backends.ops import HostArray
from workloads.common.patterns import Pattern

MOST_ROWS = 10**6  # and columns
MOST_VALUES = 2**26  # that are stored: 8192×8192 whole, or 7 % of a square matrix of 30 000
MOST_ENTRIES = 2**29  # with the zeros: the dense twin stores them, and so does the reference, in 4 GiB

_PART_BYTES = 1 << 17


class MatrixError(ValueError):
    """A file that is no matrix to measure; the message is one sentence: the file, the place and what is there."""


class Source(NamedTuple):
    """Where a matrix lies: a file, and the name of a tensor in it where it has several."""

    path: Path
    tensor: str = ""

    def __str__(self) -> str:
        return f"{self.path}:{self.tensor}" if self.tensor else str(self.path)


class FileMatrix(NamedTuple):
    """The non-zeros of a file's matrix, and their values (nnz,) float64 in the order of the pattern.

    `values` is None where the file has a pattern only. Zeros that a file stores are no non-zeros.
    """

    pattern: Pattern
    values: HostArray | None


class Readable(Protocol):
    """A file of bytes."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end."""
        ...


def fail(source: object, problem: str) -> NoReturn:
    """MatrixError with the source in front."""
    raise MatrixError(f"{source}: {problem}")


def read_most(source: object, file: Readable, most: int) -> bytes:
    """All that follows in a file; MatrixError where that is more than `most` bytes, of which no more are kept."""
    parts, held = [], 0
    while part := file.read(_PART_BYTES):
        parts.append(part)
        held += len(part)
        if held > most:
            fail(source, f"has over {most} bytes, more than is read of a text; write it by scipy.sparse.save_npz")
    return b"".join(parts)


def check_sizes(source: object, rows: int, columns: int, stored: int) -> None:
    """MatrixError where the sizes that a file claims are none to measure; nothing was allocated for them yet."""
    if rows < 1 or columns < 1:
        fail(source, f"is {rows}×{columns} and has no entries; give a matrix with rows and columns")
    if max(rows, columns) > MOST_ROWS:
        fail(source, f"is {rows}×{columns}, expected at most {MOST_ROWS} rows and columns")
    if rows * columns > MOST_ENTRIES:
        dense = f"{rows * columns} entries with its zeros, which the dense twin needs"
        fail(source, f"is {rows}×{columns}: {dense}; expected at most {MOST_ENTRIES}")
    if stored > MOST_VALUES:
        fail(source, f"stores {stored} values, expected at most {MOST_VALUES}")


def of_scipy(source: object, matrix: Any, *, once: bool = False) -> FileMatrix:
    """The non-zeros of a SciPy sparse matrix or array of any format, or of a dense array (rows, columns).

    Bool is a pattern without values. Entries that stand twice are summed, as SciPy means them, or refused where each
    must stand `once`. MatrixError for what is not two-dimensional, not real, not finite, inconsistent or empty.
    """
    if matrix.ndim != 2:
        fail(source, f"has {matrix.ndim} axes, shape {tuple(matrix.shape)}; expected a matrix, of 2")
    rows, columns = (int(side) for side in matrix.shape)
    check_sizes(source, rows, columns, 0 if isinstance(matrix, np.ndarray) else matrix.nnz)
    mask = matrix.dtype == np.bool_
    # bfloat16 and the float8s of ml_dtypes are of kind V
    if not mask and matrix.dtype.kind not in "iuf" and not matrix.dtype.name.startswith(("bfloat16", "float8")):
        fail(source, f"has values of type {matrix.dtype}; expected real numbers, or bool for a pattern only")
    if isinstance(matrix, np.ndarray):
        csr = _of_dense(source, matrix)
        stored = csr.nnz
    else:
        if matrix.format in ("csr", "csc", "bsr"):
            _check_offsets(source, matrix)
        stored = matrix.nnz
        csr = matrix.astype(np.bool_ if mask else np.float64).tocsr()
    csr.sum_duplicates()
    if once and csr.nnz < stored:
        fail(source, f"gives {stored - csr.nnz} entries more than once; write each entry once")
    if not mask and not np.isfinite(csr.data).all():
        fail(source, "has a value that is not finite; expected numbers")
    csr.eliminate_zeros()
    if csr.nnz == 0:
        fail(source, f"is {rows}×{columns} and has no non-zeros; give a matrix with at least one")
    pattern = Pattern(csr.indices.astype(np.int32), csr.indptr.astype(np.int32), (rows, columns))
    return FileMatrix(pattern, None if mask else csr.data)


def _check_offsets(source: object, matrix: Any) -> None:
    """What SciPy checks of a compressed matrix, and what it does not: its own code writes beyond its memory then."""
    if (np.diff(matrix.indptr) < 0).any():
        fail(source, "has row offsets that fall; expected each at least as large as the one before")
    if matrix.format == "bsr" and any(side % block for side, block in zip(matrix.shape, matrix.blocksize, strict=True)):
        fail(source, f"has blocks of {matrix.blocksize}, which do not divide its shape {matrix.shape}")
    matrix.check_format(full_check=True)


def _of_dense(source: object, matrix: HostArray) -> Any:
    """A CSR array of the non-zeros; no copy of the whole is made in another dtype."""
    from scipy import sparse

    rows, columns = np.nonzero(matrix)
    check_sizes(source, matrix.shape[0], matrix.shape[1], len(rows))
    values = matrix[rows, columns]
    values = values if values.dtype == np.bool_ else values.astype(np.float64)
    return sparse.coo_array((values, (rows, columns)), shape=matrix.shape).tocsr()
