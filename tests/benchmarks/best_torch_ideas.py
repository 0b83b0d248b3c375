"""PyTorch's candidates of `bench_best`: blocks, products of few bits and of structure, tables, trees and attention."""

from __future__ import annotations

import numpy as np
import torch
from _candidates import multiplied_out, with_zeros
from _torch_by_hand import BOTH, PRODUCTS, candidate, executions, first, put
from torch.nn import functional as F  # noqa: N812

_packed = torch.ops.mkldnn._linear_pointwise


# -- blocks of two layers, and more of them ---------------------------------------------------------------------------
def _block(product, turned):
    def make(x, params):
        weights = put(*(x[name].T if turned else x[name] for name in ("w1", "w2")))

        def run(x, w1, w2):
            return (product(torch.relu_(product(x, w1.T if turned else w1)), w2.T if turned else w2),)

        return run, [*put(x["x"]), *weights], first

    return make


def block_packed(x, params):
    """oneDNN's products of weights packed beforehand, the relu within the first."""
    rows, h = put(x["x"])[0], x["w1"].shape[1]
    w1, w2 = (torch.ops.mkldnn._reorder_linear_weight(w, len(rows)) for w in put(x["w1"].T, x["w2"].T))
    zeros = torch.zeros(h)
    return lambda x: (_packed(_packed(x, w1, zeros, "relu", [], ""), w2, None, "none", [], ""),), [rows], first


for _workload in ("structured_pruned", "dense_block"):
    candidate.add(_workload, "forward", "block_packed", block_packed, "eager")
    for _ending, _by in PRODUCTS.items():
        candidate.add(_workload, "forward", f"block{_ending}", _block(_by, False), *executions(_by))
        candidate.add(_workload, "forward", f"block_turned{_ending}", _block(_by, True), *executions(_by))


def _layers(product, turned):
    def make(x, params):
        names = [f"w{i}" for i in range(params["layers"] + 1)]
        weights = put(*(x[name].T if turned else x[name] for name in names))

        def run(h, *weights):
            for w in weights[:-1]:
                h = torch.relu_(product(h, w.T if turned else w))
            return (product(h, weights[-1].T if turned else weights[-1]),)

        return run, [*put(x["x"]), *weights], lambda o: {"logits": o[0]}

    return make


for _ending, _by in PRODUCTS.items():
    candidate.add("dense_mlp", "forward", f"layers{_ending}", _layers(_by, False), *executions(_by))
    candidate.add("dense_mlp", "forward", f"layers_turned{_ending}", _layers(_by, True), *executions(_by))


@candidate("dense_mlp", "forward", "eager")
def layers_packed(x, params):
    count = params["layers"] + 1
    rows = put(x["x"])[0]
    packed = [torch.ops.mkldnn._reorder_linear_weight(put(x[f"w{i}"].T)[0], len(rows)) for i in range(count)]
    zeros = [torch.zeros(x[f"w{i}"].shape[1]) for i in range(count)]

    def run(h):
        for w, none in zip(packed[:-1], zeros, strict=False):
            h = _packed(h, w, none, "relu", [], "")
        return (_packed(h, packed[-1], None, "none", [], ""),)

    return run, [rows], lambda o: {"logits": o[0]}


# -- 2:4 and structure ------------------------------------------------------------------------------------------------
candidate.borrow("nm_sparse", "unstructured_sparse")
candidate.borrow("nm_sparse", "dense_matmul", with_zeros)
candidate.borrow("kaleidoscope", "dense_matmul", multiplied_out)


