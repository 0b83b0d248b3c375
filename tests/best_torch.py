"""The fastest ways known to write the workloads in PyTorch, by hand: the other side of `bench_best`.

A candidate takes host inputs and axes and gives `fn`, its arguments, and how host copies of what `fn(*args)` returns
are named. EXECUTIONS are the settings in which each is tried, ONLY the candidates that are tried in some of them.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812

RATE = 0.1
EPSILON = 1e-7
PRESENT, ABSENT, DOWN = 0.9, 0.1, 0.5
THETA, TINY = 2.0, 1e-4
LAST = torch.channels_last

CANDIDATES: dict[tuple[str, str], dict[str, Callable[..., Any]]] = {}
ONLY: dict[str, tuple[str, ...]] = {}


def candidate(workload: str, mode: str, *executions: str) -> Callable[..., Any]:
    """Registers the function below it under its own name; tried in `executions` only, where any are given."""

    def register(f: Callable[..., Any]) -> Callable[..., Any]:
        CANDIDATES.setdefault((workload, mode), {})[f.__name__] = f
        if executions:
            ONLY[f.__name__] = executions
        return f

    return register


def _autotuned(fn, args):
    return torch.compile(fn, fullgraph=True, dynamic=False, mode="max-autotune-no-cudagraphs")


EXECUTIONS: Mapping[str, Callable[..., Any]] = {
    "eager": lambda fn, args: fn,
    "compiled": lambda fn, args: torch.compile(fn, fullgraph=True, dynamic=False),
    "autotuned": _autotuned,
}
BOTH = ("eager", "compiled")
ONLY["twin"] = BOTH


def wait(outputs):
    """Nothing: on the CPU an operator returns when it is done."""


def host(x):
    return x.detach().numpy().copy()


def _put(*xs):
    return [torch.tensor(np.ascontiguousarray(x)) for x in xs]


def _y(outputs):
    return {"y": outputs[0]}


# -- dense products ---------------------------------------------------------------------------------------------------
@candidate("dense_matmul", "forward")
def product(x, params):
    return lambda a, b: (torch.mm(a, b),), _put(x["a"], x["b"]), _y


@candidate("dense_matmul", "forward", "eager")
def product_into(x, params):
    """Into memory that is there already."""
    out = torch.empty(params["m"], params["n"])
    return lambda a, b: (torch.mm(a, b, out=out),), _put(x["a"], x["b"]), _y


@candidate("dense_matmul", "forward", "eager")
def product_b_transposed(x, params):
    return lambda a, b: (torch.mm(a, b.T),), _put(x["a"], x["b"].T), _y


@candidate("dense_matmul", "forward", "eager")
def product_a_transposed(x, params):
    return lambda a, b: (torch.mm(a.T, b),), _put(x["a"].T, x["b"]), _y


@candidate("dense_matmul", "forward", "eager")
def product_transposed(x, params):
    """The transpose of Y, of transposed operands: Yᵀ = Bᵀ·Aᵀ."""
    return lambda a, b: (torch.mm(b, a),), _put(x["a"].T, x["b"].T), lambda o: {"y": o[0].T}


@candidate("dense_matmul", "forward", "eager")
def linear(x, params):
    return lambda a, b: (F.linear(b, a),), _put(x["a"], x["b"].T), lambda o: {"y": o[0].T}


@candidate("dense_matmul", "forward", "eager")
def linear_packed(x, params):
    """oneDNN's, its weights packed beforehand."""
    a, b = _put(x["a"], x["b"].T)
    packed = torch.ops.mkldnn._reorder_linear_weight(a, params["n"])
    run = torch.ops.mkldnn._linear_pointwise
    return lambda b: (run(b, packed, None, "none", [], ""),), [b], lambda o: {"y": o[0].T}


@candidate("dense_matmul", "forward", "eager")
def vector(x, params):
    if params["n"] != 1:
        raise NotImplementedError("one column only")
    return lambda a, b: (torch.mv(a, b),), _put(x["a"], x["b"][:, 0]), lambda o: {"y": o[0][:, None]}


