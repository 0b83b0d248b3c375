"""A sparse weight matrix times a dense one: A (M×K, density δ) · B (K×N), and its SGD step.

The pattern is that of a layer trained on the digits and pruned by magnitude, a uniform one, or a matrix of the user's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from workloads.base import Axis, Definition, Inputs, Mode, Parameters, Params, Point, Twin, Work
from workloads.common import patterns, scattered, sparse
from workloads.common.matrix_names import OF_FILE, load


def inputs(p: Parameters, seed: int) -> Inputs:
    """`a` (nnz,) with `a_indices` and `a_indptr` (int32 CSR), `b` (k, n), `target` (m, n)."""
    m, k, _ = sparse.shape(p)
    density, kind = p.density, p.pattern
    rng = np.random.default_rng([seed, 1])
    if kind == "magnitude":
        weights = patterns.trained_weights(m, k, seed)
        pattern = patterns.magnitude(weights, density)
        values = patterns.take(weights, pattern)
    elif kind == "uniform":
        pattern = patterns.uniform(m, k, density, rng)
        values = sparse.scaled_normal(pattern.indices.shape, p, rng)
    else:
        pattern, own = load(kind)
        if pattern.shape != (m, k) or len(pattern.indices) != patterns.non_zeros(m, k, density):
            found = f"{pattern.shape[0]}×{pattern.shape[1]} with {len(pattern.indices)} non-zeros"
            raise ValueError(f"{kind} is {found}, the axes say {m}×{k} with density {density:g}; give the file's own")
        values = sparse.scaled_normal(pattern.indices.shape, p, rng) if own is None else own
    return {**patterns.sparse_inputs(values, pattern), **sparse.dense_inputs(p, seed)}


def work(p: Parameters, mode: Mode, itemsize: int) -> Work:
    """Forward 2·nnz·N FLOP and nnz(e+4) + 4(M+1) + e(KN+MN) bytes; the step's are in `sparse.work`."""
    m, k, _ = sparse.shape(p)
    nnz = patterns.non_zeros(m, k, p.density)
    return sparse.work(p, mode, itemsize, values=nnz, indices=nnz, rows=m)


def twins(p: Parameters, mode: Mode) -> Sequence[Twin]:
    """The same shape dense (its useful FLOP are δ of the twin's), and equal work, M×δK · δK×N."""
    return sparse.same_shape(p, mode), sparse.narrower("equal_work", p, mode)


# -- presets ----------------------------------------------------------------------------------------------------------


def _params(m: int, k: int, n: int, density: float, pattern: str = "magnitude") -> Params:
    return {"m": m, "k": k, "n": n, "density": density, "pattern": pattern}


def _sweep(
    m: int, k: int, columns: Sequence[int], densities: Sequence[float], at: float = 0.1, after: int = 0
) -> tuple[Point, ...]:
    """Every density at every number of columns; at density `at` all formulations run and the main table has its row.

    With `after`, a number of columns surveyed elsewhere, what came close there is swept. That is for very many columns:
    from 128 on the formulations keep their order, and those that lose take half a minute of every process.
    """
    return tuple(
        Point(_params(m, k, n, d), survey=d == at and not after, headline=d == at, group=f"{m}x{k} n={after or n}")
        for n in columns
        for d in sorted(densities, key=lambda d: (d != at, -d))
    )


_QUICK = (
    *_sweep(1024, 1024, (1, 128), (0.5, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01)),
    *(
        Point(_params(1024, 1024, n, 0.1, "uniform"), survey=False, headline=False, group=f"1024x1024 n={n}")
        for n in (1, 128)
    ),
)