def _two_factors(multiply):
    def make(x, params):
        if len(x["w"]) != 2:
            raise NotImplementedError("two factors only")
        m, n, side = params["m"], params["n"], params["block"]
        shape = (m // side, side, n)

        def run(x, w0, w1):
            y = multiply(w0, x.view(shape)).transpose(0, 1)
            return (multiply(w1, y).transpose(0, 1).reshape(m, n),)

        return run, put(x["x"], x["w"][0], x["w"][1]), first

    return make


candidate.add("kaleidoscope", "forward", "factors", _two_factors(torch.bmm), *BOTH)
candidate.add("kaleidoscope", "forward", "factors_onto", _two_factors(torch.matmul), "eager")


@candidate("kaleidoscope", "forward", "eager")
def factors_in_place(x, params):
    """The second product writes where its shuffled rows belong."""
    if len(x["w"]) != 2:
        raise NotImplementedError("two factors only")
    m, n, side = params["m"], params["n"], params["block"]

    def run(x, w0, w1):
        y = torch.bmm(w0, x.view(m // side, side, n)).transpose(0, 1)
        out = torch.empty(side, m // side, n)
        for g in range(m // side):
            torch.mm(w1[g], y[g], out=out[:, g])
        return (out.view(m, n),)

    return run, put(x["x"], x["w"][0], x["w"][1]), first


# -- eight bits -------------------------------------------------------------------------------------------------------
def _weights(x):
    """W (m, k) as int8 and its scales (m,), as the workload lays them down."""
    scales = (np.abs(x["w"].astype(np.float64)).max(1) / 127).astype(np.float32)
    return np.rint(x["w"] / scales[:, None].astype(np.float64)).astype(np.int8), scales


def _on_grid(x):
    largest = torch.linalg.vector_norm(x, float("inf"), dim=1, keepdim=True)
    return torch.round(x * (127.0 / largest)).to(torch.int8), largest * (1 / 127.0)


@candidate("quantized_matmul", "forward", *BOTH)
def int8(x, params):
    q, scales = _weights(x)

    def run(x, q, scales):
        x8, rows = _on_grid(x)
        return (torch._int_mm(x8, q) * rows * scales,)

    return run, put(x["x"], q.T, scales), first


@candidate("quantized_matmul", "forward", *BOTH)
def int8_turned(x, params):
    q, scales = _weights(x)

    def run(x, q, scales):
        x8, rows = _on_grid(x)
        return (torch._int_mm(x8, q.T) * rows * scales,)

    return run, put(x["x"], q, scales), first


@candidate("quantized_matmul", "forward", "eager")
def int8_packed(x, params):
    """oneDNN's, which scales by column within; its weights are packed for unsigned values, so 0 stands at 128."""
    q, scales = put(*_weights(x))
    packed = torch.ops.onednn.qlinear_prepack(q, list(x["x"].shape))
    zeros = torch.zeros(len(q), dtype=torch.int32)

    def run(x):
        largest = torch.linalg.vector_norm(x, float("inf"), dim=1, keepdim=True)
        x8, rows = torch.round(x * (127.0 / largest)).add_(128).to(torch.uint8), largest * (1 / 127.0)
        y = torch.ops.onednn.qlinear_pointwise(
            x8, 1.0, 128, packed, scales, zeros, None, 1.0, 0, torch.float32, "none", [], ""
        )
        return (y.mul_(rows),)

    return run, put(x["x"]), first


# -- tables and trees -------------------------------------------------------------------------------------------------
def _encoder(x, params):
    """The compared columns (4C,) level by level, thresholds (15, C), and where each book's rows begin (C,)."""
    begins = np.arange(params["books"], dtype=np.int32) * 16
    return put(x["columns"].T.reshape(-1).astype(np.int64), x["thresholds"].T, begins)


def _codes(x, columns, thresholds):
    """(n, C) int32, a level at a time."""
    values = torch.index_select(x, 1, columns).view(len(x), 4, -1)
    code, bits = 0, []
    for level in range(4):
        nodes = [thresholds[i] for i in range(2**level - 1, 2 ** (level + 1) - 1)]
        for bit in reversed(bits):
            nodes = [torch.where(bit, b, a) for a, b in zip(nodes[::2], nodes[1::2], strict=True)]
        bits.append(values[:, level] > nodes[0])
        code = code * 2 + bits[-1].to(torch.int32)
    return code


@candidate("table_product", "forward", *BOTH)
def table_bag(x, params):
    """An embedding bag sums the rows that a row of X is coded as."""

    def run(x, table, columns, thresholds, begins):
        return (F.embedding_bag(_codes(x, columns, thresholds) + begins, table, mode="sum"),)

    return run, [*put(x["x"], x["tables"].reshape(-1, params["m"])), *_encoder(x, params)], first


def _table_one_hot(product):
    def make(x, params):
        def run(x, table, columns, thresholds, numbers):
            hot = _codes(x, columns, thresholds).unsqueeze(2) == numbers
            return (product(hot.view(len(x), -1).to(torch.float32), table),)

        encoder = _encoder(x, params)[:2]
        return (
            run,
            [
                *put(x["x"], x["tables"].reshape(-1, params["m"])),
                *encoder,
                torch.arange(16, dtype=torch.int32),
            ],
            first,
        )

    return make


for _ending, _by in PRODUCTS.items():
    candidate.add("table_product", "forward", f"table_one_hot{_ending}", _table_one_hot(_by), *executions(_by))


@candidate("decision_forest", "forward", *BOTH)
def walk(x, params):
    """Hummingbird's walk, the leaves summed by an embedding bag."""
    depth, trees = params["depth"], params["trees"]
    nodes = 2**depth - 1
    begins, ends = np.arange(trees) * nodes, np.arange(trees) * (nodes + 1) - nodes

    def run(x, pixels, thresholds, table, begins, ends):
        at = begins.expand(len(x), trees)
        for _ in range(depth):
            right = torch.gather(x, 1, pixels[at]) > thresholds[at]
            at = 2 * at + 1 + right - begins
        return (F.embedding_bag(at - begins + ends, table, mode="sum"),)

    host = (x["pixels"].reshape(-1).astype(np.int64), x["thresholds"].reshape(-1), x["leaves"].reshape(-1, 10))
    return run, put(x["x"], *host, begins, ends), first


@candidate("decision_forest", "forward", *BOTH)
def compare_bag(x, params):
    """All nodes compared, the way chosen among the answers, the leaves summed by an embedding bag."""
    depth, trees = params["depth"], params["trees"]
    begins = np.arange(trees, dtype=np.int32) * 2**depth

    def run(x, pixels, thresholds, table, begins):
        right = torch.index_select(x, 1, pixels).view(len(x), -1, trees) > thresholds
        leaf, bits = 0, []
        for level in range(depth):
            found = right[:, 2**level - 1 : 2 ** (level + 1) - 1]
            for bit in reversed(bits):
                found = torch.where(bit.unsqueeze(1), found[:, 1::2], found[:, ::2])
            bits.append(found[:, 0])
            leaf = leaf * 2 + bits[-1].to(torch.int32)
        return (F.embedding_bag(leaf + begins, table, mode="sum"),)

    host = (x["pixels"].T.reshape(-1).astype(np.int64), x["thresholds"].T, x["leaves"].reshape(-1, 10))
    return run, put(x["x"], *host, begins), first


# -- attention --------------------------------------------------------------------------------------------------------
@candidate("causal_attention", "forward", *BOTH)
def attention(x, params):
    return (
        lambda q, k, v: (F.scaled_dot_product_attention(q, k, v, is_causal=True),),
        put(x["q"], x["k"], x["v"]),
        first,
    )


@candidate("causal_attention", "forward", *BOTH)
def attention_by_products(x, params):
    late = torch.full((params["steps"],) * 2, float("-inf")).triu_(1)

    def run(q, k, v, late):
        scores = torch.baddbmm(late, q.flatten(0, 1), k.flatten(0, 1).mT, alpha=params["head"] ** -0.5)
        return (torch.bmm(torch.softmax(scores, 2), v.flatten(0, 1)).view_as(q),)

    return run, [*put(x["q"], x["k"], x["v"]), late], first