@candidate("dense_matmul", "forward", "compiled")
def multiply_and_sum(x, params):
    if params["n"] != 1:
        raise NotImplementedError("one column only")
    return lambda a, b: ((a * b).sum(1),), _put(x["a"], x["b"].T), lambda o: {"y": o[0][:, None]}


@candidate("dense_matmul", "train_step", *BOTH)
def product_step(x, params):
    n, both = params["n"], params["grads"] == "both"

    def run(a, b, target):
        error = torch.mm(a, b) - target
        dy = error / n
        out = (error * error).sum() * (0.5 / n), a - RATE * torch.mm(dy, b.T)
        return (*out, torch.mm(a.T, dy)) if both else out

    return run, _put(x["a"], x["b"], x["target"]), lambda o: dict(zip(("loss", "a", "grad_b"), o, strict=False))


@candidate("dense_matmul", "train_step", "eager")
def product_step_addmm(x, params):
    """Products that subtract as they go: the target from Y, the gradient from A."""
    n, both = params["n"], params["grads"] == "both"

    def run(a, b, target):
        error = torch.addmm(target, a, b, beta=-1)
        flat = error.view(-1)
        out = torch.dot(flat, flat) * (0.5 / n), torch.addmm(a, error, b.T, alpha=-RATE / n)
        return (*out, torch.mm(a.T, error).div_(n)) if both else out

    return run, _put(x["a"], x["b"], x["target"]), lambda o: dict(zip(("loss", "a", "grad_b"), o, strict=False))


# -- sparse products --------------------------------------------------------------------------------------------------
def _csr(x, params, dtype=torch.int32):
    pointers, indices, values = _put(x["a_indptr"], x["a_indices"], x["a"])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse (CSR|invariant)", UserWarning)
        return torch.sparse_csr_tensor(
            pointers.to(dtype), indices.to(dtype), values, (params["m"], params["k"]), check_invariants=False
        )


@candidate("unstructured_sparse", "forward", "eager")
def csr_mm(x, params):
    return lambda a, b: (torch.mm(a, b),), [_csr(x, params), *_put(x["b"])], _y


@candidate("unstructured_sparse", "forward", "eager")
def csr_mm_long(x, params):
    return lambda a, b: (torch.mm(a, b),), [_csr(x, params, torch.int64), *_put(x["b"])], _y


@candidate("unstructured_sparse", "forward", "eager")
def csr_mv(x, params):
    if params["n"] != 1:
        raise NotImplementedError("one column only")
    return lambda a, b: (torch.mv(a, b),), [_csr(x, params), *_put(x["b"][:, 0])], lambda o: {"y": o[0][:, None]}


@candidate("unstructured_sparse", "forward", "eager")
def csr_reduce(x, params):
    """The row-wise kernel made for graph networks."""
    return lambda a, b: (torch.sparse.mm(a, b, "sum"),), [_csr(x, params, torch.int64), *_put(x["b"])], _y


def _bag(b, indices, indptr, values):
    return torch.embedding_bag(b, indices, indptr, False, 0, False, values, True)[0]


@candidate("unstructured_sparse", "forward", *BOTH)
def bag(x, params):
    args = _put(x["b"], x["a_indices"], x["a_indptr"], x["a"])
    return lambda *a: (_bag(*a),), args, _y


@candidate("unstructured_sparse", "forward", "eager")
def bag_long(x, params):
    args = _put(x["b"], x["a_indices"].astype(np.int64), x["a_indptr"].astype(np.int64), x["a"])
    return lambda *a: (_bag(*a),), args, _y


@candidate("unstructured_sparse", "forward", *BOTH)
def gather_reduce(x, params):
    if params["n"] != 1:
        raise NotImplementedError("one column only")
    args = _put(x["b"][:, 0], x["a_indices"], x["a_indptr"].astype(np.int64), x["a"])

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

    return run, _put(x["a"], x["b"], x["target"], *host), lambda o: {"loss": o[0], "a": o[1], "grad_b": o[2]}


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
    return lambda *a: (_bag(*a),), _put(x["b"], columns, indptr, x["a"].ravel()[order]), _y


