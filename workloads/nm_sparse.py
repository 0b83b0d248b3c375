"""N:M sparsity: of every M values in a row of A (M×K) exactly N are stored; A · B (K×N), and its SGD step.

The pattern that recent GPUs have units for is 2:4. Which values stay is decided group by group, by magnitude in a layer
trained on the digits or uniformly, or by a user's matrix; `transposable` keeps as many in every column of each square
of values, too, so that the transpose of A, which a backward pass needs, is N:M as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from backends.ops import Array, Ops
from workloads.base import Axis, Definition, Inputs, Mode, Parameters, Params, Point, Twin, Work
from workloads.common import groups_of_m, patterns, scattered, sparse, structure
from workloads.common.matrix_names import OF_FILE, load

_BYTE = 8
_OF_HARDWARE = (2, 4)
_DRAWN = ("magnitude", "uniform")


def _sizes(p: Parameters) -> tuple[int, int]:
    """N and M; ValueError with the axis where they and K do not go together."""
    if p.keep > p.out_of:
        raise ValueError(f"axis keep of nm_sparse must be at most out_of, found {p.keep} of {p.out_of}")
    if p.k % p.out_of:
        raise ValueError(f"axis out_of of nm_sparse must divide k, found {p.out_of} for {p.k}")
    if p.transposable and p.m % p.out_of:
        raise ValueError(f"axis out_of of nm_sparse must divide m where transposable is 1, found {p.out_of} for {p.m}")
    if p.transposable and p.out_of > groups_of_m.LARGEST_SQUARE:
        raise ValueError(
            f"axis out_of of nm_sparse must be at most {groups_of_m.LARGEST_SQUARE} where transposable is 1, found "
            f"{p.out_of}"
        )
    return p.keep, p.out_of


def inputs(p: Parameters, seed: int) -> Inputs:
    """`a` (nnz,) with `a_indices` and `a_indptr` (int32 CSR), `b` (k, n), `target` (m, n)."""
    keep, of = _sizes(p)
    rng = np.random.default_rng([seed, 1])
    if p.pattern not in _DRAWN:
        return {**_of_file(p, keep, of, rng), **sparse.dense_inputs(p, seed)}
    weights = patterns.trained_weights(p.m, p.k, seed)
    score = np.abs(weights) if p.pattern == "magnitude" else rng.random((p.m, p.k))
    mask = groups_of_m.squares(score, keep, of) if p.transposable else groups_of_m.rows(score, keep, of)
    rows, columns = np.nonzero(mask)
    indptr = np.arange(0, p.m * p.k // of * keep + 1, p.k // of * keep, dtype=np.int32)
    pattern = patterns.Pattern(columns.astype(np.int32), indptr, (p.m, p.k))
    values = weights[rows, columns] if p.pattern == "magnitude" else sparse.scaled_normal(rows.shape, p, rng)
    return {**patterns.sparse_inputs(values, pattern), **sparse.dense_inputs(p, seed)}


def _of_file(p: Parameters, keep: int, of: int, rng: np.random.Generator) -> Inputs:
    """A matrix of the user's; ValueError where it is another shape, or not of such groups."""
    pattern, values = load(p.pattern)
    if pattern.shape != (p.m, p.k) or p.transposable or not structure.in_groups(pattern, keep, of):
        raise ValueError(
            f"{p.pattern} is {pattern.shape[0]}×{pattern.shape[1]} with {len(pattern.indices)} non-zeros, the axes say "
            f"{p.m}×{p.k} with {keep} of every {of} in a row and transposable {p.transposable}; give the file's own"
        )
    own = sparse.scaled_normal(pattern.indices.shape, p, rng) if values is None else values
    return patterns.sparse_inputs(own, pattern)


