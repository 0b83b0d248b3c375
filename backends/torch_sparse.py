"""PyTorch's sparse operands: how each format is made, multiplied, and given other values.

`csr`, `coo` and `bsr` are PyTorch's own sparse tensors, `csc` one with its order of values, and `bag` the arrays of a
CSR as `embedding_bag` reads them. Imports PyTorch: only an opened backend imports this file.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

from backends.ops import CSR, SPARSE_FORMATS, Array, HostArray, Matrix, Unsupported

_REFUSALS = re.compile(
    r"not implemented|not[ _](yet )?supported|not compiled|unsupported|only supports?|expected .*layout", re.IGNORECASE
)
_LONG_SEGMENT = 32  # on average: measured at 10 (loses by 1.5) and at 100 (wins by 1.7)


class EmbeddingBag(NamedTuple):
    """Rows as bags of an embedding: `sparse_matmul` is `embedding_bag` with the values as weights."""

    indptr: Array
    indices: Array
    values: Array
    columns: int


class Csc(NamedTuple):
    """A CSC tensor; `order` (nnz,) finds its values in the order of the CSR, `inverse` the other way round."""

    tensor: Array
    order: Array
    inverse: Array


def refusal(error: RuntimeError) -> Exception:
    """What to raise for an error of PyTorch: Unsupported in its first sentence where it says no, else the error."""
    if not isinstance(error, NotImplementedError) and not _REFUSALS.search(str(error)):
        return error
    first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return Unsupported(first.split(". ")[0])


def convert(put: Callable[[HostArray], Array], csr: CSR, format: str, block: int) -> Matrix:
    """`csr` on the device of `put`, in one of SPARSE_FORMATS; ValueError where blocks do not divide the shape."""
    if format not in SPARSE_FORMATS:
        raise Unsupported(f"PyTorch is offered here with the formats {', '.join(SPARSE_FORMATS)}, not {format}")
    with warnings.catch_warnings():  # once a process, at the first of them
        warnings.filterwarnings("ignore", "Sparse (CSR|CSC|BSR|BSC) tensor support is in beta", UserWarning)
        return _bsr(put, csr, block) if format == "bsr" else _MAKERS[format](put, csr)


def _csr(put: Callable[[HostArray], Array], csr: CSR) -> Matrix:
    return _compressed(torch.sparse_csr_tensor, put(csr.indptr), put(csr.indices), put(csr.values), csr.shape)


def _csc(put: Callable[[HostArray], Array], csr: CSR) -> Matrix:
    transpose, order = csr.transposed()
    inverse = np.empty_like(order)
    inverse[order] = np.arange(len(order), dtype=order.dtype)
    arrays = put(transpose.indptr), put(transpose.indices), put(transpose.values)
    return Csc(_compressed(torch.sparse_csc_tensor, *arrays, csr.shape), put(order), put(inverse))


def _coo(put: Callable[[HostArray], Array], csr: CSR) -> Matrix:
    return _coordinates(put(np.stack([csr.rows, csr.indices]).astype(np.int64)), put(csr.values), csr.shape)


def _bsr(put: Callable[[HostArray], Array], csr: CSR, block: int) -> Matrix:
    rows, columns = csr.shape
    if rows % block or columns % block:
        raise ValueError(f"blocks of {block}×{block} do not divide a matrix of {rows}×{columns}; choose a divisor")
    block_columns = columns // block
    keys, which = np.unique(csr.rows // block * block_columns + csr.indices // block, return_inverse=True)
    values = np.zeros((len(keys), block, block), csr.values.dtype)
    values[which, csr.rows % block, csr.indices % block] = csr.values
    counts = np.bincount(keys // block_columns, minlength=rows // block)
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    indices = (keys % block_columns).astype(np.int32)
    return _compressed(torch.sparse_bsr_tensor, put(indptr), put(indices), put(values), csr.shape)


def _bag(put: Callable[[HostArray], Array], csr: CSR) -> Matrix:
    # The first CSR tensor of a process warns. `sampled_matmul` makes one of a bag, in the call that is timed.
    _compressed(torch.sparse_csr_tensor, torch.zeros(2).int(), torch.zeros(0).int(), torch.zeros(0), (1, 1))
    return EmbeddingBag(put(csr.indptr), put(csr.indices), put(csr.values), csr.shape[1])


def _semi_structured(put: Callable[[HostArray], Array], csr: CSR, cutlass: bool) -> Matrix:
    """Two of each four values and where they stand, by cuSPARSELt or by CUTLASS: on CUDA, in PyTorch's words."""
    dense = np.zeros(csr.shape, csr.values.dtype)
    dense[csr.rows, csr.indices] = csr.values
    kind = torch.sparse.SparseSemiStructuredTensor
    before, kind._FORCE_CUTLASS = kind._FORCE_CUTLASS, cutlass
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The PyTorch API of SparseSemiStructuredTensor", UserWarning)
            made: Matrix = torch.sparse.to_sparse_semi_structured(put(dense))
            return made
    except RuntimeError as error:
        raise Unsupported(str(error).splitlines()[0]) from error
    finally:
        kind._FORCE_CUTLASS = before