@candidate("block_sparse", "forward", "eager")
def bsr(x, params):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        a = torch.sparse_bsr_tensor(
            *_put(x["a_indptr"], x["a_indices"], x["a"]), (params["m"], params["k"]), check_invariants=False
        )
    return lambda a, b: (torch.mm(a, b),), [a, *_put(x["b"])], _y


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

    return run, _put(x["b"]), _y


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

    return run, _put(x["a"], x["b"], x["target"], rows, columns), lambda o: {"loss": o[0], "a": o[1], "grad_b": o[2]}


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
    return run, _put(x["a"], x["b"], x["target"], *host_side), lambda o: {"loss": o[0], "a": o[1], "grad_b": o[2]}


# -- capsules ---------------------------------------------------------------------------------------------------------
def _squash(s):
    norm2 = (s * s).sum(1, keepdim=True)
    return s * (norm2 / ((1 + norm2) * torch.sqrt(norm2 + EPSILON)))


def _squash_backward(s, g):
    norm2 = (s * s).sum(1, keepdim=True)
    root, one = torch.sqrt(norm2 + EPSILON), norm2 + 1
    slope = 2 / (one * one * root) - norm2 / (one * root * root * root)
    return g * (norm2 / (one * root)) + s * (slope * (g * s).sum(1, keepdim=True))


def _routing_blocks(x, params, blocks):
    """u as (d, I', B) and W as (J, D, d·I') of every block, and labels (J, 1, B)."""
    j, D = params["out_capsules"], params["out_dim"]
    us = [u.transpose(2, 1, 0) for u in np.array_split(x["u"], blocks, axis=1)]
    ws = [w.transpose(1, 3, 2, 0).reshape(j, D, -1) for w in np.array_split(x["w"], blocks, axis=0)]
    return _put(x["labels"].T[:, None, :]), _put(*us), _put(*ws)


def _routing_named(params):
    j, D, d = (params[name] for name in ("out_capsules", "out_dim", "in_dim"))

    def named(o):
        return {"loss": o[0], "w": np.concatenate([w.reshape(j, D, d, -1).transpose(3, 0, 2, 1) for w in o[1:]])}

    return named


def _routing_step(blocks, compiled):
    """The framework's own differentiation of the folded form."""

    def make(x, params):
        batch, j, d, D, rounds = (params[name] for name in ("batch", "out_capsules", "in_dim", "out_dim", "rounds"))
        labels, us, ws = _routing_blocks(x, params, blocks)

        def loss(ws, us, labels):
            s = sum(w.reshape(j * D, -1) @ u.reshape(-1, batch) for u, w in zip(us, ws, strict=True))
            v = total = _squash(s.view(j, D, batch) / j)
            for _ in range(1, rounds):
                s = 0
                for u, w in zip(us, ws, strict=True):
                    agreement = ((w.transpose(1, 2) @ total).view(j, d, -1, batch) * u).sum(1, keepdim=True)
                    s = s + w @ (torch.softmax(agreement, 0) * u).view(j, -1, batch)
                v = _squash(s)
                total = total + v
            length = torch.sqrt((v * v).sum(1, keepdim=True) + EPSILON)
            short, long = F.relu(PRESENT - length), F.relu(length - ABSENT)
            return (labels * short * short + DOWN * (1 - labels) * long * long).sum() / batch

        def traced(labels, *operands):
            us, ws = operands[:blocks], operands[blocks:]
            grads, value = torch.func.grad_and_value(loss)(ws, us, labels)
            return value, *(w - RATE * g for w, g in zip(ws, grads, strict=True))

        def eager(labels, *operands):
            us, ws = operands[:blocks], operands[blocks:]
            value = loss(ws, us, labels)
            grads = torch.autograd.grad(value, ws)
            with torch.no_grad():
                return value.detach(), *torch._foreach_sub(ws, grads, alpha=RATE)

        if not compiled:
            ws = [w.requires_grad_() for w in ws]
        return traced if compiled else eager, [*labels, *us, *ws], _routing_named(params)

    return make