WORKLOAD = Definition(
    name="unstructured_sparse",
    title="unstructured sparse product",
    source="Gale, Zaharia and Elsen 2020, Sparse GPU Kernels for Deep Learning (arXiv:2006.10901), §2",
    leaves_out="zeros",
    axes={
        **sparse.AXES,
        "pattern": Axis(help="which entries stay", kind=str, choices=("magnitude", "uniform"), further=OF_FILE),
    },
    presets={
        "smoke": (
            Point(_params(64, 48, 8, 0.2)),
            Point(_params(64, 48, 1, 0.2)),
            Point(_params(64, 48, 8, 0.2, "uniform")),
            Point(_params(64, 48, 8, 0.2), "train_step"),
        ),
        "ideas": (Point(_params(1024, 1024, 128, 0.1), group="1024x1024 n=128"),),
        "quick": _QUICK,
        "standard": (
            *_sweep(7680, 2560, (1, 128), (0.2, 0.1, 0.05, 0.02, 0.01)),
            *_sweep(7680, 2560, (1500,), (0.2, 0.1, 0.05, 0.02, 0.01), after=128),
            # Surveyed at an eighth of it: where a step gathers, one call of it takes many seconds.
            Point(_params(1920, 1280, 128, 0.1), "train_step", headline=False, group="train 7680x2560 n=128"),
            Point(_params(7680, 2560, 128, 0.1), "train_step", survey=False, group="train 7680x2560 n=128"),
        ),
        "full": (
            *_sweep(8192, 2048, (128,), (0.2, 0.1, 0.05, 0.02, 0.01)),
            *_sweep(10752, 3584, (1, 1500), (0.2, 0.1, 0.05, 0.02, 0.01)),
            *_sweep(10752, 3584, (6000,), (0.2, 0.1, 0.05, 0.02, 0.01), after=1500),
            Point(_params(10752, 3584, 1500, 0.1), "train_step", group="train 10752x3584 n=1500"),
        ),
    },
    inputs=inputs,
    reference=scattered.reference,
    formulations={
        "forward": {
            "csr": sparse.native_step(
                "the framework's own CSR product",
                scattered.native("csr"),
            ),
            "csr_vector": replace(
                sparse.native_step(
                    "the framework's own product of a CSR matrix and a vector, for one column", scattered.prepare_vector
                ),
                restore=lambda outputs, x, p: {"y": outputs[0][:, None]},
                applies=lambda p: p.n == 1,
            ),
            "csc": sparse.native_step("the framework's own CSC product", scattered.native("csc")),
            "coo": sparse.native_step(
                "the framework's own COO product",
                scattered.native("coo"),
            ),
            "bag": sparse.native_step("a weighted embedding bag for each row of A", scattered.native("bag")),
            "bsr": replace(
                sparse.native_step(
                    "the framework's own block product, 4×4 blocks around the non-zeros: at density 0.1 nearly nine "
                    "in ten of the values that it stores and multiplies are zeros",
                    scattered.prepare_bsr,
                ),
                applies=lambda p: not (p.m % scattered.BLOCK or p.k % scattered.BLOCK),
            ),
            "ell": sparse.forward_step(
                "rows padded to the longest, batched product of taken rows",
                scattered.prepare_ell,
                scattered.ell_product,
            ),
            "gather_segment": sparse.forward_step(
                "a row of B for each non-zero, scaled, summed by row of A",
                scattered.prepare_segments,
                lambda ops, p, *operands: scattered.segment_product(ops, p.m, *operands),
            ),
            "masked_dense": scattered.masked_dense(),
        },
        "train_step": {
            "csr": scattered.native_step("CSR products, the framework's own sampled product", "csr", "native"),
            "csr_gather": scattered.native_step(
                "CSR products; a row of ∂Y and of B gathered for each non-zero",
                "csr",
                "gather",
            ),
            "csr_dense_sample": scattered.native_step(
                "CSR products; the gradient of A dense, then taken",
                "csr",
                "dense",
            ),
            "csr_transposing": scattered.transposing_step(
                "csr_dense_sample, but ∂B is a product with the one matrix transposed",
                "csr",
            ),
            "coo": scattered.native_step("COO products, the framework's own sampled product", "coo", "native"),
            "bag": scattered.native_step("embedding bags, the framework's own sampled product", "bag", "native"),
            "bag_gather": scattered.native_step("embedding bags; the gradient of A gathered", "bag", "gather"),
            "bag_dense_sample": scattered.native_step(
                "embedding bags; the gradient of A dense, then taken", "bag", "dense"
            ),
            "autodiff_csr": scattered.autodiff_step(
                "CSR product, the framework's own differentiation; PyTorch's forms the gradient of A dense", "csr"
            ),
            "autodiff_coo": scattered.autodiff_step(
                "COO product, the framework's own differentiation; PyTorch's forms the gradient of A dense", "coo"
            ),
            "autodiff_bag": scattered.autodiff_step("embedding bags, the framework's own differentiation", "bag"),
            "gather_segment": sparse.train_step(
                "gathered rows and segment sums in every product",
                lambda x, p: x["a"],
                scattered.prepare_segment_step,
                scattered.segment_products,
            ),
            "masked_dense": scattered.masked_dense_step(),
        },
    },
    work=work,
    twins=twins,
)