_MAKERS: Mapping[str, Callable[[Callable[[HostArray], Array], CSR], Matrix]] = {
    "csr": _csr,
    "csc": _csc,
    "coo": _coo,
    "bag": _bag,
    "cusparselt": lambda put, csr: _semi_structured(put, csr, False),
    "cutlass": lambda put, csr: _semi_structured(put, csr, True),
}


def _compressed(make: Any, pointers: Array, indices: Array, values: Array, shape: tuple[int, ...]) -> Array:
    # The invariants are the CSR's own; checking them takes ten times as long as making the tensor.
    return make(pointers, indices, values, shape, check_invariants=False)


def _coordinates(indices: Array, values: Array, shape: tuple[int, ...]) -> Array:
    return torch.sparse_coo_tensor(indices, values, shape, check_invariants=False, is_coalesced=True)


def matmul(a: Matrix, b: Array) -> Array:
    """a (M×K) · b (K×N), or a CSR's or COO's with a vector b (K,)."""
    try:
        if b.ndim == 1:  # asked once: at small shapes every look at a tensor is a percent of the call
            if isinstance(a, (EmbeddingBag, Csc)):
                words = f"PyTorch has no product of a vector for {type(a).__name__.lower()}, csr and coo have one"
                raise Unsupported(words)
            return torch.mv(a, b)
        if isinstance(a, EmbeddingBag):  # torch.nn.functional's own checks cost 10 µs of a call
            return torch.embedding_bag(b, a.indices, a.indptr, False, 0, False, a.values, True)[0]
        if isinstance(a, Csc):
            return torch.mm(a.tensor, b)
        if b.shape[1] == 1 and not (a.requires_grad or b.requires_grad):
            # Twice as fast as mm; its gradient would be dense. A reshape costs twice what squeeze and unsqueeze do.
            return torch.mv(a, b.squeeze(1)).unsqueeze(1)
        return torch.mm(a, b)
    except RuntimeError as error:
        raise refusal(error) from error


def matmul_transposed(a: Matrix, b: Array) -> Array:
    """aᵀ (K×M) · b (M×N): a CSR transposed is a CSC, and a CSC a CSR. PyTorch's product of a CSC makes a CSR of it."""
    if isinstance(a, EmbeddingBag):
        raise Unsupported("an embedding_bag sums over rows only: make one of the transpose")
    try:
        return torch.mm((a.tensor if isinstance(a, Csc) else a).t(), b)
    except RuntimeError as error:
        raise refusal(error) from error


def values(a: Matrix) -> Array:
    """Stored values, in the order of the CSR; blocks (blocks, b, b) of BSR."""
    if isinstance(a, EmbeddingBag):
        return a.values
    if isinstance(a, Csc):
        return torch.index_select(a.tensor.values(), 0, a.inverse)
    return a._values() if a.layout == torch.sparse_coo else a.values()


def with_values(a: Matrix, new: Array) -> Matrix:
    """The same pattern around other values."""
    if isinstance(a, EmbeddingBag):
        return EmbeddingBag(a.indptr, a.indices, new, a.columns)
    if isinstance(a, Csc):
        t = a.tensor
        held = torch.index_select(new, 0, a.order)
        made = _compressed(torch.sparse_csc_tensor, t.ccol_indices(), t.row_indices(), held, t.shape)
        return Csc(made, a.order, a.inverse)
    if a.layout == torch.sparse_coo:
        return _coordinates(a._indices(), new, a.shape)
    make = torch.sparse_csr_tensor if a.layout == torch.sparse_csr else torch.sparse_bsr_tensor
    return _compressed(make, a.crow_indices(), a.col_indices(), new, a.shape)


def sampled_matmul(a: Matrix, x: Array, y: Array) -> Array:
    """(x · yᵀ) at the non-zeros of a, by `torch.sparse.sampled_addmm`.

    On a CPU 3 to 8 times as fast as the dot products of gathered rows, at density 0.1 and 0.01 of 1024×1024.
    """
    if isinstance(a, EmbeddingBag):
        shape = (len(a.indptr) - 1, a.columns)
        a = _compressed(torch.sparse_csr_tensor, a.indptr, a.indices, a.values, shape)
    try:
        return torch.sparse.sampled_addmm(a.tensor if isinstance(a, Csc) else a, x, y.T, beta=0).values()
    except RuntimeError as error:
        raise refusal(error) from error


def segment_sum(x: Array, segment_ids: Array, num_segments: int) -> Array:
    """Sum rows of x (n, …) by sorted ids (n,) into (num_segments, …).

    `segment_reduce` is up to twice as fast for vectors of long segments (three times compiled), and 5 times as slow
    for rows of 128; it pays for finding the ends of the segments. `index_add` takes int32 ids at 3 to 20 times the
    time of int64, so they are widened first.
    """
    if x.ndim == 1 and x.shape[0] >= _LONG_SEGMENT * num_segments:
        ends = torch.arange(num_segments + 1, dtype=segment_ids.dtype, device=x.device)
        return torch.segment_reduce(x, "sum", offsets=torch.searchsorted(segment_ids, ends))
    out = torch.zeros((num_segments, *x.shape[1:]), dtype=x.dtype, device=x.device)
    return out.index_add_(0, segment_ids.long(), x)  # not `index_add`, which copies the zeros first
