"""A structured matrix times a dense one: Y = K·X, K (M×M) the product of p block-diagonal factors and fixed shuffles.

Each factor has M/b blocks of b×b, and b^p = M. After each the rows are dealt out anew, row j of block g going to place
j·M/b + g, so that the next one's blocks mix what this one kept apart; after p of them every row has met every other,
and all stand where they stood. With b = M it is a dense matrix, with p = 2 Monarch's, with b = 2 a butterfly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from backends.ops import CSR, Array, HostArray, Matrix, Ops
from workloads.base import Axis, Definition, Inputs, Mode, Parameters, Params, Point, Twin, Work
from workloads.common import digits
from workloads.common.sparse import forward_step, marked_multiplies_zeros

_SMALL = 4  # blocks of which sums are written out
_EXPANDED = 2**14  # rows up to which K is multiplied out: beyond, that alone takes minutes and 2 GiB


def factors(p: Parameters) -> int:
    """How many factors there are: the p of b^p = M; ValueError where there is none."""
    count, reached = 1, p.block
    while reached < p.m:
        count, reached = count + 1, reached * p.block
    if reached != p.m:
        raise ValueError(f"axis m of kaleidoscope must be a power of block {p.block}, found {p.m}")
    return count


def inputs(p: Parameters, seed: int) -> Inputs:
    """`w` (p, M/b, b, b), normal/√b, so that Y is of the order of X; `x` (M, N): digits, an image a column."""
    rng = np.random.default_rng([seed, 1])
    w = rng.standard_normal((factors(p), p.m // p.block, p.block, p.block)) / np.sqrt(p.block)
    return {"w": w, "x": np.ascontiguousarray(digits.flat(p.n, p.m, seed).T)}


def reference(x: Inputs, p: Parameters, mode: Mode) -> Mapping[str, HostArray]:
    """Factor by factor, block by block; the shuffle written as the places that rows go to."""
    y = x["x"]
    rows = np.arange(p.m)
    places = rows % p.block * (p.m // p.block) + rows // p.block
    for factor in x["w"]:
        kept = np.empty_like(y)
        for g, block in enumerate(factor):
            kept[g * p.block : (g + 1) * p.block] = block @ y[g * p.block : (g + 1) * p.block]
        y = np.empty_like(kept)
        y[places] = kept
    return {"y": y}


def work(p: Parameters, mode: Mode, itemsize: int) -> Work:
    """2·N·M·b·p FLOP; every factor reads its blocks and M×N values and writes as many: p·e(Mb + 2MN) bytes."""
    count = factors(p)
    blocks, values = p.m * p.block, p.m * p.n
    return Work(
        useful_flop=2 * p.n * blocks * count,
        least_bytes=count * itemsize * (blocks + 2 * values),
        live_bytes=itemsize * (count * blocks + 2 * values),
    )


def twins(p: Parameters, mode: Mode) -> Sequence[Twin]:
    """The dense matrix that K stands for, and a dense one of equal work, M×bp."""
    dense = {"m": p.m, "n": p.n, "grads": "both"}
    return (
        Twin("same_shape", "dense_matmul", {**dense, "k": p.m}, mode),
        Twin("equal_work", "dense_matmul", {**dense, "k": p.block * factors(p)}, mode),
    )


# -- formulations -----------------------------------------------------------------------------------------------------


def _given(ops: Ops, x: Inputs, p: Parameters) -> Sequence[Array]:
    return [ops.asarray(x["x"]), *(ops.asarray(np.ascontiguousarray(factor)) for factor in x["w"])]


def _bmm(ops: Ops, p: Parameters, x: Array, *w: Array) -> Array:
    blocks = (p.m // p.block, p.block, p.n)
    for factor in w:
        x = ops.permute_dims(ops.matmul(factor, ops.reshape(x, blocks)), (1, 0, 2))
    return ops.reshape(x, (p.m, p.n))


def _einsum(ops: Ops, p: Parameters, x: Array, *w: Array) -> Array:
    blocks = (p.m // p.block, p.block, p.n)
    for factor in w:
        x = ops.einsum("gij,gjn->ign", factor, ops.reshape(x, blocks))
    return ops.reshape(x, (p.m, p.n))


def _columns_first(ops: Ops, x: Inputs, p: Parameters) -> Sequence[Array]:
    """Xᵀ (N, M), as a layer keeps its batch, and every block transposed."""
    turned = (np.ascontiguousarray(factor.transpose(0, 2, 1)) for factor in x["w"])
    return [ops.asarray(np.ascontiguousarray(x["x"].T)), *map(ops.asarray, turned)]


def _batch_first(ops: Ops, p: Parameters, x: Array, *w: Array) -> Array:
    groups, side = p.m // p.block, p.block
    x = ops.permute_dims(ops.reshape(x, (p.n, groups, side)), (1, 0, 2))
    for factor in w[:-1]:
        y = ops.permute_dims(ops.matmul(x, factor), (1, 2, 0))  # (N, b, M/b): shuffled
        x = ops.permute_dims(ops.reshape(y, (p.n, groups, side)), (1, 0, 2))
    return ops.reshape(ops.permute_dims(ops.matmul(x, w[-1]), (1, 2, 0)), (p.n, p.m))


def _apart(ops: Ops, x: Inputs, p: Parameters) -> Sequence[Array]:
    """Each factor as (b, b, M/b, 1): one value of every block beside the other blocks'."""
    apart = (np.ascontiguousarray(factor.transpose(1, 2, 0)[..., None]) for factor in x["w"])
    return [ops.asarray(x["x"]), *map(ops.asarray, apart)]


