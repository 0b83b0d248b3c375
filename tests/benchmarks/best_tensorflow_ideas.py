"""TensorFlow's candidates of `bench_best`: blocks, products of few bits and of structure, tables, trees, attention."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from _candidates import multiplied_out, with_zeros
from _tensorflow_by_hand import TRACED, candidate, first, put, raw

ALL = ("eager", *TRACED)


# -- blocks of two layers, and more of them ---------------------------------------------------------------------------
def _layers(names, output, turned, biased):
    """Biased: zeros are added, so that TensorFlow's graphs make one operation of product, sum and relu."""

    def make(x, params):
        weights = [x[name].T if turned else x[name] for name in names(params)]
        zeros = [tf.zeros(w.shape[0 if turned else 1]) for w in weights]

        def run(h, *weights):
            for w, none in zip(weights[:-1], zeros, strict=False):
                h = raw.MatMul(a=h, b=w, transpose_b=turned)
                h = tf.nn.relu(raw.BiasAdd(value=h, bias=none) if biased else h)
            return (raw.MatMul(a=h, b=weights[-1], transpose_b=turned),)

        return run, put(x["x"], *weights), lambda o: {output: o[0]}

    return make


for _workload, _names, _output in (
    ("structured_pruned", lambda params: ("w1", "w2"), "y"),
    ("dense_block", lambda params: ("w1", "w2"), "y"),
    ("dense_mlp", lambda params: [f"w{i}" for i in range(params["layers"] + 1)], "logits"),
):
    candidate.add(_workload, "forward", "layers", _layers(_names, _output, False, False), *ALL)
    candidate.add(_workload, "forward", "layers_turned", _layers(_names, _output, True, False), *ALL)
    candidate.add(_workload, "forward", "layers_biased", _layers(_names, _output, False, True), "graph-called")


# -- 2:4 and structure ------------------------------------------------------------------------------------------------
candidate.borrow("nm_sparse", "unstructured_sparse")
candidate.borrow("nm_sparse", "dense_matmul", with_zeros)
candidate.borrow("kaleidoscope", "dense_matmul", multiplied_out)