def work(p: Parameters, mode: Mode, itemsize: int) -> Work:
    """Forward 2·nnz·N, of nnz = MK·keep/of; bytes S + e(KN + MN), S = e·nnz and ⌈log₂ of⌉ bits for each position.

    A step is three products, each of those bytes, and the update's 3e·nnz.
    """
    keep, of = _sizes(p)
    count = p.m * p.k // of * keep
    positions = -(-count * max(1, (of - 1).bit_length()) // _BYTE)
    product = itemsize * count + positions + itemsize * (p.k * p.n + p.m * p.n)
    if mode == "forward":
        return Work(2 * count * p.n, product, product)
    return Work(6 * count * p.n, 3 * product + 3 * itemsize * count, product + itemsize * (count + p.k * p.n))


def twins(p: Parameters, mode: Mode) -> Sequence[Twin]:
    """The same shape dense, and equal work: K·keep/of columns."""
    keep, of = _sizes(p)
    narrow = {"m": p.m, "k": p.k // of * keep, "n": p.n, "grads": "both"}
    return sparse.same_shape(p, mode), Twin("equal_work", "dense_matmul", narrow, mode)


# -- formulations of its own -------------------------------------------------------------------------------------------
def _of_hardware(p: Parameters) -> bool:
    return (p.keep, p.out_of) == _OF_HARDWARE


def _prepare_unpack(ops: Ops, x: Inputs, p: Parameters) -> Sequence[Array]:
    """The values (m, K/M·N), their positions in the groups, several to a byte, what they are held against, and B."""
    stored = p.k // p.out_of * p.keep
    packed = groups_of_m.pack(x["a_indices"].reshape(p.m, stored) % p.out_of, groups_of_m.field(p.out_of))
    within = np.arange(p.out_of, dtype=np.int32).reshape(1, 1, 1, p.out_of)
    return [ops.asarray(v) for v in (x["a"].reshape(p.m, stored), packed, within, x["b"])]


def _unpacked(ops: Ops, p: Parameters, values: Array, packed: Array, within: Array, b: Array) -> Array:
    """A made whole by comparing and choosing, then the dense product."""
    bits = groups_of_m.field(p.out_of)
    parts = [ops.bitwise_right_shift(packed, bits * i) & (2**bits - 1) for i in range(_BYTE // bits)]
    shape = (p.m, p.k // p.out_of, p.keep, 1)
    positions = ops.reshape(ops.astype(ops.concat(parts, 1), "int32"), shape)
    chosen = ops.where(positions == within, ops.reshape(values, shape), 0.0)
    return ops.matmul(ops.reshape(ops.sum(chosen, 2), (p.m, p.k)), b)


def _ell_products(
    ops: Ops, p: Parameters, columns: Array, flipped_rows: Array, flipped_columns: Array, order: Array
) -> sparse.Products:
    """As many values in every row: batched products of taken rows; ∂B by sums over segments of the transpose."""
    length = p.k // p.out_of * p.keep

    def sampled(dy: Array, b: Array) -> Array:
        picked = ops.reshape(ops.take(b, columns), (p.m, length, p.n))
        return ops.reshape(ops.einsum("mn,mln->ml", dy, picked), (p.m * length,))

    def forward(values: Array, b: Array) -> Array:
        return scattered.ell_product(ops, p, ops.reshape(values, (p.m, length)), columns, b)

    def backward(values: Array, dy: Array) -> Array:
        return scattered.segment_product(ops, p.k, ops.take(values, order), flipped_rows, flipped_columns, dy)

    return sparse.Products(forward, sparse.sgd_update(ops, sampled), backward)


def _prepare_ell_step(ops: Ops, x: Inputs, p: Parameters) -> Sequence[Array]:
    _, columns, *flipped = sparse.both_ways(ops, scattered.pattern_of(x, p))
    return [columns, *flipped]


# -- presets -----------------------------------------------------------------------------------------------------------
def _params(m: int, k: int, n: int, keep: int = 2, of: int = 4, pattern: str = "magnitude", both: int = 0) -> Params:
    return {"m": m, "k": k, "n": n, "keep": keep, "out_of": of, "pattern": pattern, "transposable": both}


_STANDARD = "3072x10240"

WORKLOAD = Definition(
    name="nm_sparse",
    title="N:M sparse product",
    source="Mishra et al. 2021, Accelerating Sparse Deep Neural Networks (arXiv:2104.08378), §3",
    leaves_out="zeros",
    axes={
        "m": sparse.AXES["m"],
        "k": sparse.AXES["k"],
        "n": replace(sparse.AXES["n"], break_even=True),
        "keep": Axis(help="values stored of each group", low=1, high=64),
        "out_of": Axis(help="values of a group, which divides k", low=2, high=64),
        "pattern": Axis(help="which values stay", kind=str, choices=_DRAWN, further=OF_FILE),
        "transposable": Axis(help="1: as many in every column of a square, too", low=0, high=1),
    },
    presets={
        "smoke": (
            Point(_params(64, 128, 16)),
            Point(_params(64, 128, 1, 1, 4, "uniform")),
            Point(_params(64, 128, 16, 4, 8, both=0)),
            Point(_params(64, 128, 16, both=1), "train_step"),
        ),
        "ideas": (Point(_params(1024, 1024, 128), group="1024x1024 n=128"),),
        "standard": (
            Point(_params(3072, 10240, 128), group=_STANDARD),
            Point(_params(3072, 10240, 1), group=f"{_STANDARD} n=1"),
            Point(_params(3072, 10240, 128, 1, 4), survey=False, headline=False, group=_STANDARD),
            Point(_params(1024, 2560, 128, both=1), "train_step", group="train"),
        ),
        "full": (
            Point(_params(3072, 10240, 3072)),
            Point(_params(8192, 8192, 8192)),
            Point(_params(4096, 1024, 44160)),
        ),
    },
    inputs=inputs,
    reference=scattered.reference,
    formulations={
        "forward": {
            "csr": sparse.native_step(
                "the framework's own CSR product, as of any sparse matrix", scattered.native("csr")
            ),
            "csr_vector": replace(
                sparse.native_step("the same of a vector, for one column", scattered.prepare_vector),
                restore=lambda outputs, x, p: {"y": outputs[0][:, None]},
                applies=lambda p: p.n == 1,
            ),
            "bag": sparse.native_step("a weighted embedding bag for each row of A", scattered.native("bag")),
            "ell": sparse.forward_step(
                "equal rows, which need no padding: batched product of taken rows",
                scattered.prepare_ell,
                scattered.ell_product,
            ),
            "unpack": sparse.marked_multiplies_zeros(
                sparse.forward_step(
                    "values and packed positions, made dense in the step: only bytes can be gained",
                    _prepare_unpack,
                    _unpacked,
                    lambda p: (p.k // p.out_of * p.keep * groups_of_m.field(p.out_of)) % _BYTE == 0,
                )
            ),
            "masked_dense": scattered.masked_dense(),
            "cusparselt": replace(
                sparse.native_step("the units for 2:4, by cuSPARSELt", scattered.native("cusparselt")),
                applies=_of_hardware,
            ),
            "cutlass": replace(
                sparse.native_step("the units for 2:4, by CUTLASS", scattered.native("cutlass")), applies=_of_hardware
            ),
        },
        "train_step": {
            "csr_gather": scattered.native_step("CSR products; ∂A by gathered rows", "csr", "gather"),
            "csr_dense_sample": scattered.native_step("CSR products; ∂A dense, then taken", "csr", "dense"),
            "bag": scattered.native_step("embedding bags, the framework's own sampled product", "bag", "native"),
            "bag_dense_sample": scattered.native_step("embedding bags; ∂A dense, then taken", "bag", "dense"),
            "ell": sparse.train_step(
                "equal rows: batched products of taken rows, and sums over segments for ∂B",
                lambda x, p: x["a"],
                _prepare_ell_step,
                _ell_products,
            ),
            "masked_dense": scattered.masked_dense_step(),
        },
    },
    work=work,
    twins=twins,
)