def _routing_step_written(blocks):
    """Backward written out, in place where it can be; the update is in the last product of each block."""

    def make(x, params):
        batch, j, d, D, rounds = (params[name] for name in ("batch", "out_capsules", "in_dim", "out_dim", "rounds"))
        labels, us, ws = _routing_blocks(x, params, blocks)

        def run(labels, *operands):
            us, ws = operands[:blocks], operands[blocks:]
            backs = [w.transpose(1, 2) for w in ws]
            s = torch.mm(ws[0].view(j * D, -1), us[0].view(-1, batch))
            for u, w in zip(us[1:], ws[1:], strict=True):
                s.addmm_(w.view(j * D, -1), u.view(-1, batch))
            sums = [s.div_(j).view(j, D, batch)]
            v = _squash(sums[0])
            totals, couplings = [], []
            for _ in range(1, rounds):
                totals.append(totals[-1] + v if totals else v)
                couplings.append([])
                s = torch.zeros(j, D, batch)
                for u, w, back in zip(us, ws, backs, strict=True):
                    pulled = torch.bmm(back, totals[-1]).view(j, d, -1, batch)
                    c = torch.softmax(pulled.mul_(u).sum(1, keepdim=True), 0)
                    couplings[-1].append(c)
                    s.baddbmm_(w, (c * u).view(j, -1, batch))
                sums.append(s)
                v = _squash(s)
            length = torch.sqrt((v * v).sum(1, keepdim=True) + EPSILON)
            short, long = F.relu(PRESENT - length), F.relu(length - ABSENT)
            absent = DOWN * (1 - labels)
            loss = (labels * short * short + absent * long * long).sum() / batch
            d_v = v * ((absent * long - labels * short) * (2 / batch) / length)
            updated, reached = list(ws), torch.zeros(j, D, batch)
            for r in reversed(range(1, rounds)):
                d_s, total = _squash_backward(sums[r], d_v), totals[r - 1]
                for k, (u, w, back) in enumerate(zip(us, ws, backs, strict=True)):
                    c = couplings[r - 1][k]
                    pulled = torch.bmm(back, d_s).view(j, d, -1, batch)
                    logits = pulled.mul_(u).sum(1, keepdim=True).mul_(c)
                    logits.sub_(c * logits.sum(0, keepdim=True))
                    fold = (logits * u).view(j, -1, batch)
                    reached.baddbmm_(w, fold)
                    updated[k] = torch.baddbmm(updated[k], total, fold.transpose(1, 2), alpha=-RATE)
                    fold = (c * u).view(j, -1, batch)
                    updated[k].baddbmm_(d_s, fold.transpose(1, 2), alpha=-RATE)
                d_v = reached
            d_s = _squash_backward(sums[0], d_v).view(j * D, batch)
            for u, w in zip(us, updated, strict=True):
                w.view(j * D, -1).addmm_(d_s, u.view(-1, batch).T, alpha=-RATE / j)
            return loss, *updated

        return run, [*labels, *us, *ws], _routing_named(params)

    return make


for _blocks in (1, 8):
    for _compiled in (False, True):
        _full = f"routing_step_{_blocks}_{'traced' if _compiled else 'tape'}"
        CANDIDATES.setdefault(("capsule_routing", "train_step"), {})[_full] = _routing_step(_blocks, _compiled)
        ONLY[_full] = ("compiled",) if _compiled else ("eager",)
for _blocks in (1, 4, 8, 16):
    CANDIDATES["capsule_routing", "train_step"][f"routing_step_{_blocks}_written"] = _routing_step_written(_blocks)
    ONLY[f"routing_step_{_blocks}_written"] = ("eager",)


# -- convolutions -----------------------------------------------------------------------------------------------------
def _convolution(x, w, params, packed, named):
    images, filters = _put(x.transpose(0, 3, 1, 2), w.transpose(3, 2, 0, 1))
    images, filters = images.to(memory_format=LAST), filters.to(memory_format=LAST)
    stride, padding = params["stride"], params["padding"]
    if not packed:
        return lambda x, w: (F.conv2d(x, w, None, stride, padding),), [images, filters], named
    s, p = [stride, stride], [padding, padding]
    w = torch.ops.mkldnn._reorder_convolution_weight(filters, p, s, [1, 1], 1, list(images.shape))
    run = torch.ops.mkldnn._convolution_pointwise
    return lambda x: (run(x, w, None, p, s, [1, 1], 1, "none", [], ""),), [images], named