def _sums(ops: Ops, p: Parameters, x: Array, *w: Array) -> Array:
    groups, side = p.m // p.block, p.block
    for factor in w:
        rows = ops.reshape(x, (groups, side, p.n))
        made = []
        for i in range(side):
            row = factor[i, 0, ...] * rows[:, 0, :]
            for j in range(1, side):
                row = row + factor[i, j, ...] * rows[:, j, :]
            made.append(row)
        x = ops.concat(made, 0)  # row i of all blocks, one below the other: shuffled
    return x


def _factor_csr(factor: HostArray, p: Parameters) -> CSR:
    """A factor and its shuffle as one matrix of M rows with b non-zeros each."""
    groups, side = p.m // p.block, p.block
    values = factor.transpose(1, 0, 2).reshape(-1)  # row j·M/b + g is row j of block g
    columns = np.arange(p.m, dtype=np.int32).reshape(1, groups, side)
    indices = np.broadcast_to(columns, (side, groups, side)).reshape(-1)
    return CSR(values, indices, np.arange(p.m + 1, dtype=np.int32) * side, (p.m, p.m))


def _sparse(ops: Ops, x: Inputs, p: Parameters) -> Sequence[Array | Matrix]:
    return [ops.asarray(x["x"]), *(ops.sparse(_factor_csr(factor, p), "csr") for factor in x["w"])]


def _products(ops: Ops, p: Parameters, x: Array, *w: Matrix) -> Array:
    for factor in w:
        x = ops.sparse_matmul(factor, x)
    return x


def _expanded(ops: Ops, x: Inputs, p: Parameters) -> Sequence[Array]:
    """K (M, M), multiplied out in float64 and rounded once."""
    dense = reference({"w": x["w"].astype(np.float64), "x": np.eye(p.m)}, p, "forward")["y"]
    return [ops.asarray(dense.astype(x["x"].dtype)), ops.asarray(x["x"])]


# -- presets ----------------------------------------------------------------------------------------------------------


def _params(m: int, n: int, block: int) -> Params:
    return {"m": m, "n": n, "block": block}


WORKLOAD = Definition(
    name="kaleidoscope",
    title="product of block-diagonal factors",
    source="Dao et al. 2022, Monarch: Expressive Structured Matrices for Efficient and Accurate Training "
    "(arXiv:2204.00595), §3; Dao et al. 2020, Kaleidoscope (arXiv:2012.14966)",
    leaves_out="one large product",
    axes={
        "m": Axis(help="rows and columns of K, rows of X; a power of block", low=1, high=1e6),
        "n": Axis(help="columns of X", low=1, high=1e6),
        "block": Axis(help="side of the blocks, b", low=2, high=1e5),
    },
    presets={
        "smoke": (Point(_params(16, 8, 4)), Point(_params(16, 8, 2), headline=False)),
        "ideas": (Point(_params(1024, 128, 32), group="1024x1024 n=128"),),
        "standard": tuple(
            Point(_params(4096, 256, b), headline=b in (64, 2), group="4096 n=256") for b in (64, 16, 8, 2)
        ),
        "full": (Point(_params(65536, 4096, 256)),),
    },
    inputs=inputs,
    reference=reference,
    formulations={
        "forward": {
            "bmm": forward_step("a batched product for each factor, its rows transposed after it", _given, _bmm),
            "einsum": forward_step(
                "an einsum for each factor that gives its rows in the next one's order", _given, _einsum
            ),
            "batch_first": replace(
                forward_step("bmm on Xᵀ (N, M), as a layer keeps its batch", _columns_first, _batch_first),
                restore=lambda outputs, x, p: {"y": outputs[0].T},
            ),
            "sums": forward_step(
                "every row of small blocks as the sum of its products, which a compiler makes one pass of",
                _apart,
                _sums,
                lambda p: p.block <= _SMALL,
            ),
            "csr": forward_step(
                "each factor and its shuffle as one sparse matrix, the framework's own CSR products", _sparse, _products
            ),
            "expanded": marked_multiplies_zeros(
                forward_step(
                    "K multiplied out ahead: the dense product",
                    _expanded,
                    lambda ops, p, k, x: ops.matmul(k, x),
                    lambda p: p.m <= _EXPANDED,
                )
            ),
        },
    },
    work=work,
    twins=twins,
)
