"""JAX's candidates of `bench_best`: blocks, products of few bits and of structure, tables, trees and attention."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from _candidates import multiplied_out, with_zeros
from _jax_by_hand import PRODUCT, candidate, first, put
from jax import lax

COMPILED = ("jit", "off", "dot")


# -- blocks of two layers, and more of them ---------------------------------------------------------------------------
def _times(x, w, turned):
    return lax.dot_general(x, w, (((1,), (1 if turned else 0,)), ((), ())))


def _layers(names, output, turned):
    def make(x, params):
        weights = put(*(x[name].T if turned else x[name] for name in names(params)))

        def run(h, *weights):
            for w in weights[:-1]:
                h = jax.nn.relu(_times(h, w, turned))
            return (_times(h, weights[-1], turned),)

        return run, [*put(x["x"]), *weights], lambda o: {output: o[0]}

    return make


def _columns(names, output):
    """Activities (units, batch), weights (out, in)."""

    def make(x, params):
        def run(h, *weights):
            for w in weights[:-1]:
                h = jax.nn.relu(w @ h)
            return (weights[-1] @ h,)

        return run, put(x["x"].T, *(x[name].T for name in names(params))), lambda o: {output: o[0].T}

    return make


for _workload, _names, _output in (
    ("structured_pruned", lambda params: ("w1", "w2"), "y"),
    ("dense_block", lambda params: ("w1", "w2"), "y"),
    ("dense_mlp", lambda params: [f"w{i}" for i in range(params["layers"] + 1)], "logits"),
):
    candidate.add(_workload, "forward", "layers", _layers(_names, _output, False), *PRODUCT)
    candidate.add(_workload, "forward", "layers_turned", _layers(_names, _output, True), *PRODUCT)
    candidate.add(_workload, "forward", "layers_of_columns", _columns(_names, _output), *PRODUCT)


# -- 2:4 and structure ------------------------------------------------------------------------------------------------
candidate.borrow("nm_sparse", "unstructured_sparse")
candidate.borrow("nm_sparse", "dense_matmul", with_zeros)
candidate.borrow("kaleidoscope", "dense_matmul", multiplied_out)


@candidate("kaleidoscope", "forward", *COMPILED)
def factors(x, params):
    m, n, side = params["m"], params["n"], params["block"]

    def run(x, *w):
        for factor in w:
            x = lax.dot_general(factor, x.reshape(m // side, side, n), (((2,), (1,)), ((0,), (0,)))).transpose(1, 0, 2)
        return (x.reshape(m, n),)

    return run, put(x["x"], *x["w"]), first


@candidate("kaleidoscope", "forward", *COMPILED)
def factors_of_rows(x, params):
    """Xᵀ (n, m): every factor reads and gives rows of the batch."""
    m, n, side = params["m"], params["n"], params["block"]

    def run(x, *w):
        for factor in w:
            y = lax.dot_general(x.reshape(n, m // side, side), factor, (((2,), (1,)), ((1,), (0,))))  # (g, n, b)
            x = y.transpose(1, 2, 0)
        return (x.reshape(n, m),)

    return run, put(x["x"].T, *(f.transpose(0, 2, 1) for f in x["w"])), lambda o: {"y": o[0].T}


@candidate("kaleidoscope", "forward", *COMPILED)
def factors_one_by_one(x, params):
    """A product a block, written out."""
    m, n, side = params["m"], params["n"], params["block"]

    def run(x, *w):
        for factor in w:
            rows = x.reshape(m // side, side, n)
            x = jnp.stack([factor[g] @ rows[g] for g in range(m // side)], 1)
        return (x.reshape(m, n),)

    return run, put(x["x"], *x["w"]), first


# -- eight bits -------------------------------------------------------------------------------------------------------
def _weights(x):
    scales = (np.abs(x["w"].astype(np.float64)).max(1) / 127).astype(np.float32)
    return np.rint(x["w"] / scales[:, None].astype(np.float64)).astype(np.int8), scales


def _int8(kind, turned):
    """int8 as it is, or both converted to `kind` in the step; W (m, k), or (k, m)."""

    def make(x, params):
        q, scales = _weights(x)

        def run(x, q, scales):
            largest = jnp.max(jnp.abs(x), 1, keepdims=True)
            x8 = jnp.round(x * (127.0 / largest)).astype(kind)
            dims = (((1,), (1 if turned else 0,)), ((), ()))
            wide = "int32" if kind == "int8" else "float32"
            y = lax.dot_general(x8, q.astype(kind), dims, preferred_element_type=wide)
            return (y.astype("float32") * (largest * (1 / 127.0)) * scales,)

        return run, put(x["x"], q if turned else q.T, scales), first

    return make


for _kind in ("int8", "bfloat16", "float32"):
    for _turned in (False, True):
        candidate.add(
            "quantized_matmul", "forward", f"{_kind}{'_turned' * _turned}", _int8(_kind, _turned), *COMPILED, "onednn"
        )


# -- tables and trees -------------------------------------------------------------------------------------------------
def _codes(x, columns, thresholds):
    """(n, C) int32, a level at a time; thresholds (15, C)."""
    values = x[:, columns].reshape(len(x), 4, -1)
    code, bits = 0, []
    for level in range(4):
        nodes = [thresholds[i] for i in range(2**level - 1, 2 ** (level + 1) - 1)]
        for bit in reversed(bits):
            nodes = [jnp.where(bit, b, a) for a, b in zip(nodes[::2], nodes[1::2], strict=True)]
        bits.append(values[:, level] > nodes[0])
        code = code * 2 + bits[-1].astype(jnp.int32)
    return code


def _table(way):
    def make(x, params):
        n, books, m = params["n"], params["books"], params["m"]

        def run(x, tables, columns, thresholds):
            codes = _codes(x, columns, thresholds)
            if way == "hot":
                hot = (codes[:, :, None] == jnp.arange(16)).astype(x.dtype)
                return (hot.reshape(n, -1) @ tables.reshape(-1, m),)
            if way == "rows":  # a row of X at a time, whose C rows of the tables stay in the first cache
                flat = tables.reshape(-1, m)
                return (lax.map(lambda code: jnp.sum(flat[code + jnp.arange(books) * 16], 0), codes),)
            return (lax.fori_loop(0, books, lambda i, y: y + tables[i][codes[:, i]], jnp.zeros((n, m), x.dtype)),)

        return run, put(x["x"], x["tables"], x["columns"].T.reshape(-1), x["thresholds"].T), first

    return make


for _way in ("hot", "rows", "books"):
    candidate.add("table_product", "forward", f"table_{_way}", _table(_way), *COMPILED)


@candidate("decision_forest", "forward", *COMPILED)
def walk(x, params):
    """Hummingbird's walk."""
    depth, trees = params["depth"], params["trees"]
    nodes = 2**depth - 1
    begins, ends = np.arange(trees, dtype=np.int32) * nodes, np.arange(trees, dtype=np.int32) * (nodes + 1)

    def run(x, pixels, thresholds, table):
        node = jnp.zeros((len(x), trees), jnp.int32)
        for _ in range(depth):
            at = node + begins
            right = jnp.take_along_axis(x, pixels[at], 1) > thresholds[at]
            node = 2 * node + 1 + right
        return (jnp.sum(table[node - nodes + ends], 1),)

    return run, put(x["x"], x["pixels"].reshape(-1), x["thresholds"].reshape(-1), x["leaves"].reshape(-1, 10)), first