def _maps(o):
    return {"y": o[0].transpose(0, 2, 3, 1)}


def _poses(o):
    n, c, side, _ = o[0].shape
    return {"v": o[0].transpose(0, 2, 3, 1).reshape(n // 4, 4, side, side, c // 4, 4).transpose(0, 2, 3, 4, 1, 5)}


def _folded(x):
    n, height, _, c, _, _ = x["poses"].shape
    k, _, ci, co, _, _ = x["w"].shape
    images = x["poses"].transpose(0, 4, 1, 2, 3, 5).reshape(4 * n, height, height, c * 4)
    return images, x["w"].transpose(0, 1, 2, 4, 3, 5).reshape(k, k, ci * 4, co * 4)


@candidate("dense_conv", "forward", *BOTH)
def convolution(x, params):
    return _convolution(x["x"], x["w"], params, False, _maps)


@candidate("dense_conv", "forward", "eager")
def convolution_packed(x, params):
    """oneDNN's, its filters in the layout that it likes best beforehand."""
    return _convolution(x["x"], x["w"], params, True, _maps)


@candidate("dense_conv", "forward", "eager")
def convolution_strided_rows(x, params):
    """k·ci neighbouring values of a row are contiguous: k products of strided views, added up in place."""
    n, side, _, ci = x["x"].shape
    k, stride = params["kernel"], params["stride"]
    if params["padding"]:
        raise NotImplementedError("no padding")
    oh, co = (side - k) // stride + 1, params["out_channels"]
    images, w = _put(x["x"], x["w"].reshape(k, k * ci, co))

    def run(images, w):
        y = torch.empty(n * oh * oh, co)
        for row in range(k):
            view = images.as_strided(
                (n, oh, oh, k * ci), (side * side * ci, stride * side * ci, stride * ci, 1), row * side * ci
            ).reshape(n * oh * oh, k * ci)
            torch.addmm(y, view, w[row], beta=0 if row == 0 else 1, out=y)
        return (y.view(n, oh, oh, co),)

    return run, [images, w], _y


@candidate("capsule_conv", "forward", *BOTH)
def folded(x, params):
    return _convolution(*_folded(x), params, False, _poses)


@candidate("capsule_conv", "forward", "eager")
def folded_packed(x, params):
    return _convolution(*_folded(x), params, True, _poses)


# -- networks ---------------------------------------------------------------------------------------------------------
MAPS = (0, 1, 0, 1, 1, 1)  # VGG8b: 1 where a max-pool stands behind the convolution


def _cnn_operands(x, params, last=True):
    side = params["side"] // 2 ** sum(MAPS)
    first = x["w6"]
    linear = first.reshape(side, side, -1, first.shape[1]).transpose(3, 2, 0, 1)
    filters = _put(*(x[f"w{i}"].transpose(3, 2, 0, 1) for i in range(6)))
    images, target, hidden, head = _put(
        x["x"].transpose(0, 3, 1, 2),
        x.get("target", np.zeros(1, np.float32)),
        linear.reshape(first.shape[1], -1),
        x["w7"].T,
    )
    if last:
        images, filters = images.to(memory_format=LAST), [f.to(memory_format=LAST) for f in filters]
    return images, target, [*filters, hidden, head]


def _cnn_named(x, params):
    side, shape = params["side"] // 2 ** sum(MAPS), x["w6"].shape

    def named(o):
        conv, hidden, head = o[1:7], o[7], o[8]
        out = {f"w{i}": w.transpose(2, 3, 1, 0) for i, w in enumerate(conv)}
        hidden = hidden.reshape(hidden.shape[0], -1, side, side).transpose(2, 3, 1, 0).reshape(shape)
        return {"loss": o[0], **out, "w6": hidden, "w7": head.T}

    return named


def _cnn(h, weights, pool_first=True):
    for w, pool in zip(weights, MAPS, strict=False):
        h = F.conv2d(h, w, padding=1)
        if pool_first:  # a maximum of relus is the relu of the maximum, a quarter of the values
            h = F.relu(F.max_pool2d(h, 2) if pool else h)
        else:
            h = F.max_pool2d(F.relu(h), 2) if pool else F.relu(h)
    return F.linear(F.relu(F.linear(h.flatten(1), weights[-2])), weights[-1])


def _cnn_forward(pool_first, last):
    def make(x, params):
        images, _, weights = _cnn_operands(x, params, last)
        return lambda h, *w: (_cnn(h, w, pool_first),), [images, *weights], lambda o: {"logits": o[0]}

    return make


for _name, _args in {"cnn": (False, True), "cnn_pool_first": (True, True), "cnn_nchw": (True, False)}.items():
    CANDIDATES.setdefault(("dense_cnn", "forward"), {})[_name] = _cnn_forward(*_args)
    ONLY[_name] = BOTH


@candidate("dense_cnn", "forward", "eager")
def cnn_packed(x, params):
    """Filters packed by oneDNN beforehand, relu in the convolution."""
    images, _, weights = _cnn_operands(x, params)
    run, ones, packed, shape = torch.ops.mkldnn._convolution_pointwise, [1, 1], [], list(images.shape)
    for w, pool in zip(weights, MAPS, strict=False):
        packed.append(torch.ops.mkldnn._reorder_convolution_weight(w, ones, ones, ones, 1, shape))
        shape = [shape[0], w.shape[0], *(s // (2 if pool else 1) for s in shape[2:])]

    def forward(h):
        for w, pool in zip(packed, MAPS, strict=True):
            h = run(h, w, None, ones, ones, ones, 1, "relu", [], "")
            h = F.max_pool2d(h, 2) if pool else h
        return (F.linear(F.relu(F.linear(h.flatten(1), weights[-2])), weights[-1]),)

    return forward, [images], lambda o: {"logits": o[0]}


def _cnn_step(pool_first, last, compiled):
    def make(x, params):
        images, target, weights = _cnn_operands(x, params, last)

        def loss(weights, h, target):
            return F.cross_entropy(_cnn(h, weights, pool_first), target)

        def traced(h, target, *weights):
            grads, value = torch.func.grad_and_value(loss)(weights, h, target)
            return value, *(w - RATE * g for w, g in zip(weights, grads, strict=True))

        def eager(h, target, *weights):
            value = loss(weights, h, target)
            grads = torch.autograd.grad(value, weights)
            with torch.no_grad():
                return value.detach(), *torch._foreach_sub(weights, grads, alpha=RATE)

        if not compiled:
            weights = [w.requires_grad_() for w in weights]
        return traced if compiled else eager, [images, target, *weights], _cnn_named(x, params)

    return make


for _name, _pool_first, _last in (
    ("cnn_step", False, True),
    ("cnn_step_pool_first", True, True),
    ("cnn_step_nchw_pool_first", True, False),
):
    for _compiled in (False, True):
        _full = f"{_name}_{'traced' if _compiled else 'tape'}"
        CANDIDATES.setdefault(("dense_cnn", "train_step"), {})[_full] = _cnn_step(_pool_first, _last, _compiled)
        ONLY[_full] = ("compiled",) if _compiled else ("eager",)


def _mlp_put(x, names):
    return _put(*(x[name].T for name in names))


def _count(x, prefix):
    return sum(name.startswith(prefix) and name[1:].isdigit() for name in x)


@candidate("dense_mlp", "train_step", "eager")
def mlp_addmm(x, params):
    """Backward written out; each update is one product that adds to the weights. Weights (out, in)."""
    names = [f"w{i}" for i in range(_count(x, "w"))]

    def run(h, target, *weights):
        read = [h]
        for w in weights[:-1]:
            read.append(torch.relu_(torch.mm(read[-1], w.T)))
        z = torch.mm(read[-1], weights[-1].T)
        log_p = torch.log_softmax(z, 1)
        loss = (target * log_p).sum() * (-1.0 / len(h))
        d = (log_p.exp_() - target).mul_(1.0 / len(h))
        updated = []
        for i in reversed(range(len(weights))):
            updated.append(torch.addmm(weights[i], d.T, read[i], alpha=-RATE))
            if i:
                d = torch.ops.aten.threshold_backward(torch.mm(d, weights[i]), read[i], 0)
        return loss, *reversed(updated)

    named = lambda o: {"loss": o[0], **{name: w.T for name, w in zip(names, o[1:], strict=True)}}  # noqa: E731
    return run, [*_put(x["x"], x["target"]), *_mlp_put(x, names)], named


@candidate("dense_mlp", "train_step", "eager")
def mlp_addmm_rows(x, params):
    """The same with weights (in, out)."""
    names = [f"w{i}" for i in range(_count(x, "w"))]

    def run(h, target, *weights):
        read = [h]
        for w in weights[:-1]:
            read.append(torch.relu_(torch.mm(read[-1], w)))
        log_p = torch.log_softmax(torch.mm(read[-1], weights[-1]), 1)
        loss = (target * log_p).sum() * (-1.0 / len(h))
        d = (log_p.exp_() - target).mul_(1.0 / len(h))
        updated = []
        for i in reversed(range(len(weights))):
            updated.append(torch.addmm(weights[i], read[i].T, d, alpha=-RATE))
            if i:
                d = torch.ops.aten.threshold_backward(torch.mm(d, weights[i].T), read[i], 0)
        return loss, *reversed(updated)

    named = lambda o: {"loss": o[0], **dict(zip(names, o[1:], strict=True))}  # noqa: E731
    return run, _put(x["x"], x["target"], *(x[name] for name in names)), named


@candidate("local_update", "train_step", "eager")
def local_addmm(x, params):
    if params["network"] != "mlp":
        raise NotImplementedError("the MLP only")
    count = _count(x, "q")
    names = [f"{p}{i}" for p in "wq" for i in range(count)]

    def run(h, target, *parameters):
        losses, updated_w, updated_q = [], [], []
        for w, q in zip(parameters[:count], parameters[count:], strict=True):
            y = torch.relu_(torch.mm(h, w.T))
            log_p = torch.log_softmax(torch.mm(y, q.T), 1)
            losses.append((target * log_p).sum() * (-1.0 / len(h)))
            d = (log_p.exp_() - target).mul_(1.0 / len(h))
            updated_q.append(torch.addmm(q, d.T, y, alpha=-RATE))
            d = torch.ops.aten.threshold_backward(torch.mm(d, q), y, 0)
            updated_w.append(torch.addmm(w, d.T, h, alpha=-RATE))
            h = y
        return *losses, *updated_w, *updated_q

    def named(o):
        losses = {f"loss{i}": v for i, v in enumerate(o[:count])}
        return losses | {name: w.T for name, w in zip(names, o[count:], strict=True)}

    return run, [*_put(x["x"], x["target"]), *_mlp_put(x, names)], named


def _local_cnn(way):
    """Layer by layer, channels last; a classifier reads the average-pooled map in the order in which it lies."""

    def make(x, params):
        if params["network"] == "mlp":
            raise NotImplementedError("the CNN only")
        count = _count(x, "q")
        filters = [f.to(memory_format=LAST) for f in _put(*(x[f"w{i}"].transpose(3, 2, 0, 1) for i in range(6)))]
        images = _put(x["x"].transpose(0, 3, 1, 2))[0].to(memory_format=LAST)
        windows, height = [], params["side"]
        for i, pool in enumerate(MAPS):
            area = height * height * filters[i].shape[0] // len(x[f"q{i}"])
            columns = math.isqrt(area if math.isqrt(area) ** 2 == area else area // 2)  # b×b or 2b×b
            windows.append((area // columns, columns))
            height //= 2 if pool else 1
        weights = [*filters, *_put(x["w6"])]
        classifiers = _put(*(x[f"q{i}"] for i in range(count)))

        def layer(w, q, h, target, i):
            """(loss, y)"""
            if i == len(MAPS):
                y = F.relu(h @ w)
                return F.cross_entropy(y @ q, target), y
            y = F.relu(F.conv2d(h, w, padding=1))
            seen = F.avg_pool2d(y, windows[i]) if windows[i] != (1, 1) else y
            return F.cross_entropy(seen.permute(0, 2, 3, 1).flatten(1) @ q, target), y

        def read(y, i):
            if i == len(MAPS):
                return y
            y = F.max_pool2d(y, 2) if MAPS[i] else y
            return y.permute(0, 2, 3, 1).flatten(1) if i + 1 == len(MAPS) else y

        def tape(h, target, *parameters):
            losses, new_w, new_q = [], [], []
            for i, (w, q) in enumerate(zip(parameters[:count], parameters[count:], strict=True)):
                loss, y = layer(w, q, h, target, i)
                grads = torch.autograd.grad(loss, (w, q))
                with torch.no_grad():
                    updated = torch._foreach_sub((w, q), grads, alpha=RATE)
                    h = read(y.detach(), i)
                losses.append(loss.detach())
                new_w.append(updated[0])
                new_q.append(updated[1])
            return *losses, *new_w, *new_q

        def traced(h, target, *parameters):
            losses, new_w, new_q = [], [], []
            for i, (w, q) in enumerate(zip(parameters[:count], parameters[count:], strict=True)):
                step = torch.func.grad_and_value(layer, argnums=(0, 1), has_aux=True)
                (d_w, d_q), (loss, y) = step(w, q, h, target, i)
                h = read(y, i)
                losses.append(loss)
                new_w.append(w - RATE * d_w)
                new_q.append(q - RATE * d_q)
            return *losses, *new_w, *new_q

        def written(h, target, *parameters):
            n, losses, new_w, new_q = len(target), [], [], []
            for i, (w, q) in enumerate(zip(parameters[:count], parameters[count:], strict=True)):
                conv = i < len(MAPS)
                y = torch.relu_(F.conv2d(h, w, padding=1) if conv else torch.mm(h, w))
                pooled = conv and windows[i] != (1, 1)
                seen = F.avg_pool2d(y, windows[i]) if pooled else y
                flat = seen.permute(0, 2, 3, 1).reshape(n, -1) if conv else seen
                log_p = torch.log_softmax(torch.mm(flat, q), 1)
                losses.append((target * log_p).sum() * (-1.0 / n))
                d = log_p.exp_().sub_(target).div_(n)
                new_q.append(torch.addmm(q, flat.T, d, alpha=-RATE))
                d = torch.mm(d, q.T)
                if conv:
                    d = d.view(n, seen.shape[2], seen.shape[3], -1).permute(0, 3, 1, 2)
                if pooled:
                    rows, columns = windows[i]
                    d = torch.ops.aten.avg_pool2d_backward(d, y, [rows, columns], [], [0, 0], False, True, None)
                d = torch.ops.aten.threshold_backward(d, y, 0)
                if conv:
                    mask = [False, True, False]
                    d_w = torch.ops.aten.convolution_backward(
                        d, h, w, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, mask
                    )[1]
                    new_w.append(torch.sub(w, d_w, alpha=RATE))
                else:
                    new_w.append(torch.addmm(w, h.T, d, alpha=-RATE))
                h = read(y, i)
            return *losses, *new_w, *new_q

        if way == "tape":
            weights = [w.requires_grad_() for w in weights]
            classifiers = [q.requires_grad_() for q in classifiers]

        def named(o):
            out = {f"loss{i}": v for i, v in enumerate(o[:count])}
            out |= {f"w{i}": w.transpose(2, 3, 1, 0) for i, w in enumerate(o[count : count + len(MAPS)])}
            out |= {"w6": o[count + len(MAPS)]}
            return out | {f"q{i}": q for i, q in enumerate(o[2 * count :])}

        target = _put(x["target"])
        return (
            {"tape": tape, "traced": traced, "written": written}[way],
            [images, *target, *weights, *classifiers],
            named,
        )

    return make


for _way, _executions in {"tape": ("eager",), "traced": ("compiled",), "written": BOTH}.items():
    CANDIDATES["local_update", "train_step"][f"local_cnn_{_way}"] = _local_cnn(_way)
    ONLY[f"local_cnn_{_way}"] = _executions
