"""PyTorch's candidates of `bench_best`: dense, sparse and block-sparse products."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from _torch_by_hand import BOTH, PRODUCTS, RATE, candidate, first, less_product, onednn, put
from torch.nn import functional as F  # noqa: N812


# -- dense products ---------------------------------------------------------------------------------------------------
@candidate("dense_matmul", "forward")
def product(x, params):
    return lambda a, b: (torch.mm(a, b),), put(x["a"], x["b"]), first


@candidate("dense_matmul", "forward", "eager")
def product_into(x, params):
    """Into memory that is there already."""
    out = torch.empty(params["m"], params["n"])
    return lambda a, b: (torch.mm(a, b, out=out),), put(x["a"], x["b"]), first


@candidate("dense_matmul", "forward", "eager")
def product_b_transposed(x, params):
    return lambda a, b: (torch.mm(a, b.T),), put(x["a"], x["b"].T), first


@candidate("dense_matmul", "forward", "eager")
def product_a_transposed(x, params):
    return lambda a, b: (torch.mm(a.T, b),), put(x["a"].T, x["b"]), first


@candidate("dense_matmul", "forward", "eager")
def product_transposed(x, params):
    """The transpose of Y, of transposed operands: Yᵀ = Bᵀ·Aᵀ."""
    return lambda a, b: (torch.mm(b, a),), put(x["a"].T, x["b"].T), lambda o: {"y": o[0].T}


@candidate("dense_matmul", "forward", "eager")
def linear(x, params):
    return lambda a, b: (F.linear(b, a),), put(x["a"], x["b"].T), lambda o: {"y": o[0].T}


@candidate("dense_matmul", "forward", "eager")
def linear_packed(x, params):
    """oneDNN's, its weights packed beforehand."""
    a, b = put(x["a"], x["b"].T)
    packed = torch.ops.mkldnn._reorder_linear_weight(a, params["n"])
    run = torch.ops.mkldnn._linear_pointwise
    return lambda b: (run(b, packed, None, "none", [], ""),), [b], lambda o: {"y": o[0].T}


@candidate("dense_matmul", "forward", "eager")
def linear_onednn(x, params):
    """oneDNN's, of weights as they are."""
    return lambda a, b: (onednn(b, a.T),), put(x["a"], x["b"].T), lambda o: {"y": o[0].T}


@candidate("dense_matmul", "forward", "eager")
def product_onednn(x, params):
    """oneDNN's, B its weights."""
    return lambda a, b: (onednn(a, b),), put(x["a"], x["b"]), first


@candidate("dense_matmul", "forward", "eager")
def product_onednn_b_transposed(x, params):
    """oneDNN's, B its weights, as it stores them."""
    return lambda a, b: (onednn(a, b.T),), put(x["a"], x["b"].T), first


@candidate("dense_matmul", "forward", "eager")
def vector(x, params):
    if params["n"] != 1:
        raise NotImplementedError("one column only")
    return lambda a, b: (torch.mv(a, b),), put(x["a"], x["b"][:, 0]), lambda o: {"y": o[0][:, None]}


@candidate("dense_matmul", "forward", "compiled")
def multiply_and_sum(x, params):
    if params["n"] != 1:
        raise NotImplementedError("one column only")
    return lambda a, b: ((a * b).sum(1),), put(x["a"], x["b"].T), lambda o: {"y": o[0][:, None]}


def _product_step(product):
    def make(x, params):
        n, both = params["n"], params["grads"] == "both"

        def run(a, b, target):
            error = product(a, b) - target
            dy = error / n
            out = (error * error).sum() * (0.5 / n), a - RATE * product(dy, b.T)
            return (*out, product(a.T, dy)) if both else out

        return run, put(x["a"], x["b"], x["target"]), lambda o: dict(zip(("loss", "a", "grad_b"), o, strict=False))

    return make


def _product_step_in_place(product):
    """What can be is added within a product or in place."""

    def make(x, params):
        n, both = params["n"], params["grads"] == "both"

        def run(a, b, target):
            error = less_product(target, a, b, 1, product)  # T − Y
            flat = error.view(-1)
            out = torch.dot(flat, flat) * (0.5 / n), less_product(a, error, b.T, -RATE / n, product)
            return (*out, product(a.T, error).div_(-n)) if both else out

        return run, put(x["a"], x["b"], x["target"]), lambda o: dict(zip(("loss", "a", "grad_b"), o, strict=False))

    return make


for _ending, _by in PRODUCTS.items():
    candidate.add("dense_matmul", "train_step", f"product_step{_ending}", _product_step(_by), *BOTH)
    candidate.add("dense_matmul", "train_step", f"product_step_addmm{_ending}", _product_step_in_place(_by), "eager")


# -- sparse products --------------------------------------------------------------------------------------------------
def _csr(x, params, dtype=torch.int32):
    pointers, indices, values = put(x["a_indptr"], x["a_indices"], x["a"])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse (CSR|invariant)", UserWarning)
        return torch.sparse_csr_tensor(
            pointers.to(dtype), indices.to(dtype), values, (params["m"], params["k"]), check_invariants=False
        )