@candidate("kaleidoscope", "forward", *ALL)
def factors(x, params):
    m, n, side = params["m"], params["n"], params["block"]

    def run(x, *w):
        for factor in w:
            y = raw.BatchMatMulV2(x=factor, y=tf.reshape(x, (m // side, side, n)))
            x = tf.reshape(tf.transpose(y, (1, 0, 2)), (m, n))
        return (x,)

    return run, put(x["x"], *x["w"]), first


@candidate("kaleidoscope", "forward", *ALL)
def factors_one_by_one(x, params):
    """A product a block, written out."""
    m, n, side = params["m"], params["n"], params["block"]

    def run(x, *w):
        for factor in w:
            rows = tf.unstack(tf.reshape(x, (m // side, side, n)))
            x = tf.stack([raw.MatMul(a=a, b=b) for a, b in zip(tf.unstack(factor), rows, strict=True)], 1)
        return (tf.reshape(x, (m, n)),)

    return run, put(x["x"], *x["w"]), first


# -- eight bits -------------------------------------------------------------------------------------------------------
def _weights(x):
    scales = (np.abs(x["w"].astype(np.float64)).max(1) / 127).astype(np.float32)
    return np.rint(x["w"] / scales[:, None].astype(np.float64)).astype(np.int8), scales


def _int8(kind, turned):
    """int8 as it is, or both converted to `kind` in the step."""

    def make(x, params):
        q, scales = _weights(x)

        def run(x, q, scales):
            largest = tf.reduce_max(tf.abs(x), 1, True)
            x8 = tf.cast(tf.round(x * (127.0 / largest)), kind)
            if kind == "int8":
                y = tf.cast(raw.BatchMatMulV3(x=x8, y=q, Tout=tf.int32, adj_y=turned), tf.float32)
            elif kind == "bfloat16":
                y = raw.BatchMatMulV3(x=x8, y=tf.cast(q, kind), Tout=tf.float32, adj_y=turned)
            else:
                y = raw.MatMul(a=x8, b=tf.cast(q, kind), transpose_b=turned)
            return (y * (largest * (1 / 127.0)) * scales,)

        return run, put(x["x"], q if turned else q.T, scales), first

    return make


for _kind in ("int8", "bfloat16", "float32"):
    for _turned in (False, True):
        _where = TRACED[1:] if _kind == "bfloat16" else ALL  # whose product into float32 only XLA has
        candidate.add("quantized_matmul", "forward", f"{_kind}{'_turned' * _turned}", _int8(_kind, _turned), *_where)


# -- tables and trees -------------------------------------------------------------------------------------------------
def _codes(x, columns, thresholds, n):
    """(n, C) int32, a level at a time; thresholds (15, C)."""
    values = tf.reshape(tf.gather(x, columns, axis=1), (n, 4, -1))
    code, bits = 0, []
    for level in range(4):
        nodes = [thresholds[i] for i in range(2**level - 1, 2 ** (level + 1) - 1)]
        for bit in reversed(bits):
            nodes = [tf.where(bit, b, a) for a, b in zip(nodes[::2], nodes[1::2], strict=True)]
        bits.append(values[:, level] > nodes[0])
        code = code * 2 + tf.cast(bits[-1], tf.int32)
    return code


def _summed_rows(table, rows, n):
    """(n, columns) sums of the table's rows (n, some), by TensorFlow's kernel for embeddings."""
    some = rows.shape[1]
    segments = np.repeat(np.arange(n, dtype=np.int32), some)
    return raw.SparseSegmentSum(data=table, indices=tf.reshape(rows, (-1,)), segment_ids=segments)


def _table(way):
    def make(x, params):
        n, books, m = params["n"], params["books"], params["m"]
        begins = np.arange(books, dtype=np.int32) * 16

        def run(x, table, columns, thresholds):
            codes = _codes(x, columns, thresholds, n)
            if way == "segments":
                return (_summed_rows(table, codes + begins, n),)
            hot = tf.one_hot(codes, 16) if way == "hot" else tf.cast(codes[:, :, None] == np.arange(16), x.dtype)
            return (raw.MatMul(a=tf.reshape(hot, (n, -1)), b=table),)

        return run, put(x["x"], x["tables"].reshape(-1, m), x["columns"].T.reshape(-1), x["thresholds"].T), first

    return make


candidate.add("table_product", "forward", "table_segments", _table("segments"), "eager", "graph-called")
candidate.add("table_product", "forward", "table_hot", _table("hot"), *ALL)
candidate.add("table_product", "forward", "table_compared", _table("compared"), *ALL)


def _forest(walks, segments):
    """Hummingbird's walk, or all nodes compared; leaves summed by the kernel for embeddings, or gathered."""

    def make(x, params):
        n, depth, trees = params["n"], params["depth"], params["trees"]
        nodes, ends = 2**depth - 1, np.arange(trees, dtype=np.int32) * 2**depth
        begins = np.arange(trees, dtype=np.int32) * nodes

        def leaves(table, leaf):
            return _summed_rows(table, leaf, n) if segments else tf.reduce_sum(tf.gather(table, leaf), 1)

        def walk(x, pixels, thresholds, table):
            node = tf.zeros((n, trees), tf.int32)
            for _ in range(depth):
                at = node + begins
                right = tf.gather(x, tf.gather(pixels, at), batch_dims=1) > tf.gather(thresholds, at)
                node = 2 * node + 1 + tf.cast(right, tf.int32)
            return (leaves(table, node - nodes + ends),)

        def compare(x, pixels, thresholds, table):
            right = tf.reshape(tf.gather(x, pixels, axis=1), (n, -1, trees)) > thresholds
            leaf, bits = 0, []
            for level in range(depth):
                found = right[:, 2**level - 1 : 2 ** (level + 1) - 1]
                for bit in reversed(bits):
                    found = tf.where(bit[:, None], found[:, 1::2], found[:, ::2])
                bits.append(found[:, 0])
                leaf = leaf * 2 + tf.cast(bits[-1], tf.int32)
            return (leaves(table, leaf + ends),)

        table = x["leaves"].reshape(-1, 10)
        if walks:
            return walk, put(x["x"], x["pixels"].reshape(-1), x["thresholds"].reshape(-1), table), first
        return compare, put(x["x"], x["pixels"].T.reshape(-1), x["thresholds"].T, table), first

    return make


for _walks in (True, False):
    _name = "walk" if _walks else "compare"
    candidate.add("decision_forest", "forward", _name, _forest(_walks, False), *ALL)
    candidate.add("decision_forest", "forward", f"{_name}_segments", _forest(_walks, True), "eager", "graph-called")


# -- attention --------------------------------------------------------------------------------------------------------
def _attention(count):
    def make(x, params):
        steps, size = params["steps"], params["head"]
        length = -(-steps // count)

        def run(q, k, v):
            parts = []
            for i in range(0, steps, length):
                end = min(i + length, steps)
                late = np.where(np.arange(i, end)[:, None] >= np.arange(end), 0, -1e30).astype(np.float32)
                scores = raw.BatchMatMulV2(x=q[:, i:end] * size**-0.5, y=k[:, :end], adj_y=True)
                parts.append(raw.BatchMatMulV2(x=tf.nn.softmax(scores + late), y=v[:, :end]))
            return (tf.concat(parts, 1),)

        host = (x[name].reshape(-1, steps, size) for name in "qkv")
        return run, put(*host), lambda o: {"y": o[0].reshape(x["q"].shape)}

    return make


for _count in (1, 4, 8):
    candidate.add("causal_attention", "forward", f"attention_{_count}", _attention(_count), *ALL)