def _compared(way):
    """All nodes compared; leaves summed from a gather, or by a product with ones."""

    def make(x, params):
        depth, trees, n = params["depth"], params["trees"], params["n"]

        def run(x, pixels, thresholds, table):
            right = x[:, pixels].reshape(n, -1, trees) > thresholds
            leaf, bits = 0, []
            for level in range(depth):
                found = [right[:, node] for node in range(2**level - 1, 2 ** (level + 1) - 1)]
                for bit in reversed(bits):
                    found = [jnp.where(bit, b, a) for a, b in zip(found[::2], found[1::2], strict=True)]
                bits.append(found[0])
                leaf = leaf * 2 + bits[-1].astype(jnp.int32)
            if way == "hot":
                hot = (leaf[:, :, None] == jnp.arange(2**depth)).astype(x.dtype)
                return (hot.reshape(n, -1) @ table,)
            return (jnp.sum(table[leaf + jnp.arange(trees) * 2**depth], 1),)

        host = (x["pixels"].T.reshape(-1), x["thresholds"].T, x["leaves"].reshape(-1, 10))
        return run, put(x["x"], *host), first

    return make


for _way in ("take", "hot"):
    candidate.add("decision_forest", "forward", f"compared_{_way}", _compared(_way), *COMPILED)


# -- attention --------------------------------------------------------------------------------------------------------
@candidate("causal_attention", "forward", *COMPILED)
def attention(x, params):
    steps, size = params["steps"], params["head"]

    def run(q, k, v):
        scores = lax.dot_general(q, k, (((2,), (2,)), ((0,), (0,)))) * size**-0.5
        seen = jnp.tril(jnp.ones((steps, steps), bool))
        shares = jax.nn.softmax(jnp.where(seen, scores, -1e30), 2)
        return (lax.dot_general(shares, v, (((2,), (1,)), ((0,), (0,)))),)

    host = (x[name].reshape(-1, steps, size) for name in "qkv")
    return run, put(*host), lambda o: {"y": o[0].reshape(x["q"].shape)}


def _attention_blocks(count):
    def make(x, params):
        steps, size = params["steps"], params["head"]
        length = -(-steps // count)

        def run(q, k, v):
            parts = []
            for i in range(0, steps, length):
                end = min(i + length, steps)
                scores = lax.dot_general(q[:, i:end], k[:, :end], (((2,), (2,)), ((0,), (0,)))) * size**-0.5
                e = jnp.exp(scores - jnp.max(scores, 2, keepdims=True))  # of later keys too: a bound all the same
                e = jnp.where(jnp.arange(i, end)[:, None] >= jnp.arange(end), e, 0.0)
                made = lax.dot_general(e, v[:, :end], (((2,), (1,)), ((0,), (0,))))
                parts.append(made / jnp.sum(e, 2, keepdims=True))  # the fewer divisions
            return (jnp.concatenate(parts, 1),)

        host = (x[name].reshape(-1, steps, size) for name in "qkv")
        return run, put(*host), lambda o: {"y": o[0].reshape(x["q"].shape)}

    return make


for _count in (1, 4, 8):
    candidate.add("causal_attention", "forward", f"attention_{_count}", _attention_blocks(_count), *COMPILED)