@candidate("unstructured_sparse", "forward", "eager")
def csr_mm(x, params):
    return lambda a, b: (torch.mm(a, b),), [_csr(x, params), *put(x["b"])], first


@candidate("unstructured_sparse", "forward", "eager")
def csr_mm_long(x, params):
    return lambda a, b: (torch.mm(a, b),), [_csr(x, params, torch.int64), *put(x["b"])], first


@candidate("unstructured_sparse", "forward", "eager")
def csr_mv(x, params):
    if params["n"] != 1:
        raise NotImplementedError("one column only")
    return lambda a, b: (torch.mv(a, b),), [_csr(x, params), *put(x["b"][:, 0])], lambda o: {"y": o[0][:, None]}


@candidate("unstructured_sparse", "forward", "eager")
def csr_reduce(x, params):
    """The row-wise kernel made for graph networks."""
    return lambda a, b: (torch.sparse.mm(a, b, "sum"),), [_csr(x, params, torch.int64), *put(x["b"])], first


def _bag(b, indices, indptr, values):
    return torch.embedding_bag(b, indices, indptr, False, 0, False, values, True)[0]


@candidate("unstructured_sparse", "forward", *BOTH)
def bag(x, params):
    args = put(x["b"], x["a_indices"], x["a_indptr"], x["a"])
    return lambda *a: (_bag(*a),), args, first


@candidate("unstructured_sparse", "forward", "eager")
def bag_long(x, params):
    args = put(x["b"], x["a_indices"].astype(np.int64), x["a_indptr"].astype(np.int64), x["a"])
    return lambda *a: (_bag(*a),), args, first


@candidate("unstructured_sparse", "forward", *BOTH)
def gather_reduce(x, params):
    if params["n"] != 1:
        raise NotImplementedError("one column only")
    args = put(x["b"][:, 0], x["a_indices"], x["a_indptr"].astype(np.int64), x["a"])

    def run(b, columns, indptr, values):
        picked = values * torch.index_select(b, 0, columns)
        return (torch.segment_reduce(picked, "sum", offsets=indptr),)

    return run, args, lambda o: {"y": o[0][:, None]}


def _sparse_step(x, params, sampled, forward=_bag):
    """A step from embedding bags; `sampled(dy, b, pattern)` the gradient at the non-zeros."""
    n, m, k = params["n"], params["m"], params["k"]
    columns, indptr = x["a_indices"], x["a_indptr"]
    rows = np.repeat(np.arange(m, dtype=np.int32), np.diff(indptr))
    order = np.argsort(columns, kind="stable").astype(np.int32)
    back = np.concatenate([[0], np.cumsum(np.bincount(columns, minlength=k))]).astype(np.int32)
    host = (columns, indptr, rows[order], back, order, rows, rows * np.int32(k) + columns)

    def run(a, b, target, columns, indptr, flipped, back, order, rows, flat):
        error = forward(b, columns, indptr, a) - target
        dy = error / n
        grad = sampled(dy, b, (rows, columns, indptr, flat))
        grad_b = forward(dy, flipped, back, torch.index_select(a, 0, order))
        return (error * error).sum() * (0.5 / n), a - RATE * grad, grad_b

    return run, put(x["a"], x["b"], x["target"], *host), lambda o: {"loss": o[0], "a": o[1], "grad_b": o[2]}


@candidate("unstructured_sparse", "train_step", *BOTH)
def bag_weights_backward(x, params):
    """The embedding bag's own gradient of its weights is the sampled product."""

    def sampled(dy, b, pattern):
        rows, columns, indptr, _ = pattern
        return torch.ops.aten._embedding_bag_per_sample_weights_backward(dy, b, columns, indptr, rows, 0, -1)

    return _sparse_step(x, params, sampled)


@candidate("unstructured_sparse", "train_step", "eager")
def bag_sampled_addmm(x, params):
    shape = (params["m"], params["k"])
    zeros = torch.zeros(len(x["a"]))

    def sampled(dy, b, pattern):
        _, columns, indptr, _ = pattern
        mask = torch.sparse_csr_tensor(indptr, columns, zeros, shape, check_invariants=False)
        return torch.sparse.sampled_addmm(mask, dy, b.T, beta=0).values()

    return _sparse_step(x, params, sampled)


@candidate("unstructured_sparse", "train_step", "compiled")
def bag_gathered(x, params):
    return _sparse_step(x, params, lambda dy, b, p: (dy[p[0]] * b[p[1]]).sum(1))


@candidate("unstructured_sparse", "train_step", *BOTH)
def bag_dense(x, params):
    return _sparse_step(x, params, lambda dy, b, p: torch.index_select(torch.mm(dy, b.T).view(-1), 0, p[3]))


# -- block-sparse products --------------------------------------------------------------------------------------------
def _unrolled(x, params):
    """Scalar (columns, indptr, order) of the blocks: values are a.ravel()[order]."""
    m, k, side = params["m"], params["k"], params["block"]
    rows = np.repeat(np.arange(m // side), np.diff(x["a_indptr"]))
    within = np.arange(side)
    flat = (rows[:, None, None] * side + within[:, None]) * k + x["a_indices"][:, None, None] * side + within
    order = np.argsort(flat.ravel())
    flat = flat.ravel()[order]
    return (flat % k).astype(np.int32), np.searchsorted(flat, np.arange(m + 1) * k).astype(np.int32), order


@candidate("block_sparse", "forward", "eager")
def blocks_as_bag(x, params):
    columns, indptr, order = _unrolled(x, params)
    return lambda *a: (_bag(*a),), put(x["b"], columns, indptr, x["a"].ravel()[order]), first


@candidate("block_sparse", "forward", "eager")
def bsr(x, params):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        a = torch.sparse_bsr_tensor(
            *put(x["a_indptr"], x["a_indices"], x["a"]), (params["m"], params["k"]), check_invariants=False
        )
    return lambda a, b: (torch.mm(a, b),), [a, *put(x["b"])], first


@candidate("block_sparse", "forward", "eager")
def product_per_block_row(x, params):
    """Every block row is one dense product with the rows of B that it meets, gathered, into its rows of Y."""
    m, n, side = params["m"], params["n"], params["block"]
    starts, columns = x["a_indptr"], x["a_indices"]
    wide, picks = [], []
    for i in range(m // side):
        blocks = x["a"][starts[i] : starts[i + 1]]
        wide.append(torch.tensor(np.ascontiguousarray(blocks.transpose(1, 0, 2)).reshape(side, -1)))
        which = columns[starts[i] : starts[i + 1], None] * side + np.arange(side)
        picks.append(torch.tensor(which.ravel().astype(np.int32)))
    every = torch.cat(picks)
    spans = np.cumsum([0, *(len(p) for p in picks)]).tolist()

    def run(b):
        picked = torch.index_select(b, 0, every)
        y = torch.empty(m // side, side, n)
        for i, block in enumerate(wide):
            torch.mm(block, picked[spans[i] : spans[i + 1]], out=y[i])
        return (y.view(m, n),)

    return run, put(x["b"]), first


def _outer_rows(x, params):
    return np.repeat(np.arange(params["m"] // params["block"]), np.diff(x["a_indptr"]))


@candidate("block_sparse", "train_step", *BOTH)
def blocks_step(x, params):
    """Batched products, the update in the product."""
    m, k, n, side = (params[name] for name in ("m", "k", "n", "block"))
    rows, columns = _outer_rows(x, params), x["a_indices"].astype(np.int64)

    def run(a, b, target, rows, columns):
        right = b.view(k // side, side, n).index_select(0, columns)
        y = torch.zeros(m // side, side, n).index_add_(0, rows, torch.bmm(a, right)).view(m, n)
        error = y - target
        dy = error / n
        left = dy.view(m // side, side, n).index_select(0, rows)
        back = torch.zeros(k // side, side, n).index_add_(0, columns, torch.bmm(a.transpose(1, 2), left))
        updated = torch.baddbmm(a, left, right.transpose(1, 2), alpha=-RATE)
        return (error * error).sum() * (0.5 / n), updated, back.view(k, n)

    return run, put(x["a"], x["b"], x["target"], rows, columns), lambda o: {"loss": o[0], "a": o[1], "grad_b": o[2]}


@candidate("block_sparse", "train_step", "eager")
def blocks_step_bags(x, params):
    """Embedding bags forward and back, batched products for the gradient of the blocks."""
    m, k, n, side = (params[name] for name in ("m", "k", "n", "block"))
    rows, block_columns = _outer_rows(x, params), x["a_indices"].astype(np.int64)
    columns, indptr, order = _unrolled(x, params)
    scalar_rows = np.repeat(np.arange(m, dtype=np.int32), np.diff(indptr))
    flip = np.argsort(columns, kind="stable")
    back = np.concatenate([[0], np.cumsum(np.bincount(columns, minlength=k))]).astype(np.int32)

    def run(a, b, target, columns, indptr, order, flipped, back, flip, rows, block_columns):
        flat = a.view(-1)
        error = _bag(b, columns, indptr, flat.index_select(0, order)) - target
        dy = error / n
        left = dy.view(m // side, side, n).index_select(0, rows)
        right = b.view(k // side, side, n).index_select(0, block_columns)
        updated = torch.baddbmm(a, left, right.transpose(1, 2), alpha=-RATE)
        return (error * error).sum() * (0.5 / n), updated, _bag(dy, flipped, back, flat.index_select(0, flip))

    host_side = (columns, indptr, order, scalar_rows[flip], back, order[flip], rows, block_columns)
    return run, put(x["a"], x["b"], x["target"], *host_side), lambda o: {"loss": o[0], "a": o[1], "grad_b": o[2]}
